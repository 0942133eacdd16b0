"""What a forward calls its values, its sizes and the modules that a loop goes over."""

from __future__ import annotations

from archlang.codegen.body import LAYER, Body, Step
from archlang.codegen.checks import check_lines
from archlang.codegen.classes import Unit
from archlang.codegen.exprs import Abst
from archlang.codegen.flow import Groups, all_steps
from archlang.codegen.names import Scope, identifier
from archlang.codegen.naming import Names
from archlang.codegen.printer import Printer
from archlang.codegen.shapes import Shapes

__all__ = ["Variables"]


class Variables:
    """Names of one forward: of its parameters at first; those of other values are found when its lines are planned."""

    def __init__(self, unit: Unit, shapes: Shapes, scope: Scope) -> None:
        """scope: names of the file."""
        assert unit.body is not None and unit.arguments is not None
        self.body: Body = unit.body
        self.arguments = unit.arguments
        self.parameters: list[str] = []  # `x: Tensor`
        self.notes: list[str] = []  # `x: [B, C, H, W]`
        self.scalars: Names = {}  # values of ports that hold one tensor
        self.elements: dict[int, str] = {}  # values of list ports: `xs[0]`
        self.names: Names = {}  # by variable
        self.groups = Groups()
        self.members: list[str] = []  # what a loop's pass calls the modules that it goes over
        self.used: set[str] = set()  # constructor arguments that the lines read from self
        self._unit, self._shapes, self._global = unit, shapes, scope
        self._fixed = Scope()
        self._ports()
        self._sizes = self._size_names()

    def _ports(self) -> None:
        for lent in self.body.lent:
            self._fixed.take(lent.slot)
        for argument in self.arguments.all if self._unit.function else ():
            self._fixed.take(argument.name)
        for sig in self.body.ports:
            wish = identifier(sig.port.name or "x")
            while wish in self._global:
                wish += "_"
            name = self._fixed.take(wish)
            if sig.kind == "tensors":
                self.parameters.append(f"{name}: list[Tensor]")
                for i, v in enumerate(sig.values):
                    self.elements[v] = f"{name}[{i}]"
            else:
                self.parameters.append(f"{name}: Tensor")
                self.scalars[sig.values[0]] = name
            shapes = dict.fromkeys(self._shapes.of(v) for v in sig.values)
            if all(shapes):
                self.notes.append(f"{name}: {', '.join(shapes)}" if shapes else f"{name}: []")
        for lent in self.body.lent:
            self.parameters.append(f"{lent.slot}: {'nn.ModuleList' if lent.many else 'nn.Module'}")
        if self._unit.function:
            self.parameters += [a.parameter for a in self.arguments.all]

    def _size_names(self) -> dict[str, str]:
        local = {identifier(n) for n in self.body.names if n} | {identifier(s.label) for s in all_steps(self.body.steps)
                                                                 if isinstance(s, Step) and s.label}  # fmt: skip
        found: dict[str, str] = {}
        for read in self.body.sizes:
            name = identifier(read.symbol.lower())
            busy = name in local or name in self._fixed or name in self._global or name in found.values()
            found[read.symbol] = self._fixed.take(f"size_{name}" if busy else name)
        return found

    # -- asked while lines are planned and printed --------------------------------------------------------------------
    def value(self, v: int) -> str:
        """How a value is read; `_` where nobody does."""
        if v <= LAYER.index:
            place = LAYER.index - v
            return self.members[place] if place < len(self.members) else "layer"
        return self.elements.get(v) or self.names.get(self.groups.find(v)) or "_"

    def size(self, symbol: str) -> str:
        """What a size is called; one that is read off no input, as in the spec."""
        return self._sizes.get(symbol, symbol)

    def argument(self, leaf: Abst) -> str:
        """A literal that differs between instances, as an expression of constructor arguments."""

        def reach(name: str) -> str:
            if self._unit.function:
                return name
            self.used.add(name)
            return f"self.{name}"

        return self.arguments.text(leaf, reach)

    def taken(self, name: str) -> bool:
        """Whether a name stands for something throughout; those of parameters may be used again."""
        scalar = name in self.scalars.values()
        return (name in self._fixed and not scalar) or name in self._global

    def free(self, name: str) -> str:
        """The name, or one like it that nothing has."""
        while name in self.names.values() or name in self._fixed or name in self._global or name in self.members:
            name += "_"
        return name

    # -- sizes -------------------------------------------------------------------------------------------------------
    def opening(self, printer: Printer, indent: int) -> list[str]:
        """The lines that read sizes off inputs and check them."""
        out = self._size_lines(" " * indent)
        for check in self.body.checks:
            out += check_lines(check, printer, self._sizes, indent)
        return out

    def _size_lines(self, pad: str) -> list[str]:
        out: list[str] = []
        by_value: dict[int, list[tuple[int, str, int, int]]] = {}
        for read in self.body.sizes:
            by_value.setdefault(read.value, []).append((read.dim, self._sizes[read.symbol], read.scale, read.offset))
        for v, found in by_value.items():
            source = self.elements.get(v) or self.scalars[v]
            rank = self._unit.bodies[0].types[v].rank
            same_rank = all(b.types[v].rank == rank for b in self._unit.bodies)
            if len(found) > 1 and same_rank and all((s, o) == (1, 0) for _, _, s, o in found):
                names = ["_"] * rank
                for dim, name, _, _ in found:
                    names[dim] = name
                out.append(f"{pad}{', '.join(names)} = {source}.shape")
                continue
            for dim, name, scale, offset in sorted(found):
                text = f"{source}.shape[{dim}]"
                if offset:
                    text = f"{text} {'-' if offset > 0 else '+'} {abs(offset)}"
                if scale != 1:
                    text = f"{f'({text})' if offset else text} // {scale}"
                out.append(f"{pad}{name} = {text}")
        return out
