"""The smallest edit that makes the two sides of a sum equally wide."""

from __future__ import annotations

from collections.abc import Sequence

from archlang.elaborate.origins import Made
from archlang.elaborate.values import Wire
from archlang.records import dataclass
from archlang.report.diagnostic import Fix, Span

__all__ = ["Side", "widths_fix"]


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


def widths_fix(sides: Sequence[Side]) -> tuple[str, Fix] | None:
    """What to change, and the change: the number that made one side, else a projection of the second side."""
    first, second = sides
    if first.width is None or second.width is None or first.dim != second.dim:
        return None
    written = [
        (side.made.literal, other.width)
        for side, other in ((first, second), (second, first))
        if side.made is not None and side.made.literal is not None and _own(side.made.literal)
    ]
    if written:  # what is made later has fewer uses
        place, width = max(written, key=lambda w: w[0].start)
        return f"make both {width} wide", Fix(place, str(width))
    rank = second.wire.type.rank
    if second.dim != 1 or not _own(second.span) or "\n" in second.span.text:
        return None
    layer = f"linear({first.width})" if rank == 2 else f"conv({first.width}, 1)"
    text = second.span.text
    return "project one side to the width of the other", Fix(second.span, f"({text} -> project: {layer})")


def _own(span: Span) -> bool:
    """Whether the text is the user's to change, and not the library's."""
    return not span.source.path.startswith(("std/", "zoo/"))
