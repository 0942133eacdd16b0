"""One graph as the draft of a block: its nodes as statements, labels that are the paths of its children."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from itertools import count
from typing import NoReturn

from archlang.ir.graph import Child, Graph, Init, Node, Output, Program, Value, WeightDecl
from archlang.ir.paths import Paths, split_index
from archlang.ops.base import registry
from archlang.records import dataclass
from archlang.report.diagnostic import Span
from archlang.shapes.dim import Size, symbol, symbols
from archlang.unparse.calls import Calls
from archlang.unparse.conditions import where
from archlang.unparse.draft import Draft
from archlang.unparse.gathered import Gathered, gathered
from archlang.unparse.inline import flows
from archlang.unparse.lines import Line, Listed, Step
from archlang.unparse.marks import Called, Index, Marked, Marks, Width
from archlang.unparse.names import free_name
from archlang.unparse.values import label, literal, quoted, type_text

__all__ = ["Setting", "Unwritable", "Writer"]

HIDDEN = {"extern": "code of its own", "fixed_point": "an iterated inverse", "residual_log_det": "a log-determinant"}


class Unwritable(Exception):
    """The program has something for which the language has no words outside of the spec that it came from."""

    def __init__(self, message: str, span: Span | None) -> None:
        super().__init__(message)
        self.message = message
        self.span = span


@dataclass(frozen=True, slots=True)
class Setting:
    """names: what blocks may be called; inlined: graphs, by id, that stand where they are used; alike: whether two
    texts come to the same."""

    program: Program
    names: Set[str]
    inlined: Set[int]
    alike: Callable[[Marked, Marked], bool]


class Writer:
    """Writes one graph. kin: the graphs that share the block with it."""

    def __init__(self, graph: Graph, kin: Sequence[Graph], setting: Setting) -> None:
        self.graph = graph
        self.kin = kin
        self.setting = setting
        self.marks = Marks()
        self.root = graph is setting.program.root
        self.sizes: Mapping[str, Size] = setting.program.given if self.root else _own_symbols(graph)
        self.calls = Calls(self.marks, self.sizes)
        self.lists: dict[tuple[int, ...], str] = {}  # names of lists, by the ids of their values
        self.paths = Paths(graph)
        self.taken = {*setting.names, *(s for size in self.sizes.values() for s in symbols(size))}
        self.taken |= {*graph.symbols} - {*self.sizes}
        self.values: dict[int, str] = {}
        self.modules = {slot: self.name(slot) for slot in graph.borrowed}  # what is named here, by its path
        self.slots = list(self.modules.values())
        self.uses: dict[int, int] = {}
        for value in (*(v for n in graph.nodes for v in n.inputs), *(v for o in graph.outputs for v in o.values)):
            self.uses[id(value)] = self.uses.get(id(value), 0) + 1
        self.holders: dict[str, Value] = {}  # by an author's name, the value that has it now
        self.place = {id(node): i for i, node in enumerate(graph.nodes)}
        self.last = self._last_uses()
        self.shared = self._shared()
        self.renamed, self.new = self._streams()

    def fail(self, what: str, span: Span | None = None) -> NoReturn:
        raise Unwritable(
            f"`{self.graph.block}` has {what}, which a spec cannot have by itself", span or self.graph.span
        )

    def name(self, wanted: str) -> str:
        """A new identifier."""
        found = free_name(wanted, self.taken)
        self.taken.add(found)
        return found

    # -- what needs names --------------------------------------------------------------------------------------------
    def _shared(self) -> set[str]:
        """Paths of modules that must be named: applied more than once, lent, undone, or known by a second path."""
        uses: dict[str, int] = {}
        named = {self.paths.canonical(first) for first in self.graph.aliases.values()}
        for node in self.graph.nodes:
            for path in map(self.paths.canonical, node.paths if node.op != "weight" else ()):
                uses[path] = uses.get(path, 0) + 1
                named.update([path] if node.inverted else [])
            named.update(self.paths.canonical(path) for path in node.modules.values())
        return named | {path for path, count in uses.items() if count > 1}

    def _last_uses(self) -> dict[int, int] | None:
        """The node that reads a value last, by its place; None where names are not bound anew (streams, phases)."""
        nodes = self.graph.nodes
        if self.graph.reversible or any(node.phase is not None or node.op == "phase" for node in nodes):
            return None
        last = {id(value): i for i, node in enumerate(nodes) for value in node.inputs}
        return last | {id(value): len(nodes) for output in self.graph.outputs for value in output.values}

    def _streams(self) -> tuple[dict[int, Value], set[int]]:
        """Which stream each value of a reversible block continues, and those that are new."""
        follows: dict[int, Value] = {}
        new: set[int] = set()
        for step in self.graph.proof.steps if self.graph.proof is not None and self.graph.reversible else ():
            if step.kind == "new":
                new.update(id(value) for value in step.made)
            elif len(step.consumed) == len(step.made):
                follows.update((id(made), old) for made, old in zip(step.made, step.consumed, strict=True))
        return follows, new

    # -- the block ---------------------------------------------------------------------------------------------------
    def draft(self) -> Draft:
        """The whole block."""
        inputs = self._inputs()
        lines = [*self._lines()]
        results = [self._returned(output) for output in self.graph.outputs if output.values]
        last = lines[-1] if lines else Line()
        if results == [*last.targets] and last.open and not self.graph.reversible and last.phase is None:
            last.result, last.open = True, False
        else:
            lines.append(Line(text=f"return {', '.join(results)}"))
        asked = where(self.graph, self.sizes) if len(self.kin) == 1 else ""
        return Draft(self.graph, tuple(self.slots), inputs, asked, lines, self.marks.all, self.taken)

    def _inputs(self) -> str:
        ports: dict[bool, list[str]] = {False: [], True: []}
        others = [[v for port in one.inputs for v in port.values] for one in self.kin]
        place = 0
        for port in self.graph.inputs:
            if self.root and port.kind == "tensors":
                self.fail("a list as an input")
            for value in port.values:
                name = self.values[id(value)] = self.name(value.name or port.name)
                self.holders[name] = value
                kinds = [values[place].type for values in others]
                kind = type_text(value.type, self.sizes, kinds, lambda size: self.marks.put(Width(size)))
                ports[port.context].append(f"{name}: {kind}")
                place += 1
        return ", ".join(ports[False]) + (f"; {', '.join(ports[True])}" if ports[True] else "")

    def _returned(self, output: Output) -> str:
        items = ", ".join(self.values[id(v)] for v in output.values)
        listed = output.kind == "tensors"
        text = f"[{items}]" if self.root and listed else items
        text = f"{output.name}={text}" if output.name and (self.root or not listed) else text
        return f"training {text}" if output.training else text

    # -- statements --------------------------------------------------------------------------------------------------
    def _lines(self) -> Iterator[Line]:
        over = 0  # nodes before this one are written
        for place, node in enumerate(self.graph.nodes):
            if place < over:
                continue
            if node.log_det or node.op in HIDDEN:
                self.fail(HIDDEN.get(node.op, "a log-determinant"), node.span)
            for path in dict.fromkeys([*(node.paths if node.op != "weight" else ()), *node.modules.values()]):
                yield from self._named(path, node.phase)
            found = gathered(self.graph, place, self._alike) if node.op == "concat" else None
            if found is not None:
                yield from self._gathered(found)
                over = place + 2 * len(found.layers)
            elif node.op == "weight":
                yield Line(text=self._weight(self.graph.weights[self.paths.canonical(node.path or "")], node))
            elif node.op == "phase":
                (train, evaluate), (out,) = (self.values[id(v)] for v in node.inputs), self._results(node)
                yield Line(text=f"if training {{ {out} = {train} }} else {{ {out} = {evaluate} }}")
            elif node.count > 1:
                yield from self._run(node)
            else:
                yield self._step(node)

    def _alike(self, a: Node, b: Node) -> bool:
        """Whether new modules of two nodes are written the same."""
        x, y = (self.paths.owned(node.path or "") for node in (a, b))
        if x is None or y is None or {x.path, y.path} & self.shared or x.path in self.graph.aliases:
            return False
        return self.setting.alike(*((str(self._made(n, child)), self.marks.all) for n, child in ((a, x), (b, y))))

    def _gathered(self, found: Gathered) -> Iterator[Line]:
        """A list, and the loop in which it grows."""
        name, index = self.name("seen"), self.name("i")
        yield Line((name,), f"[{', '.join(self.values[id(v)] for v in found.first)}]")
        for i, value in enumerate(found.values[len(found.first) :], len(found.first)):
            self.values[id(value)] = f"{name}[{i}]"
        self.lists[tuple(map(id, found.values))] = name
        number = f"{index} + {found.start}" if found.start else index
        step = f'{quoted(found.stem)[:-1]}{{{number}}}": '
        join = self.calls.op("concat", found.joins[0].attrs, "concat", [f"*{name}"])
        made = self._made(found.layers[0], self.paths.child(found.layers[0].path or ""))
        stop = self.calls.number(len(found.layers), "count")
        yield Line(text=f"for {index} in 0..{stop} {{ {name} += [{join} -> {step}{made}] }}")

    def _step(self, node: Node) -> Line:
        ins = [self.values[id(v)] for v in node.inputs]
        results = tuple(self._results(node))
        alone = len(results) == 1 and self._passes(node.outputs[0])
        if any(id(v) in self.new for v in node.outputs):
            return Line(text=f"new {results[0]} = {self._expression(node, ins)[0]}")
        if node.path is None and not node.inverted and (len(ins) != 1 or not flows(node)):
            text, operator = self._expression(node, ins)
            return Line(results, text, (), node.phase, operator=operator, open=alone)
        return Line(results, self._source(node, ins), (self._module(node, node.path),), node.phase, open=alone)

    def _passes(self, value: Value) -> bool:
        """Whether a value needs no name: one statement reads it, and its author gave it none, or it is the result."""
        once = self.uses.get(id(value), 0) == 1
        return once and (not value.name or any(value in output.values for output in self.graph.outputs))

    def _expression(self, node: Node, ins: Sequence[str]) -> tuple[str, bool]:
        """A weightless op as a call, an index or an operator; whether it is the last."""
        attrs, entry = node.attrs, registry()[node.op]
        symbol = getattr(entry, "symbol", None)
        if node.op == "index" and attrs["items"]:
            return f"{ins[0]}[{', '.join(self.calls.item(item) for item in attrs['items'])}]", False
        if symbol is not None and attrs["other"] is not None:
            number = self.calls.values(attrs["other"], "factor", atom=True)
            pair = (ins[0], f"({number})" if " " in number else number)
            return f" {symbol} ".join(reversed(pair) if attrs["reverse"] else pair), True
        if len(ins) == 2 and (symbol is not None or node.op == "matmul"):
            return f" {symbol or '@'} ".join(ins), True
        if any(param.kind == "axes" for param in entry.params):  # an axis may be called as an input is
            return f"({', '.join(ins)}) -> {self.calls.op(node.op, attrs, node.op)}", False
        whole = self.lists.get(tuple(map(id, node.inputs)))
        return self.calls.op(node.op, attrs, node.op, [f"*{whole}"] if whole else ins), False

    def _run(self, node: Node) -> Iterator[Line]:
        """Children of consecutive numbers, one after the other: a loop where they are not named."""
        ins, names = [self.values[id(v)] for v in node.inputs], self._results(node)
        context = ins[len(names) :]
        paths = [*reversed([*node.paths])] if node.inverted else [*node.paths]
        if any(self.paths.canonical(path) in self.modules for path in paths):
            for i, path in enumerate(paths):
                now = ins if i == 0 else [*names, *context]
                yield Line(tuple(names), self._source(node, now), (self._module(node, path),), node.phase)
            return
        for name, value in zip(names, ins, strict=False):
            if name != value:
                yield Line((name,), value, (), node.phase)
        start = split_index(paths[0])
        assert start is not None
        index = self.name("i")
        text = quoted(f"{start[0]}." if start[0] else "")[:-1] + f'{{{index}}}"'
        step = f"{text}: {self._made(node, self.paths.child(paths[0]))}"
        flow = " -> ".join((self._source(node, [*names, *context]), step))
        stop = self.calls.number(start[1] + node.count, "stop", "count")
        loop = f"for {index} in {start[1]}..{stop} {{ {', '.join(names)} = {flow} }}"
        yield Line(text=loop, phase=node.phase)

    def _source(self, node: Node, ins: Sequence[str]) -> str:
        """What flows into a step."""
        context = sum(len(p.values) for p in node.callee.inputs if p.context) if node.callee is not None else 0
        streams, rest = ins[: len(ins) - context], ins[len(ins) - context :]
        text = ", ".join(streams) + (f"; {', '.join(rest)}" if rest else "")
        return f"({text})" if len(ins) > 1 or rest else text

    # -- modules -----------------------------------------------------------------------------------------------------
    def _module(self, node: Node, path: str | None) -> Step:
        """The step of a flow: a named module, or a new one with its label."""
        if path is None:
            made = self._made(node, None)
            return f"~{made}" if node.inverted else made
        name = self.modules.get(self.paths.canonical(path))
        if name is not None:
            return f"~{name}" if node.inverted else name
        return self._labelled(path, self._made(node, self.paths.child(path)))

    def _labelled(self, path: str, made: Step) -> Step:
        """With its label, whose numbers parameters may stand for."""
        text = label(path)
        if text != path:
            digits = (
                self.marks.put(Index(int(s))) if s.isdecimal() and s == str(int(s)) else s for s in path.split(".")
            )
            text = f'"{".".join(digits)}"' if quoted(path) == f'"{path}"' else text
        return f"{text}: {made}" if isinstance(made, str) else Listed(f"{text}: ", made.items, made.chained)

    def _named(self, path: str, phase: str | None) -> Iterator[Line]:
        """Statements that name a module, where it needs a name and has none, and give it its further paths."""
        path = self.paths.canonical(path)
        if path in self.modules or path not in self.shared:
            return
        users = (n for n in self.graph.nodes if n.op != "weight" and path in map(self.paths.canonical, n.paths))
        user = next(users, None)
        for other in user.modules.values() if user is not None else ():
            yield from self._named(other, phase)
        child = self.paths.owned(path)
        if child is None:
            self.fail(f"no module `{path}`")
        name = self.modules[path] = self.name(path.replace(".", "_"))
        yield Line((name,), "", (self._labelled(path, self._made(user, child)),), phase)
        for second in self.graph.aliases:
            if self.paths.canonical(second) == path:
                yield Line(text=f"_ = {label(second)}: {name}", phase=phase)

    def _made(self, node: Node | None, child: Child | None) -> Step:
        """The call that makes a child (node: one that applies it, if there is one), or an op without weights."""
        if child is None:
            assert node is not None
            return self.calls.op(node.op, node.attrs, node.op)
        if child.graph is None:
            types = [v.type for v in node.inputs] if node is not None and not node.inverted else None
            return self.calls.op(str(child.op), child.attrs, child.path, (), types)
        if id(child.graph) in self.setting.inlined:
            return self._composed(child.graph)
        lent = tuple(self._lent(node, slot) for slot in child.graph.borrowed)
        return self.marks.put(Called(id(child.graph), lent, node is not None and bool(node.inputs)))

    def _composed(self, graph: Graph) -> Listed:
        """A composition in place; what is counted makes a chain of it."""
        paths = Paths(graph)
        items: list[tuple[Step, ...]] = []
        chained = graph.block == "chain" or len(graph.nodes) < 2 or any(node.count > 1 for node in graph.nodes)
        for node in graph.nodes:
            child = paths.owned(node.path) if node.path is not None else None
            made = self._made(node, child)
            if node.count > 1:
                many = f"{made} for _ in 0..{self.calls.number(node.count, 'count')}"
                items.append((many if len(graph.nodes) == 1 else f"*[{many}]",))
            elif node.path is not None and split_index(node.path) is None:
                items.append((self._labelled(node.path, made),))
            elif chained and isinstance(made, Listed) and not made.chained:
                items.append(made.items[0])
            else:
                items.append((made,))
        return Listed("", tuple(items) if chained else (tuple(step for item in items for step in item),), chained)

    def _lent(self, node: Node | None, slot: str) -> str:
        path = node.modules.get(slot) if node is not None else None
        name = self.modules.get(self.paths.canonical(path)) if path is not None else None
        return name if name is not None else self.fail(f"a module that is lent as `{slot}`")

    def _weight(self, decl: WeightDecl, node: Node) -> str:
        (out,) = node.outputs
        name = self.values[id(out)] = self.name(out.name or decl.name.rpartition(".")[2])
        marks = [] if decl.trainable or decl.kind == "buffer" else ["frozen"]
        marks += [] if decl.persistent else ["transient"]
        marks += [decl.constraint] if decl.constraint else []
        word = "weight" if decl.kind == "parameter" else decl.kind
        other = f" as {quoted(decl.name)}" if name != decl.name else ""
        value = literal(decl.init or Init("zeros"), {})
        hints = ("size", f"{decl.name.rpartition('.')[2]}_size")
        kind = type_text(out.type, {}, (), lambda size: self.calls.number(size, *hints))
        return ", ".join([f"{word} {name}{other}: {kind} = {value}", *marks])

    def _results(self, node: Node) -> list[str]:
        """Names for what a node gives; a stream keeps its name, and so does what follows a value that nothing reads."""
        for value in node.outputs:
            old = self.renamed.get(id(value))
            if old is not None and id(old) in self.values:
                self.values[id(value)] = self.values[id(old)]
            elif id(value) not in self.values:
                self.values[id(value)] = self._follows(node, value) or self.name(
                    value.name or (node.path or node.op).rpartition(".")[2]
                )
            if value.name:
                self.holders[value.name] = value
        return [self.values[id(value)] for value in node.outputs]

    def _follows(self, node: Node, value: Value) -> str | None:
        """The name that the author gave to this value, and before to one that nothing reads any more."""
        before = self.holders.get(value.name)
        if not value.name or before is None or self.last is None or value.type.dtype != before.type.dtype:
            return None
        over = self.last.get(id(before), -1) <= self.place[id(node)]
        return self.values[id(before)] if over and self.values[id(before)] == value.name else None


def _own_symbols(graph: Graph) -> dict[str, Size]:
    """Names for symbols that do not depend on where the graph is used: `H`, `W`, `H2` in the order of its inputs."""
    shapes = [value.type.shape for port in graph.inputs for value in port.values]
    order = [name for shape in shapes for size in shape for name in sorted(symbols(size))]
    names: dict[str, str] = {}
    for old in dict.fromkeys([*order, *graph.symbols]):
        base = old.rstrip("0123456789")
        free = (base if n == 1 else f"{base}{n}" for n in count(1))
        names[old] = next(name for name in free if name not in names.values())
    return {old: symbol(new) for old, new in names.items()}
