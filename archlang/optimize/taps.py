"""Where a convolution reads: the sum of two of them, and one after another, as a single one."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, prod
from typing import Any

from archlang.ir.graph import Attrs
from archlang.ops.base import registry
from archlang.records import dataclass

__all__ = ["POINT", "Kernel", "Taps", "composed", "kernel", "point", "transposed", "united"]


@dataclass(frozen=True, slots=True)
class Taps:
    """Along one dimension: output i reads `kernel` places, each `step`, from i * stride - before on.

    before, after: how far the input is padded. Of a transposed convolution, input i adds to these places of the output,
    of which so many are cut off.
    """

    kernel: int = 1
    step: int = 1
    before: int = 0
    after: int = 0
    stride: int = 1

    @property
    def reach(self) -> int:
        """From the first tap to the last."""
        return self.step * (self.kernel - 1)

    @property
    def growth(self) -> int:
        """By how much the output is longer than the input, at stride 1."""
        return self.before + self.after - self.reach

    @property
    def padded(self) -> bool:
        return self.before > 0 or self.after > 0


POINT = Taps()


@dataclass(frozen=True, slots=True)
class Kernel:
    """A convolution's layout. mode: of the padding; "" where there is none; transposed: of a `conv_transpose`."""

    taps: tuple[Taps, ...]
    inputs: int
    outputs: int
    groups: int
    mode: str = ""
    transposed: bool = False

    @property
    def cost(self) -> int:
        """Weights, and so multiplications for each output position (if transposed, input position)."""
        return self.outputs * (self.inputs // self.groups) * prod(t.kernel for t in self.taps)

    def attrs(self, attrs: Attrs, *, bias: bool) -> dict[str, Any]:
        """The attributes of a layer of this layout; its other ones are those given."""
        even = self.transposed or all(t.before == t.after for t in self.taps)
        ends: dict[str, Any] = {"padding_mode": self.mode or "zeros"}
        if self.transposed:
            ends = {"output_padding": tuple(t.before - t.after for t in self.taps)}
        return {
            **attrs,
            "in_channels": self.inputs,
            "out_channels": self.outputs,
            "kernel_size": tuple(t.kernel for t in self.taps),
            "stride": tuple(t.stride for t in self.taps),
            "padding": tuple(t.before if even else (t.before, t.after) for t in self.taps),
            "dilation": tuple(t.step for t in self.taps),
            "groups": self.groups,
            "bias": bias,
            **ends,
        }


def point(like: Kernel) -> Kernel:
    """The layout that hands its input on, of as many dimensions as another."""
    taps = tuple(POINT for _ in like.taps)
    return Kernel(taps, like.inputs, like.outputs, like.inputs, transposed=like.transposed)


def kernel(attrs: Attrs) -> Kernel | None:
    """Of a `conv`; None where the padding depends on the input's size."""
    sizes = list(zip(attrs["kernel_size"], attrs["dilation"], attrs["stride"], strict=True))
    if attrs["padding"] == "tf_same":
        if any(s > 1 for _, _, s in sizes):
            return None
        attrs = {**attrs, "padding": "same"}
    pads: Sequence[tuple[int, int]] = registry()["conv"].pads(attrs)  # type: ignore[attr-defined]
    taps = tuple(Taps(k, d if k > 1 else 1, *pad, s) for (k, d, s), pad in zip(sizes, pads, strict=True))
    mode = attrs["padding_mode"] if any(t.padded for t in taps) else ""
    return Kernel(taps, attrs["in_channels"], attrs["out_channels"], attrs["groups"], mode)


def transposed(attrs: Attrs) -> Kernel:
    """Of a `conv_transpose`."""
    names = ("kernel_size", "dilation", "stride", "padding", "output_padding")
    taps = tuple(
        Taps(k, d if k > 1 else 1, cut, cut - extra, s)
        for k, d, s, cut, extra in zip(*(attrs[name] for name in names), strict=True)
    )
    return Kernel(taps, attrs["in_channels"], attrs["out_channels"], attrs["groups"], transposed=True)


def united(a: Kernel, b: Kernel) -> Kernel | None:
    """The layout of their sum: all taps of both. Their outputs have the same size.

    Taps outside the input read what the padding's mode says, however far the padding goes.
    """
    if (a.inputs, a.outputs, a.transposed) != (b.inputs, b.outputs, b.transposed) or len(a.taps) != len(b.taps):
        return None
    if a.mode and b.mode and a.mode != b.mode:
        return None
    mode = a.mode or b.mode
    taps = []
    for s, t in zip(a.taps, b.taps, strict=True):
        if s.stride != t.stride or (s.growth != t.growth and mode not in ("", "zeros")):
            return None  # other modes limit how far the padding goes
        first, last = max(s.before, t.before), max(s.reach - s.before, t.reach - t.before)
        step = gcd(*(x.step for x in (s, t) if x.kernel > 1), abs(s.before - t.before)) or 1
        one = Taps((first + last) // step + 1, step, first, s.growth + last, s.stride)
        if a.transposed and not 0 <= one.before - one.after < max(one.stride, one.step):
            return None  # torch cuts at least as much off at the front as at the end, and hardly more
        taps.append(one)
    return Kernel(tuple(taps), a.inputs, a.outputs, gcd(a.groups, b.groups), mode, a.transposed)


def composed(a: Kernel, b: Kernel, *, bias: bool) -> Kernel | None:
    """The layout of b after a; bias: a has one. None where the edges would differ.

    What b pads with is not what a would give outside of its input, unless a looks at one place only along that
    dimension: then 0 is what it makes of 0 without a bias, and of another mode's padding what that mode gives.
    """
    taps = []
    if a.transposed or b.transposed:
        return None
    for s, t in zip(a.taps, b.taps, strict=True):
        if t.padded and (s.kernel, s.before, s.after, s.stride) != (1, 0, 0, 1):
            return None
        step = gcd(*(x for x, many in ((t.step * s.stride, t.kernel > 1), (s.step, s.kernel > 1)) if many)) or 1
        reach = s.reach + t.reach * s.stride
        before, after = s.before + t.before * s.stride, s.after + t.after * s.stride
        taps.append(Taps(reach // step + 1, step, before, after, s.stride * t.stride))
    if (b.mode == "zeros" and bias) or (a.mode and b.mode and a.mode != b.mode):
        return None
    return Kernel(tuple(taps), a.inputs, b.outputs, gcd(a.groups, b.groups), a.mode or b.mode)
