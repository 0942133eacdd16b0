"""Rounding to a grid, on which sums are exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archlang.ir.graph import Attr, Attrs, TensorType
from archlang.ops._args import in_range
from archlang.ops.base import Context, Op, Param, register
from archlang.ops.code import Call, Expr, Helper, In, Lit
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import require_float

__all__: list[str] = []

_HELPER = Helper(
    "quantize",
    '''\
def quantize(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Rounds to multiples of 2**-bits; gradients pass as if it did not."""
    rounded = torch.round(x.detach() * 2.0**bits) * 2.0**-bits
    return rounded + (x - x.detach())
''',
)


@register
class Quantize(Op):
    """Rounds to multiples of 2**-bits; gradients pass as if it did not (a straight-through estimate).

    Sums and differences of such numbers are exact below 2**(24 - bits) in float32, 2**(53 - bits) in float64: a stream
    that only such numbers are added to is undone bit for bit. The op jumps by 2**-bits, but where streams are exact it
    jumps at the same places again; ARC0623 warns where they are not.
    """

    name = "quantize"
    local, per_element = True, 5
    params = (Param("bits", "int", 12),)

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        in_range(self.name, "bits", args["bits"], least=0, most=50)
        return dict(args)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        require_float(self.name, ins)
        return (ins[0],)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.pointwise(ins, outs[0].shape, outs[0].dtype),)

    def grid(self, attrs: Attrs) -> int:
        return int(attrs["bits"])

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call(_HELPER.name, (In(0), Lit(attrs["bits"])))

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        return (_HELPER,)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        (x,) = ins
        step = 2.0 ** -attrs["bits"]
        return (x / step).round().detach() * step + (x - x.detach())
