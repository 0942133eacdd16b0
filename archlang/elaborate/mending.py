"""The smallest edit that makes the two sides of a sum equal: equally wide here, equally large in `resizing`."""

from __future__ import annotations

from collections.abc import Sequence

from archlang.elaborate.origins import Made
from archlang.elaborate.resizing import own, project, sizes_fix
from archlang.elaborate.values import Wire
from archlang.records import dataclass
from archlang.report.diagnostic import Fix, Span

__all__ = ["Side", "sides_fix"]


@dataclass(frozen=True, slots=True)
class Side:
    """A wire at fault: the dimension that differs, the operand as written, and where its size was made."""

    wire: Wire
    dim: int
    span: Span
    made: Made | None

    @property
    def width(self) -> int | None:
        """The size where it counts channels or features and not positions."""
        size = self.wire.type.shape[self.dim]
        features = self.dim == 1 or (self.dim == self.wire.type.rank - 1 and self.wire.type.rank < 4)
        return size if isinstance(size, int) and features else None


def sides_fix(sides: Sequence[Side], operands: Sequence[Span]) -> tuple[str, Fix] | None:
    """What to change, and the change. operands: as they are written, where they stand beside an operator."""
    first, second = sides
    if first.width is not None and second.width is not None:
        return _widths_fix(sides)
    if first.wire.builder is not second.wire.builder:
        return None
    return sizes_fix(first.wire.builder.graph, [side.wire.value for side in sides], operands)


def _widths_fix(sides: Sequence[Side]) -> tuple[str, Fix] | None:
    """What to change, and the change: the number that made one side, else a projection of the second side."""
    first, second = sides
    if first.dim != second.dim:
        return None
    written = [
        (side.made.literal, other.width)
        for side, other in ((first, second), (second, first))
        if side.made is not None and side.made.literal is not None and own(side.made.literal)
    ]
    if written:  # what is made later has fewer uses
        place, width = max(written, key=lambda w: w[0].start)
        return f"make both {width} wide", Fix(place, str(width))
    if second.dim != 1 or not own(second.span) or "\n" in second.span.text:
        return None
    text, width = second.span.text, first.width
    rows = Fix(second.span, f"({text} -> project: linear({width}))") if second.wire.type.rank == 2 else None
    fix = rows or project(second.wire.type, first.wire.type, second.span)
    fix = fix or Fix(second.span, f"({text} -> project: conv({width}, 1))")  # and it is the sizes' turn
    return "project one side to the width of the other", fix
