"""Calls of ops, with marks where their numbers stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archlang.ir.graph import Attrs, Init, TensorType
from archlang.ops.base import REQUIRED, Context, Op, OpError, registry
from archlang.shapes.dim import Size
from archlang.unparse.marks import Initial, Marks, Number, called
from archlang.unparse.values import literal

__all__ = ["Calls"]


class Calls:
    """Writes ops. sizes: what stands for symbols."""

    def __init__(self, marks: Marks, sizes: Mapping[str, Size]) -> None:
        self.marks = marks
        self.sizes = sizes

    def number(
        self, value: float, *hints: str, lead: str = "", default: float | None = None, atom: bool = False
    ) -> str:
        """A number, for which a parameter may stand."""
        return self.marks.put(Number(value, hints, lead, default, atom)) if value >= 0 else lead + repr(value)

    def values(self, value: Any, *hints: str, atom: bool = False) -> str:
        """A value whose numbers parameters may stand for."""
        return literal(value, self.sizes, lambda number: self.number(number, *hints, atom=atom))

    def op(
        self, op: str, attrs: Attrs, path: str, wires: Sequence[str] = (), types: Sequence[TensorType] | None = None
    ) -> str:
        """An op on wires, or as a module. path: the child's, for names; types: of its inputs, where they are known.

        The inputs of a variadic op are one list; `*name` stands for one that has a name.
        """
        entry = registry()[op]
        args = entry.spell(attrs) if types is None else _shortest(entry, attrs, types)
        listed = wires[0][1:] if len(wires) == 1 and wires[0].startswith("*") else f"[{', '.join(wires)}]"
        shown = [listed] if wires and entry.inputs[0].variadic else [*wires]
        place = next((part for part in reversed(path.split(".")) if not part.isdecimal()), op)
        named = False
        for param in entry.params:
            value: Any = args[param.name]
            hints = (param.name, f"{place}_{param.name}")
            lead = f"{param.name}=" if param.default is not REQUIRED or named else ""
            if param.kind == "axes":
                shown += [f"{name}={self.values(size, name)}" for name, size in value]
            elif type(value) in (int, float) and type(param.default) in (type(value), type(REQUIRED)) and value >= 0:
                default = param.default if param.default is not REQUIRED else None
                shown.append(self.number(value, *hints, lead=lead, default=default))
            elif lead == "" or value != param.default or isinstance(value, bool) != isinstance(param.default, bool):
                shown.append(lead + self._argument(op, value, hints))
            named = named or param.default is not REQUIRED
        return called(op, shown)

    def _argument(self, op: str, value: Any, hints: tuple[str, ...]) -> str:
        if isinstance(value, Init):
            return self.marks.put(Initial(literal(value, self.sizes), op))
        return self.values(value, *hints)

    def item(self, item: Any) -> str:
        """An index."""
        if not isinstance(item, tuple):
            return self.values(item, "at")
        start, stop, step = ("" if bound is None else self.values(bound, "at") for bound in item)
        return f"{start}:{stop}" + (f":{step}" if step else "")


def _shortest(entry: Op, attrs: Attrs, types: Sequence[TensorType]) -> dict[str, Any]:
    """Arguments without those that follow from the inputs."""
    args: dict[str, Any] = dict(entry.spell(attrs))
    for param in entry.params:
        if param.default is None and args[param.name] is not None and not isinstance(args[param.name], Init):
            less = args | {param.name: None}
            try:
                if entry.resolve(types, less, Context()) == attrs:
                    args = less
            except OpError:
                continue
    return args
