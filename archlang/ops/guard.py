"""What inverses take for granted, looked at where they run: no factor is 0, no matrix is singular."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archlang.ir.graph import Attr, Attrs, TensorType
from archlang.ops.base import Bijection, Context, Op, register
from archlang.ops.code import Call, Expr, Helper, In
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import require_float

__all__ = ["REQUIRE", "some_zero"]

REQUIRE = Helper(
    "require",
    '''\
def require(holds: torch.Tensor, what: str) -> None:
    """ValueError where `what` an inverse needs does not hold. Compiled code and tensors
    without data do not look."""
    if not (torch.compiler.is_compiling() or holds.is_meta or holds):
        raise ValueError(what)
''',
)

_NONZERO = Helper(
    "require_nonzero",
    '''\
def require_nonzero(k: torch.Tensor) -> torch.Tensor:
    """k, by which an inverse divides or multiplies: finite, and away from 0."""
    least = torch.finfo(k.dtype).tiny
    require(((k.abs() >= least) & k.isfinite()).all(), "a factor is 0 or not finite")
    return k
''',
    (REQUIRE,),
)


def some_zero(values: Any) -> bool:
    """Whether an element of a tensor is 0, not finite, or so small that what it multiplied is lost."""
    import torch

    return not bool(((values.abs() >= torch.finfo(values.dtype).tiny) & values.isfinite()).all())


@register
class RequireNonzero(Op):
    """Its input, which may be a stream's factor: an error at run time where an element is 0, not finite, or too small
    for its element type. Code that torch.compile has compiled does not look."""

    name = "require_nonzero"
    local = elementwise = True

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        return (ins[0],)

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        require_float(self.name, ins)
        return {}

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        return Bijection(inverse=(self.name, attrs), volume=True)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (ins[0],)

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        return (_NONZERO,)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("require_nonzero", (In(0),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        if some_zero(ins[0]):
            raise ValueError("a factor is 0 or not finite")
        return ins[0]
