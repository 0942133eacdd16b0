"""Rewriting one graph in place: who makes and reads a value, which modules may change, and what changes with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from archlang.ir.graph import Attrs, Child, Graph, Node, TensorType, Value
from archlang.ir.paths import free_path, join, shift
from archlang.ops.base import Context, Op, registry
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import is_float
from archlang.optimize.callers import Callers
from archlang.optimize.clone import copy_node
from archlang.optimize.layout import Layouts, traced
from archlang.optimize.weights import MOVE, Change, Trained, within
from archlang.records import dataclass, replace
from archlang.report.diagnostic import Span

__all__ = ["Editor", "Fired", "acts", "dense_run", "named", "plain", "same_tensor"]


@dataclass(frozen=True, slots=True)
class Fired:
    """One rewrite: by which pass, in which graph, at which node of the spec, and what it did."""

    name: str
    graph: str
    span: Span | None
    note: str


class Editor:
    """One graph while passes rewrite it.

    training: whether the result is to be trained. pinned: paths whose tensors are known under a second name somewhere
    above, "" for all. changes: where what happens to the state is noted. fired: what happened, for the report.
    """

    def __init__(
        self, graph: Graph, training: bool, pinned: set[str], changes: dict[int, list[Change]], fired: list[Fired]
    ) -> None:
        self.graph = graph
        self.training = training
        self.all_changes = changes
        self.changes = changes.setdefault(id(graph), [])
        self._fired = fired
        self.pins = pinned | set(graph.aliases) | set(graph.aliases.values())
        self.name = ""  # of the pass that runs
        self.root, self.exact = True, False
        self.number: float = 0  # that the pass was given
        self.trained: Trained | None = None  # the weights, where they are known
        self.callers: Callers | None = None
        self._layouts: Layouts | None = None
        self._makers: dict[int, Node] = {}
        self._readers: dict[int, list[Node]] = {}
        self._results = Counter(id(v) for v in graph.results)
        self._uses: Counter[str] = Counter()
        self._gone: dict[int, Node] = {}  # kept, so that no new node has the id of one of them
        for node in graph.nodes:
            self.enter(node)

    def begin(
        self,
        name: str,
        *,
        root: bool,
        exact: bool,
        callers: Callers,
        number: float = 0,
        trained: Trained | None = None,
    ) -> None:
        """A pass begins. root: whether the graph is the program's own; exact: whether only exact passes run; callers:
        of all graphs; number: that it was given; trained: the program's weights, if they are known."""
        self.name, self.root, self.exact, self.callers, self.number = name, root, exact, callers, number
        self.trained = trained
        self._layouts = None  # as the graph is now

    # -- looking -----------------------------------------------------------------------------------------------------
    def nodes(self, *ops: str) -> Iterator[Node]:
        """The nodes of these ops (of all), in order of execution; rewrites may go on meanwhile."""
        for node in list(self.graph.nodes):
            if id(node) not in self._gone and (not ops or node.op in ops):
                yield node

    def chains(self, *ops: tuple[str, ...]) -> Iterator[tuple[Node, ...]]:
        """Nodes one after the other, each the only reader of the one before it, through first inputs; plain ones."""
        for last in self.nodes(*ops[-1]):
            found = [last]
            for names in reversed(ops[:-1]):
                before = self.maker(found[-1].inputs[0]) if found[-1].inputs else None
                if before is None or before.op not in names or not self.sole(before.outputs[0]):
                    break
                found.append(before)
            if len(found) == len(ops) and all(plain(n) for n in found):
                yield tuple(reversed(found))

    def maker(self, value: Value) -> Node | None:
        """The node that makes a value; None for an input."""
        return self._makers.get(id(value))

    def readers(self, value: Value) -> list[Node]:
        """The nodes that read a value, each as often as it does."""
        return self._readers.get(id(value), [])

    def is_result(self, value: Value) -> bool:
        """Whether the graph returns the value."""
        return self._results[id(value)] > 0

    def sole(self, value: Value) -> bool:
        """Whether one node reads the value, once, and nothing else does."""
        return len(self.readers(value)) == 1 and not self.is_result(value)

    @staticmethod
    def entry(node: Node) -> Op | None:
        """The registry's entry; None for calls and other special nodes."""
        return registry().get(node.op)

    def keeps_gradient(self, old: Value, new: Value, past: Node) -> bool:
        """Whether in training `new` gets the same gradient, bit for bit, once all that reads `old` reads it, and not by
        way of the node `past`: of more than two terms, autograd might take the sum in another order. Beside passes that
        round, this does not count."""
        if not self.training or not self.exact or not is_float(new.type.dtype):
            return True
        maker = self.maker(new)
        if maker is None and not self.root and sum(len(port.values) for port in self.graph.inputs) > 1:
            return False  # another input may be the same tensor
        if maker is not None and (maker.op not in registry() or same_tensor(maker)):
            return False
        others = [n for n in self.readers(new) if n is not past]
        if not others and not self.is_result(new):
            return True
        many = len(self.readers(new)) - len(others)  # as often as `past` reads it, what reads `old` will
        readers = [*others, *self.readers(old) * max(1, many)]
        results = self.is_result(new) or self.is_result(old)
        if results or len(readers) > 2 or any(n.op not in registry() for n in readers):
            return False
        return not any(same_tensor(n) for n in readers if n.inputs[0] in (old, new))  # whose readers count, too

    def same_layout(self, old: Value, new: Value) -> bool:
        """Whether what reads `old` gives the same bits where it reads `new`, which holds the same elements.

        torch's kernels add in an order, and compute `exp` in a way, that depends on where elements lie in memory.
        Beside passes that round, this does not count.
        """
        if self._layouts is None:
            given = self.graph.entries if self.root else ()  # by the user, in row-major order
            self._layouts = Layouts(self.maker, set(map(id, given)))
        return not self.exact or (self._layouts.compact(old) and self._layouts.compact(new))

    def unused(self, path: str) -> bool:
        """Whether no node names a child or weight, and it has no second name."""
        return not self._uses[path] and not self._is_pinned(path)

    def module(self, node: Node) -> Child | None:
        """The child of a node, where the graph owns it, nobody else uses it, and its tensors have one name each."""
        path = node.path
        if path is None or node.count != 1 or self._uses[path] != 1 or self._is_pinned(path):
            return None
        child = self.graph.children.get(path)
        return child if child is not None and child.count == 1 else None

    def weight(self, value: Value) -> str | None:
        """The path of the declared weight that a value reads, where nobody else reads it and it has one name."""
        node = self.maker(value)
        if node is None or node.op != "weight" or node.path is None or node.phase is not None:
            return None
        mine = node.path in self.graph.weights and self._uses[node.path] == 1 and self.sole(value)
        return node.path if mine and not self._is_pinned(node.path) else None

    def _is_pinned(self, path: str) -> bool:
        return any(not p or f"{p}.".startswith(f"{path}.") or path.startswith(f"{p}.") for p in self.pins)

    # -- rewriting ---------------------------------------------------------------------------------------------------
    def did(self, node: Node, note: str) -> None:
        """Notes a rewrite for the report."""
        self._fired.append(Fired(self.name, self.graph.name, node.span, note))

    def add(
        self, op: str, inputs: Sequence[Value], attrs: Attrs, *, at: Node, path: str | None = None, name: str = ""
    ) -> Node:
        """A new node in the place of `at` (before it), with the types that its op infers."""
        types = registry()[op].infer([v.type for v in inputs], attrs, Context())
        outputs = tuple(Value(t, name) for t in types)
        node = Node(op, tuple(inputs), outputs, at.span, attrs, path, phase=at.phase)
        self.graph.nodes.insert(self.graph.nodes.index(at), node)
        self.enter(node)
        return node

    def replace(self, old: Value, new: Value) -> None:
        """All that reads `old` reads `new`."""
        for node in self._readers.pop(id(old), []):
            node.inputs = tuple(new if v is old else v for v in node.inputs)
            self._readers.setdefault(id(new), []).append(node)
        if self._results[id(old)]:
            for output in self.graph.outputs:
                output.values = tuple(new if v is old else v for v in output.values)
            self._results[id(new)] += self._results.pop(id(old))
        new.name = new.name or old.name

    def rewire(self, node: Node, inputs: Sequence[Value]) -> None:
        """Gives a node other inputs of the same types."""
        for value in node.inputs:
            self._readers[id(value)].remove(node)
        node.inputs = tuple(inputs)
        for value in inputs:
            self._readers.setdefault(id(value), []).append(node)

    def remove(self, node: Node) -> None:
        """Takes a node away whose results nobody reads; its module stays until `tidy`."""
        self.graph.nodes.remove(node)
        self._gone[id(node)] = node
        for value in node.inputs:
            self._readers[id(value)].remove(node)
        for value in node.outputs:
            del self._makers[id(value)]
        self._uses.subtract(named(node))

    def merge(self, node: Node, value: Value) -> None:
        """The node's one result is `value` from now on, and the node is gone."""
        self.replace(node.outputs[0], value)
        self.remove(node)

    def turn(self, node: Node, op: str, attrs: Attrs, inputs: Sequence[Value]) -> bool:
        """Gives a node without weights another op with the same results; False where its module is somebody else's."""
        if node.path is not None:
            if self.module(node) is None:
                return False
            self.reshape_module(node, attrs, op)
        node.op, node.attrs = op, attrs
        self.rewire(node, inputs)
        return True

    def fresh_module(self, op: str, attrs: Attrs, at: Node) -> str:
        """The path of a new child without persistent weights."""
        path = free_path(self.graph, op)
        self.graph.children[path] = Child(path, at.span, op, attrs, registry()[op].weights(attrs))
        return path

    def split_module(self, node: Node, first: tuple[str, Attrs], last: tuple[str, Attrs]) -> None:
        """Puts two modules, path.0 and path.1, in place of a node and its module, one after the other; ops and
        attributes."""
        path = node.path
        assert path is not None
        (value,) = node.inputs
        for i, (op, attrs) in enumerate((first, last)):
            child = Child(f"{path}.{i}", node.span, op, attrs, registry()[op].weights(attrs))
            self.graph.children[child.path] = child
            value = self.add(op, [value], attrs, at=node, path=child.path).outputs[0]
        self.merge(node, value)
        self.drop_module(path)

    def reshape_module(self, node: Node, attrs: Attrs, op: str | None = None) -> None:
        """Gives a node and its module other attributes (another op), and the module the weights that these ask for.

        How the old weights started says nothing of the new ones.
        """
        assert node.path is not None
        attrs = {name: None if name in ("init", "bias_init") else value for name, value in attrs.items()}
        node.op, node.attrs = op or node.op, attrs
        child = self.graph.children[node.path]
        child.op, child.attrs = node.op, attrs
        child.weights = registry()[node.op].weights(attrs)

    def drop_module(self, path: str) -> None:
        """Takes a child away; whoever does so says what becomes of its weights (`change`)."""
        del self.graph.children[path]

    def change(
        self,
        function: str,
        reads: Sequence[str | None],
        writes: Sequence[str],
        drops: Sequence[str] = (),
        **attrs: Any,
    ) -> None:
        """Notes what becomes of weights: see `Change`."""
        self.changes.append(Change(function, tuple(reads), tuple(writes), tuple(drops), attrs=attrs))

    def inline(self, node: Node) -> None:
        """Puts the callee's nodes in place of a call; its children and weights go under the call's path."""
        callee, path = node.callee, node.path
        assert callee is not None and path is not None and node.count == 1
        entries = callee.entries
        values = {id(v): given for v, given in zip(entries, node.inputs, strict=True)}
        place = self.graph.nodes.index(node)
        for i, inner in enumerate(callee.nodes):
            copy = copy_node(inner, values, node.sizes, {})
            copy.path = None if copy.path is None else join(path, copy.path)
            copy.modules = {slot: join(path, p) for slot, p in copy.modules.items()}
            copy.phase = copy.phase or node.phase
            self.graph.nodes.insert(place + i, copy)
            self.enter(copy)
        results = [values[id(v)] for v in callee.results]
        for old, new in zip(node.outputs, results, strict=True):
            self.replace(old, new)
        self.remove(node)
        self.drop_module(path)
        self._adopt(callee, path)

    def _adopt(self, callee: Graph, path: str) -> None:
        """The callee's children and weights become this graph's, under `path`."""
        graph = self.graph
        for child in callee.children.values():
            inner = join(path, child.path)
            graph.children[inner] = Child(
                inner, child.span, child.op, child.attrs, child.weights, child.graph, child.count
            )
        graph.weights |= {join(path, p): replace(d, name=join(path, p)) for p, d in callee.weights.items()}
        graph.aliases |= {join(path, a): join(path, b) for a, b in callee.aliases.items()}
        self.pins |= {join(path, p) for p in (*callee.aliases, *callee.aliases.values())}
        self.changes += [within(change, path) for change in self.all_changes.get(id(callee), [])]

    def rename(self, old: str, new: str) -> None:
        """Gives a child that this graph owns, and the nodes that use it, another path."""
        graph = self.graph
        child = graph.children[old]
        graph.children = {new if p == old else p: c for p, c in graph.children.items()}
        child.path = new
        for node in graph.nodes:
            if node.path == old:
                node.path = new
        self._uses[new] += self._uses.pop(old, 0)
        if child.weights or child.graph is not None:
            self.changes += [Change(MOVE, (shift(old, i),), (shift(new, i),)) for i in range(child.count)]

    def enter(self, node: Node) -> None:
        """Takes note of a node that has been put into the graph."""
        for value in node.outputs:
            self._makers[id(value)] = node
        for value in node.inputs:
            self._readers.setdefault(id(value), []).append(node)
        for path in named(node):
            self._uses[path] += 1

    def types(self, values: Sequence[Value]) -> list[TensorType]:
        """Their types."""
        return [v.type for v in values]


def named(node: Node) -> Iterator[str]:
    """The paths that a node names, each of a run."""
    yield from node.paths
    for slot, path in node.modules.items():
        borrowed = node.callee.borrowed[slot] if node.callee is not None else None
        yield from (shift(path, i) for i in range(borrowed.count if borrowed is not None else 1))


def acts(node: Node, training: bool, memo: dict[int, bool] | None = None) -> bool:
    """Whether running the node does more than give a result: it draws, or in training writes to buffers."""
    memo = {} if memo is None else memo
    if node.callee is None:
        op = Editor.entry(node)
        special = node.op in ("phase", "weight")
        return not special and (
            op is None or "random" in op.effects(node.attrs) or (training and bool(op.written(node.attrs)))
        )
    if id(node.callee) not in memo:
        memo[id(node.callee)] = any(acts(n, training, memo) for n in node.callee.nodes)
    return memo[id(node.callee)]


def dense_run(node: Node) -> tuple[list[Ghost], tuple[Ghost, ...]]:
    """Row-major tensors without elements as inputs of an op, and what it makes of them."""
    ins = [Tape(training=False, grad=False).new(v.type.shape, v.type.dtype) for v in node.inputs]
    return ins, traced(node, ins)


def same_tensor(node: Node) -> bool:
    """Whether an op gives its first input itself, and is no step of autograd."""
    ins, outs = dense_run(node)
    return bool(ins) and outs[0] is ins[0]


def plain(node: Node) -> bool:
    """Whether a node does the same in every phase, once and forwards."""
    return node.phase is None and node.count == 1 and not node.inverted and not node.log_det
