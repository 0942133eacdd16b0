"""Prints a forward: the body's steps as Python lines."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby

from archlang.codegen.body import Body, Loop, Step, Target, TwoWay
from archlang.codegen.classes import Unit
from archlang.codegen.exprs import Apply, Bin, Call, Get, Kwarg, Leaf, Py, Raw, Seq, Var
from archlang.codegen.flow import (
    Line,
    all_steps,
    inline,
    lower_selects,
    reads,
    targets,
    use_counts,
    without_dead,
)
from archlang.codegen.names import Scope, identifier
from archlang.codegen.naming import allocate, preferred
from archlang.codegen.outputs import Result
from archlang.codegen.printer import WIDTH, Printer
from archlang.codegen.shapes import Shapes
from archlang.codegen.variables import Variables

__all__ = ["Forward", "print_forward"]

# Functions of torch whose results mypy does not know to be tensors.
_UNTYPED = frozenset({"F.hardsigmoid", "F.sigmoid", "F.tanh"})


@dataclass(frozen=True, slots=True)
class Forward:
    """The text of a forward."""

    parameters: list[str]  # `x: Tensor`
    annotation: str
    lines: list[str]
    stored: list[str]  # constructor arguments that it reads from self
    notes: list[str]  # `x: [B, C, H, W]`
    result: str  # shape


def print_forward(
    unit: Unit, shapes: Shapes, found: list[Result], scope: Scope, typed: frozenset[str], kind: str = "Tensor",
    *, within: str = "",
) -> Forward:  # fmt: skip
    """scope: names of the file; typed: its functions, whose results mypy knows; kind: what stands for a wire; within:
    the function that makes the context of the lines from the modules at hand."""
    printing = _Forward(unit, shapes, found, scope, typed, kind)
    if within:
        printing.indent += 4
    forward = printing.run()
    if within:
        modules = ", ".join(["self", *(lent.slot for lent in printing.body.lent)])
        forward = replace(forward, lines=[f"{' ' * (printing.indent - 4)}with {within}({modules}):", *forward.lines])
    if kind == "Tensor":
        return forward
    parameters = [p.replace("Tensor", kind) for p in forward.parameters]
    return replace(
        forward, parameters=parameters, annotation=forward.annotation.replace("Tensor", kind), notes=[], result=""
    )


class _Forward:
    def __init__(
        self, unit: Unit, shapes: Shapes, found: list[Result], scope: Scope, typed: frozenset[str], kind: str
    ) -> None:
        assert unit.body is not None
        self.body: Body = unit.body
        self.shapes, self.results, self.typed, self.kind = shapes, found, typed, kind
        self.indent = 4 if unit.function else 8
        self.variables = Variables(unit, shapes, scope)
        self.groups = self.variables.groups
        self.streams = {v for s in self.body.steps if isinstance(s, Loop) and s.inner for v in s.streams}
        self._value = self.variables.value
        self.printer = Printer(self._value, self.variables.argument, self.variables.size)
        self.counts = use_counts(self.body)

    # -- plan --------------------------------------------------------------------------------------------------------
    def run(self) -> Forward:
        self.returned_groups: set[int] = set()
        lowered = lower_selects(self.body, self.groups, self.counts, set(self.variables.scalars))
        lowered = without_dead(lowered, self.counts)
        self.returned_groups = {self.groups.find(v) for v in self._returned_values()}
        banned: set[int] = set()
        while True:
            lines = self._plan(lowered, banned)
            self.variables.used.clear()
            text = self._print(lines)
            wide = self._too_wide(lines, banned)
            if not wide:
                break
            banned |= wide
        annotation = " | ".join(dict.fromkeys(r.annotation for r in reversed(self.results)))
        return Forward(
            self.variables.parameters,
            annotation,
            text,
            sorted(self.variables.used),
            self.variables.notes,
            self._result_note(),
        )

    def _plan(self, lowered: list[Line], banned: set[int]) -> list[Line]:
        wishes = preferred(self.body, lowered, self.groups, self.counts)
        self.variables.names = {**wishes, **{self.groups.find(v): n for v, n in self.variables.scalars.items()}}

        def candidate(v: int) -> bool:
            single = self.counts.get(v) == 1 and not self.body.names[v]
            return single and v not in banned and not self.groups.joined(v) and v not in self.streams

        def inside(line: Line) -> Line:
            if not isinstance(line, Loop):
                return line
            nested = inline(list(line.inner), candidate, lambda step: self._fits(step, 4))
            return replace(line, inner=tuple(s for s in nested if isinstance(s, Step)))

        lines = [inside(line) for line in inline(lowered, candidate, self._fits)]
        wishes = preferred(self.body, lines, self.groups, self.counts)
        self.variables.names = allocate(
            self.body, lines, self.groups, wishes, self.variables.scalars, self.variables.taken
        )
        return lines

    def _fits(self, line: Line, extra: int = 0) -> bool:
        assert not isinstance(line, Loop)
        text = self.printer.text(line.value)
        made = list(targets(line))
        name = ", ".join(self._value(v) for v in made)
        extra += 4 if line.phase else 0
        if any(self.groups.find(v) in self.returned_groups for v in made):
            extra += len(": Tensor")
        return self.indent + extra + max(len(name) + 3, len("return ")) + len(text) <= WIDTH

    def _too_wide(self, lines: list[Line], banned: set[int]) -> set[int]:
        """Values that are nested into a line which came out too long after all."""
        left = {v for line in lines for v in targets(line)}
        wide: set[int] = set()
        for line in lines:
            if isinstance(line, Loop) or self._fits(line):
                continue
            inner = self._nested(line, left)
            if inner is not None and inner not in banned:
                wide.add(inner)
        return wide

    def _nested(self, line: Line, left: set[int]) -> int | None:
        """The last value that was nested into a line."""
        original = next((s for s in self.body.steps if not isinstance(s, Loop) and targets(s) == targets(line)), None)
        made = {v for step in self.body.steps for v in targets(step)}
        gone = [v for v in reads(original) if v in made and v not in left] if original else []
        return gone[-1] if gone else None

    # -- lines -------------------------------------------------------------------------------------------------------
    def _print(self, lines: list[Line]) -> list[str]:
        self.declared = set(self.variables.scalars.values())
        self.returned = self._returned_names(lines)
        self.growing = {v for line in lines if isinstance(line, Loop) for v in line.growing}
        out = self.variables.opening(self.printer, self.indent)
        finish = self._direct_return(lines)
        self.last_note = ""
        closed: set[str] = set()
        at = 0
        for phase, together in groupby(lines, lambda line: line.phase):
            inside: list[str] = []
            for line in together:
                at += 1
                indent = self.indent + (4 if phase else 0)
                inside += self._line(line, indent, returned=finish and at == len(lines))
            if phase is None:
                closed = set()
            elif inside and closed and phase not in closed:
                out.append(f"{' ' * self.indent}else:")
                closed.add(phase)
            elif inside:  # names alone need no statement
                test = "if self.training:" if phase == "train" else "if not self.training:"
                out.append(f"{' ' * self.indent}{test}")
                closed = {phase}
            out += inside
        return out if finish else [*out, *self._returns()]

    def _line(self, line: Line, indent: int, *, returned: bool) -> list[str]:
        note = self._note(line)
        if isinstance(line, Loop):
            return self._loop(line, indent, note)
        if isinstance(line, TwoWay):
            return self._two_way(line, indent, note)
        if returned:
            return self._noted(line.value, indent, "return ", note)
        made = targets(line)
        live = [v for v in made if self._live(v)]
        if not live:
            return self.printer.statement(line.value, indent) if isinstance(line.value, Call) else []
        head: list[str] = []
        if isinstance(line.target, int):
            name = self._value(line.target)
            if isinstance(line.value, Var) and self._value(line.value.index) == name:
                return []
            vague = name in self.returned or _reads_weight(line.value)
            if vague and name not in self.declared:
                name = f"{name}: {self.kind}"
            self.declared.add(self._value(line.target))
        else:
            name = self._unpack(line.target, top=True)
            for v in live:
                if self._value(v) in self.returned - self.declared:
                    head.append(f"{' ' * indent}{self._value(v)}: {self.kind}")
                self.declared.add(self._value(v))
        return [*head, *self._noted(line.value, indent, f"{name} = ", note)]

    def _unpack(self, target: Target, *, top: bool = False, whole: bool = False) -> str:
        """Names on the left of `=`; `_` for what nobody reads, unless the `whole` is wanted."""
        if isinstance(target, int):
            return self._value(target) if whole or self._live(target) else "_"
        inner = ", ".join(self._unpack(t, whole=whole) for t in target)
        if len(target) == 1:
            return f"({inner},)"
        return inner if top else f"({inner})"

    def _noted(self, value: Py, indent: int, before: str, note: str) -> list[str]:
        """The statement with its comment behind it, or above it where the line would become too long."""
        lines = self.printer.statement(value, indent, before)
        if not note or note == self.last_note:
            return lines
        self.last_note = note
        if len(lines) == 1 and len(lines[0]) + len(note) + 4 <= WIDTH:
            return [f"{lines[0]}  # {note}"]
        if len(lines) > 1 and len(lines[-1]) + len(note) + 4 <= WIDTH:
            return [*lines[:-1], f"{lines[-1]}  # {note}"]
        return [f"{' ' * indent}# {note}", *lines]

    def _live(self, v: int) -> bool:
        return bool(self.counts.get(v)) or v in self.streams

    def _note(self, line: Line) -> str:
        made = [v for v in targets(line) if self._live(v)]
        if self.kind != "Tensor" or any(v in self.growing for v in made):
            return ""
        texts = list(dict.fromkeys(self.shapes.of(v) for v in made))
        return ", ".join(texts) if texts and all(texts) and len(texts) <= 4 else ""

    # -- kinds of lines ----------------------------------------------------------------------------------------------
    def _loop(self, line: Loop, indent: int, note: str) -> list[str]:
        pad = " " * indent
        pairs = [(self._value(v), self._value(s)) for v, s in zip(line.streams, line.initial, strict=True)]
        moved = [(new, old) for new, old in pairs if new != old]
        out: list[str] = []
        for new, _ in moved:
            if new in self.returned and new not in self.declared and len(moved) > 1:
                out.append(f"{pad}{new}: {self.kind}")
        if len(moved) == 1:
            new, old = moved[0]
            kind = f": {self.kind}" if new in self.returned and new not in self.declared else ""
            out.append(f"{pad}{new}{kind} = {old}")
        elif moved:
            out.append(f"{pad}{', '.join(n for n, _ in moved)} = {', '.join(o for _, o in moved)}")
        self.declared.update(new for new, _ in pairs)
        self.variables.members = members = []
        for label in line.labels or (line.label,):
            members.append(self.variables.free(identifier(label)))
        if line.inner:
            out += self._passes(line, indent)
            for step in line.inner:
                out += self._line(step, indent + 4, returned=False)
            return out
        if line.modules is not None:
            out.append(f"{pad}for {members[0]} in {_order(self.printer.text(line.modules), line)}:")
        elif line.numbered is not None:
            prefix, start = line.numbered
            stop: Py = line.count
            if start:
                same = isinstance(line.count, Leaf)
                stop = Leaf(start + line.count.value) if same else Bin("+", Leaf(start), line.count)
            first = f"{start}, " if start else ""
            members[0] = f'self.get_submodule(f"{prefix}{"." if prefix else ""}{{i}}")'
            out.append(f"{pad}for i in {_order(f'range({first}{self.printer.text(stop)})', line)}:")
        else:
            out.append(f"{pad}for _ in range({self.printer.text(line.count)}):")
        return [
            *out,
            *self._noted(line.value, indent + 4, f"{self._unpack(line.target, top=True, whole=True)} = ", note),
        ]

    def _passes(self, line: Loop, indent: int) -> list[str]:
        """`for layer in self.layers:`; `for conv, norm in zip(...):`; `for i in range(12):`."""
        over: Py
        if not line.heads:
            names, over = ["i" if line.labels else "_"], Call(Raw("range"), (line.count,))
        elif len(line.heads) == 1:
            names, over = self.variables.members[:1], line.heads[0]
        else:
            names, over = self.variables.members, Call(Raw("zip"), line.heads, (Kwarg("strict", Leaf(True)),))
        return self.printer.statement(over, indent, f"for {', '.join(names)} in ", ":")

    def _two_way(self, line: TwoWay, indent: int, note: str) -> list[str]:
        pad = " " * indent
        temporary = self.variables.free("out")
        out = self._noted(line.value, indent, f"{temporary} = ", note)
        test = f"isinstance({temporary}, tuple)" if line.plain else f"len({temporary}) == {line.items}"
        self.declared.update(self._value(v) for v in targets(line))
        return [
            *out,
            f"{pad}if {test}:",
            f"{pad}    {self._unpack(line.train, top=True)} = {temporary}",
            f"{pad}else:",
            f"{pad}    {self._unpack(line.evaluation, top=True)} = {temporary}",
        ]

    # -- results -----------------------------------------------------------------------------------------------------
    def _returned_names(self, lines: list[Line]) -> set[str]:
        """Variables returned as they are, and once assigned what mypy does not know to be a tensor.

        A name whose type is only inferred forgets it at such an assignment: it has to be declared.
        """
        vague = {
            self._value(v)
            for line in all_steps(lines)
            if not (isinstance(line, Step) and isinstance(line.target, int) and self._typed(line.value))
            for v in targets(line)
        }
        return {self._value(v) for v in self._returned_values()} & vague

    def _returned_values(self) -> list[int]:
        return [r.items[0].values[0] for r in self.results if len(r.items) == 1 and r.items[0].kind == "tensor"]

    def _direct_return(self, lines: list[Line]) -> bool:
        """Whether the last line is the only result, unnamed and known to be a tensor: `return F.relu(x)`."""
        if not lines or len(self.results) != 1 or len(self.results[0].items) != 1:
            return False
        item, last = self.results[0].items[0], lines[-1]
        if item.kind != "tensor" or not isinstance(last, Step) or last.phase is not None:
            return False
        v = item.values[0]
        plain = last.target == v and self.counts[v] == 1 and not self.body.names[v] and not self.groups.joined(v)
        return plain and self._typed(last.value)

    def _typed(self, e: Py) -> bool:
        """Whether mypy knows that the expression is a tensor."""
        if isinstance(e, Call) and isinstance(e.func, Raw):
            text = e.func.text
            return text in self.typed or (text.startswith(("F.", "torch.")) and text not in _UNTYPED)
        return isinstance(e, Apply)

    def _returns(self) -> list[str]:
        pad = " " * self.indent
        if len(self.results) == 1:
            return self._return(self.results[0], self.indent)
        training, evaluation = self.results
        return [
            f"{pad}if self.training:",
            *self._return(training, self.indent + 4),
            *self._return(evaluation, self.indent),
        ]

    def _return(self, result: Result, indent: int) -> list[str]:
        items: list[Py] = []
        for item in result.items:
            values: tuple[Py, ...] = tuple(Var(v) for v in item.values)
            items.append(Seq(values, "list") if item.kind == "tensors" else values[0])
        if result.name:
            return self.printer.statement(Call(Raw(result.name), tuple(items)), indent, "return ")
        if len(items) == 1:
            return self.printer.statement(items[0], indent, "return ")
        text = ", ".join(self.printer.text(i) for i in items)
        flat = f"{' ' * indent}return {text}"
        return [flat] if len(flat) <= WIDTH else self.printer.statement(Seq(tuple(items)), indent, "return ")

    def _result_note(self) -> str:
        items = self.results[-1].items
        texts = [", ".join(dict.fromkeys(self.shapes.of(v) for v in o.values)) for o in items]
        return ", ".join(texts) if all(texts) else ""


def _reads_weight(e: Py) -> bool:
    """Whether mypy takes the expression for an nn.Parameter, so that the name may be bound to nothing else."""
    return isinstance(e, Get) or (isinstance(e, Call) and isinstance(e.func, Get) and e.func.name == "get_parameter")


def _order(modules: str, loop: Loop) -> str:
    return f"reversed({modules})" if loop.backwards else modules
