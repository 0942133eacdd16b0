"""What a position of an output sees of an input along one spatial dimension."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

__all__ = ["Window"]


@dataclass(frozen=True, slots=True)
class Window:
    """Output i sees the inputs from `step * i + first` to `step * i + last`, rounded inwards; step < 1 enlarges."""

    step: Fraction
    first: Fraction
    last: Fraction

    @staticmethod
    def sliding(kernel: int, stride: int, before: int, dilation: int) -> Window:
        """A kernel over an input with `before` positions of padding in front."""
        return Window(Fraction(stride), Fraction(-before), Fraction((kernel - 1) * dilation - before))

    @staticmethod
    def enlarging(factor: int) -> Window:
        """Every position repeated: output i sees floor(i / factor)."""
        return Window(Fraction(1, factor), Fraction(1 - factor, factor), Fraction(0))

    @staticmethod
    def interpolating(factor: int, reach: int) -> Window:
        """Linear (reach 1) or cubic (reach 2) interpolation by a whole factor, pixels as areas."""
        step, middle = Fraction(1, factor), Fraction(1, 2 * factor) - Fraction(1, 2)
        slack = reach - step / 2 if factor > 1 else Fraction(0)
        return Window(step, middle - slack, middle + slack)

    def after(self, inner: Window) -> Window:
        """What is seen through this window of a map that sees through `inner`."""
        return Window(
            self.step * inner.step, inner.step * self.first + inner.first, inner.step * self.last + inner.last
        )

    def union(self, other: Window) -> Window:
        """What either sees; of maps that do not lie on the same grid, the coarser step counts."""
        return Window(max(self.step, other.step), min(self.first, other.first), max(self.last, other.last))

    @property
    def size(self) -> int:
        """The largest number of inputs that one output sees."""
        return (self.last - self.first).__floor__() + 1
