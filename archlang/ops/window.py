"""What a position of an output sees of an input along one spatial dimension."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from math import ceil, floor, lcm

from archlang.records import dataclass

__all__ = ["Window"]


@dataclass(frozen=True, slots=True)
class Window:
    """For output i, the first and the last input it sees: `spans[i]`, and `step` further for each output after.

    `spans` is one period, over which the window moves a whole number of inputs; a step below 1 enlarges. Holes (of
    dilation) count as seen.
    """

    step: Fraction
    spans: tuple[tuple[int, int], ...]

    @staticmethod
    def sliding(kernel: int, stride: int, before: int, dilation: int) -> Window:
        """A kernel over an input with `before` positions of padding in front."""
        return Window(Fraction(stride), ((-before, (kernel - 1) * dilation - before),))

    @staticmethod
    def spreading(kernel: int, stride: int, before: int, dilation: int) -> Window:
        """A transposed convolution."""
        first = [ceil(Fraction(i + before - (kernel - 1) * dilation, stride)) for i in range(stride)]
        last = [(i + before) // stride for i in range(stride)]
        return Window(Fraction(1, stride), tuple((a, max(a, b)) for a, b in zip(first, last, strict=True)))

    @staticmethod
    def enlarging(factor: int) -> Window:
        """Every position repeated."""
        return Window(Fraction(1, factor), ((0, 0),) * factor)

    @staticmethod
    def interpolating(factor: int, reach: int) -> Window:
        """Linear (reach 1) or cubic (reach 2) interpolation by a whole factor, pixels as areas."""
        places = [Fraction(2 * i + 1 - factor, 2 * factor) for i in range(factor)]
        spans = ((floor(x), floor(x)) if x == floor(x) else (floor(x) - reach + 1, floor(x) + reach) for x in places)
        return Window(Fraction(1, factor), tuple(spans))

    def at(self, i: int) -> tuple[int, int]:
        turns, place = divmod(i, len(self.spans))
        shift = int(turns * len(self.spans) * self.step)
        first, last = self.spans[place]
        return first + shift, last + shift

    def after(self, inner: Window) -> Window:
        """What is seen through this window of a map that sees through `inner`."""
        step = self.step * inner.step
        turn = int(self.step * len(self.spans))  # inputs of this window, which are outputs of the inner one
        period = len(self.spans) * (lcm(turn, len(inner.spans)) // turn)
        ends = (self.at(i) for i in range(period))
        return _short(step, ((inner.at(first)[0], inner.at(last)[1]) for first, last in ends))

    def union(self, other: Window) -> Window:
        """What either sees. Of maps that do not lie on the same grid, the coarser one counts."""
        if self.step != other.step:
            return max(self, other, key=lambda window: (window.step, window.size))
        pairs = [(self.at(i), other.at(i)) for i in range(lcm(len(self.spans), len(other.spans)))]
        return _short(self.step, ((min(a[0], b[0]), max(a[1], b[1])) for a, b in pairs))

    @property
    def size(self) -> int:
        """The largest number of inputs that one output sees."""
        return max(last - first for first, last in self.spans) + 1


def _short(step: Fraction, spans: Iterable[tuple[int, int]]) -> Window:
    """With the shortest period."""
    window = Window(step, tuple(spans))
    whole = len(window.spans)
    for period in range(1, whole):
        if whole % period == 0 and (step * period).denominator == 1:
            short = Window(step, window.spans[:period])
            if all(short.at(i) == window.spans[i] for i in range(period, whole)):
                return short
    return window
