"""One graph as a block: its nodes as statements, labels that are the paths of its children."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, NoReturn

from archlang.elaborate.builtins import BUILTINS
from archlang.elaborate.names import builtin
from archlang.ir.graph import Attrs, Child, Constraint, Graph, Init, Node, Output, Program, Value, WeightDecl
from archlang.ir.paths import Paths, split_index
from archlang.ops.base import REQUIRED, Context, registry
from archlang.report.diagnostic import Span
from archlang.shapes.dim import Size, symbols
from archlang.syntax.grammar import load_table
from archlang.unparse.lines import Line, laid_out
from archlang.unparse.values import label, literal, quoted, size_text, type_text

__all__ = ["Unwritable", "Writer", "free_name"]

HIDDEN = {"extern": "code of its own", "fixed_point": "an iterated inverse", "residual_log_det": "a log-determinant"}


class Unwritable(Exception):
    """The program has something for which the language has no words outside of the spec that it came from."""

    def __init__(self, message: str, span: Span | None) -> None:
        super().__init__(message)
        self.message = message
        self.span = span


def free_name(wanted: str, taken: Set[str]) -> str:
    """An identifier that nothing else has: no name that is taken, no keyword, nothing of the language itself."""
    name = re.sub(r"\W", "_", wanted) or "x"
    name = f"x{name}" if name[0].isdigit() else name
    found, n = name, 1
    while found in taken or found in load_table().words or builtin(found) is not None:
        n += 1
        found = f"{name}_{n}"
    return found


class Writer:
    """Writes one graph. blocks: the name of each graph's block, by id; kin: those that share the block with it."""

    def __init__(self, graph: Graph, program: Program, blocks: Mapping[int, str], kin: Sequence[Graph]) -> None:
        self.graph = graph
        self.kin = kin
        self.blocks = blocks
        self.root = graph is program.root
        self.sizes: Mapping[str, Size] = program.given if self.root else {}
        self.paths = Paths(graph)
        self.taken = {*blocks.values(), *graph.symbols, *(s for size in self.sizes.values() for s in symbols(size))}
        self.values: dict[int, str] = {}
        self.modules = {slot: self.name(slot) for slot in graph.borrowed}  # what is named here, by its path
        self.slots = list(self.modules.values())
        self.uses: dict[int, int] = {}
        for value in (*(v for n in graph.nodes for v in n.inputs), *(v for o in graph.outputs for v in o.values)):
            self.uses[id(value)] = self.uses.get(id(value), 0) + 1
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
    def text(self) -> str:
        """The whole block."""
        docs = [f"## {line}".rstrip() for line in self.graph.doc.strip().splitlines()]
        inputs = self._inputs()
        params = f"({', '.join(f'{name}: module' for name in self.slots)})" if self.slots else ""
        word = "reversible block" if self.graph.reversible else "block"
        body = ["    " + row for row in laid_out(self._lines())]
        head = f"{word} {self.blocks[id(self.graph)]}{params}({inputs}){self._where()} {{"
        return "\n".join([*docs, head, *body, "    " + self._returns(), "}", ""])

    def _inputs(self) -> str:
        ports: dict[bool, list[str]] = {False: [], True: []}
        others = [[v for port in one.inputs for v in port.values] for one in self.kin]
        place = 0
        for port in self.graph.inputs:
            if self.root and port.kind == "tensors":
                self.fail("a list as an input")
            for value in port.values:
                name = self.values[id(value)] = self.name(value.name or port.name)
                kinds = [values[place].type for values in others]
                ports[port.context].append(f"{name}: {type_text(value.type, self.sizes, kinds)}")
                place += 1
        return ", ".join(ports[False]) + (f"; {', '.join(ports[True])}" if ports[True] else "")

    def _where(self) -> str:
        """What the declarations of the graph asked of sizes, its own and those of the blocks that it calls."""
        need = Context()
        for node in self.graph.nodes:
            if node.op in registry() and not node.inverted:
                registry()[node.op].infer([v.type for v in node.inputs], node.attrs, need)
        layers = {c.key for c in need.constraints}
        asked = [c for c in self.graph.constraints if c.rule in ("language", "promise") and c.phase is None]
        left = [c.at(self.sizes) for c in asked if c.key not in layers]
        texts = dict.fromkeys(_condition(c) for c in left if c.known is None and c.symbols)
        return f" where {' and '.join(texts)}" if texts and len(self.kin) == 1 else ""

    def _returns(self) -> str:
        return "return " + ", ".join(self._returned(output) for output in self.graph.outputs if output.values)

    def _returned(self, output: Output) -> str:
        items = ", ".join(self.values[id(v)] for v in output.values)
        listed = output.kind == "tensors"
        text = f"[{items}]" if self.root and listed else items
        text = f"{output.name}={text}" if output.name and (self.root or not listed) else text
        return f"training {text}" if output.training else text

    # -- statements --------------------------------------------------------------------------------------------------
    def _lines(self) -> Iterator[Line]:
        for node in self.graph.nodes:
            if node.log_det or node.op in HIDDEN:
                self.fail(HIDDEN.get(node.op, "a log-determinant"), node.span)
            for path in dict.fromkeys([*(node.paths if node.op != "weight" else ()), *node.modules.values()]):
                yield from self._named(path, node.phase)
            if node.op == "weight":
                yield Line(text=self._weight(self.graph.weights[self.paths.canonical(node.path or "")], node))
            elif node.op == "phase":
                (train, evaluate), (out,) = (self.values[id(v)] for v in node.inputs), self._results(node)
                yield Line(text=f"if training {{ {out} = {train} }} else {{ {out} = {evaluate} }}")
            elif node.count > 1:
                yield from self._run(node)
            else:
                yield self._step(node)

    def _step(self, node: Node) -> Line:
        ins = [self.values[id(v)] for v in node.inputs]
        results = tuple(self._results(node))
        alone = len(results) == 1 and self.uses.get(id(node.outputs[0]), 0) == 1 and not node.outputs[0].name
        if any(id(v) in self.new for v in node.outputs):
            return Line(text=f"new {results[0]} = {self._expression(node, ins)[0]}")
        if node.path is None and not node.inverted and (len(ins) != 1 or not self._flows(node)):
            text, operator = self._expression(node, ins)
            return Line(results, text, (), node.phase, operator=operator, open=alone)
        return Line(results, self._source(node, ins), (self._module(node, node.path),), node.phase, open=alone)

    def _flows(self, node: Node) -> bool:
        """Whether a weightless op of one wire reads well as a step, and means the op there."""
        attrs, entry = node.attrs, registry()[node.op]
        operator = getattr(entry, "symbol", None) is not None and attrs.get("other") is not None
        return (
            node.op not in BUILTINS
            and node.op != "index"
            and not operator
            and not entry.inputs[0].variadic
            and not entry.inputs[0].optional
        )

    def _expression(self, node: Node, ins: Sequence[str]) -> tuple[str, bool]:
        """A weightless op as a call, an index or an operator; whether it is the last."""
        attrs, entry = node.attrs, registry()[node.op]
        symbol = getattr(entry, "symbol", None)
        if node.op == "index" and attrs["items"]:
            return f"{ins[0]}[{', '.join(self._item(item) for item in attrs['items'])}]", False
        if symbol is not None and attrs["other"] is not None:
            number = literal(attrs["other"], self.sizes)
            pair = (ins[0], f"({number})" if " " in number else number)
            return f" {symbol} ".join(reversed(pair) if attrs["reverse"] else pair), True
        if len(ins) == 2 and (symbol is not None or node.op == "matmul"):
            return f" {symbol or '@'} ".join(ins), True
        if any(param.kind == "axes" for param in entry.params):  # an axis may be called as an input is
            return f"({', '.join(ins)}) -> {self._op(node.op, attrs)}", False
        return self._op(node.op, attrs, ins), False

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
        flow = Line(tuple(names), self._source(node, [*names, *context]), (step,)).rendered()[0]
        loop = f"for {index} in {start[1]}..{start[1] + node.count} {{ {flow} }}"
        yield Line(text=loop, phase=node.phase)

    def _source(self, node: Node, ins: Sequence[str]) -> str:
        """What flows into a step."""
        context = sum(len(p.values) for p in node.callee.inputs if p.context) if node.callee is not None else 0
        streams, rest = ins[: len(ins) - context], ins[len(ins) - context :]
        text = ", ".join(streams) + (f"; {', '.join(rest)}" if rest else "")
        return f"({text})" if len(ins) > 1 or rest else text

    # -- modules -----------------------------------------------------------------------------------------------------
    def _module(self, node: Node, path: str | None) -> str:
        """The step of a flow: a named module, or a new one with its label."""
        if path is None:
            made = self._made(node, None)
            return f"~{made}" if node.inverted else made
        name = self.modules.get(self.paths.canonical(path))
        if name is not None:
            return f"~{name}" if node.inverted else name
        return f"{label(path)}: {self._made(node, self.paths.child(path))}"

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
        yield Line(text=f"{name} = {label(path)}: {self._made(user, child)}", phase=phase)
        for second in self.graph.aliases:
            if self.paths.canonical(second) == path:
                yield Line(text=f"_ = {label(second)}: {name}", phase=phase)

    def _made(self, node: Node | None, child: Child | None) -> str:
        """The call that makes a child (node: one that applies it, if there is one), or an op without weights."""
        if child is None:
            assert node is not None
            return self._op(node.op, node.attrs)
        if child.graph is None:
            return self._op(str(child.op), child.attrs)
        lent = [self._lent(node, slot) for slot in child.graph.borrowed]
        return self.blocks[id(child.graph)] + (
            f"({', '.join(lent)})" if lent or node is None or not node.inputs else ""
        )

    def _lent(self, node: Node | None, slot: str) -> str:
        path = node.modules.get(slot) if node is not None else None
        name = self.modules.get(self.paths.canonical(path)) if path is not None else None
        return name if name is not None else self.fail(f"a module that is lent as `{slot}`")

    def _op(self, op: str, attrs: Attrs, wires: Sequence[str] = ()) -> str:
        """The call of an op: on wires, or as a module."""
        entry = registry()[op]
        args = entry.spell(attrs)
        shown = [f"[{', '.join(wires)}]"] if wires and entry.inputs[0].variadic else [*wires]
        named = False
        for param in entry.params:
            value: Any = args[param.name]
            if param.kind == "axes":
                shown += [f"{name}={literal(size, self.sizes)}" for name, size in value]
            elif param.default is REQUIRED and not named:
                shown.append(literal(value, self.sizes))
            elif value != param.default or isinstance(value, bool) != isinstance(param.default, bool):
                named = True
                shown.append(f"{param.name}={literal(value, self.sizes)}")
        return f"{op}({', '.join(shown)})" if shown else op

    def _item(self, item: Any) -> str:
        """An index."""
        if not isinstance(item, tuple):
            return literal(item, self.sizes)
        start, stop, step = ("" if bound is None else literal(bound, self.sizes) for bound in item)
        return f"{start}:{stop}" + (f":{step}" if step else "")

    def _weight(self, decl: WeightDecl, node: Node) -> str:
        (out,) = node.outputs
        name = self.values[id(out)] = self.name(out.name or decl.name.rpartition(".")[2])
        marks = [] if decl.trainable or decl.kind == "buffer" else ["frozen"]
        marks += [] if decl.persistent else ["transient"]
        marks += [decl.constraint] if decl.constraint else []
        word = "weight" if decl.kind == "parameter" else decl.kind
        other = f" as {quoted(decl.name)}" if name != decl.name else ""
        value = literal(decl.init or Init("zeros"), {})
        return ", ".join([f"{word} {name}{other}: {type_text(out.type, {})} = {value}", *marks])

    def _results(self, node: Node) -> list[str]:
        """Names for what a node gives; a stream keeps its name."""
        for value in node.outputs:
            old = self.renamed.get(id(value))
            if old is not None and id(old) in self.values:
                self.values[id(value)] = self.values[id(old)]
            elif id(value) not in self.values:
                self.values[id(value)] = self.name(value.name or (node.path or node.op).rpartition(".")[2])
        return [self.values[id(value)] for value in node.outputs]


def _condition(constraint: Constraint) -> str:
    if constraint.cases:
        cases = [" and ".join(map(_condition, case)) for case in constraint.cases]
        return f"({' or '.join(f'({case})' for case in cases)})"
    left, right = (size_text(size, "({} // {})".format) for size in (constraint.left, constraint.right))
    return f"{left} {constraint.relation} {right}"
