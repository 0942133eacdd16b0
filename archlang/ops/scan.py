"""The linear recurrence of each feature by itself: the scan of state-space and gated linear recurrent layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archlang.ir.graph import Attr, Attrs, TensorType
from archlang.ops.base import Context, Input, Op, Param, register
from archlang.ops.code import Call, Helper, In, Lit
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import agree, dim_of, numel, promote, require_float, same_rank
from archlang.shapes.dim import Size, size_str

__all__: list[str] = []

_RECURRENCE = Helper(
    "linear_recurrence",
    '''\
def linear_recurrence(x: torch.Tensor, a: torch.Tensor, dim: int) -> torch.Tensor:
    """h[t] = a[t] * h[t - 1] + x[t] along `dim`, h before the first being 0."""
    h: torch.Tensor = LinearRecurrence.apply(x, a, dim)  # type: ignore[no-untyped-call]
    return h


class LinearRecurrence(torch.autograd.Function):
    """In log2(T) passes, each of which joins runs of twice the length. Backwards it is a recurrence, too."""

    @staticmethod
    def forward(x: torch.Tensor, a: torch.Tensor, dim: int) -> torch.Tensor:
        h, a, step = x.transpose(dim, -1), a.transpose(dim, -1), 1
        while step < h.shape[-1]:
            h = h + a * F.pad(h[..., :-step], (step, 0))
            a = a * F.pad(a[..., :-step], (step, 0), value=1.0)
            step *= 2
        return h.transpose(dim, -1).clone(memory_format=torch.contiguous_format)

    @staticmethod
    def setup_context(
        ctx: torch.autograd.Function,
        inputs: tuple[torch.Tensor, torch.Tensor, int],
        output: torch.Tensor,
    ) -> None:
        ctx.save_for_backward(inputs[1], output)
        ctx.dim = inputs[2]  # type: ignore[attr-defined]

    @staticmethod
    def backward(
        ctx: torch.autograd.Function, gradient: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        saved: tuple[torch.Tensor, ...] = ctx.saved_tensors
        a, h = saved
        dim: int = ctx.dim  # type: ignore[attr-defined]
        zero = torch.zeros_like(h.narrow(dim, 0, 1))
        count = h.shape[dim] - 1
        following = torch.cat([a.narrow(dim, 1, count), zero], dim)
        before = torch.cat([zero, h.narrow(dim, 0, count)], dim)
        g = linear_recurrence(gradient.flip(dim), following.flip(dim), dim).flip(dim)
        return g, g * before, None
''',
    defines=("linear_recurrence", "LinearRecurrence"),
)


@register
class LinearRecurrence(Op):
    """h[t] = a[t] * h[t - 1] + x[t] along `dim`, element by element, from 0; all three have one shape."""

    name = "linear_recurrence"
    inputs = (Input("x"), Input("a"))
    params = (Param("dim", "int", 1),)

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        require_float(self.name, ins)
        same_rank(self.name, ins)
        return {"dim": dim_of(self.name, args["dim"], ins[0])}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        x, a = ins
        shape = []
        for d, (size, other) in enumerate(zip(x.shape, a.shape, strict=True)):
            what = f"`linear_recurrence` needs equal sizes in dimension {d}"
            clash = f"{what}: {size_str(size)} and {size_str(other)}, in {x} and {a}"
            shape.append(agree(cx, size, other, what, clash, inputs=(0, 1), code="ARC0356", dims=(d, d)))
        cx.at_least(shape[attrs["dim"]], 1, f"`linear_recurrence` needs steps in dimension {attrs['dim']}", inputs=(0,))
        return (TensorType(tuple(shape), promote(x.dtype, a.dtype)),)

    def flops(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return 2 * numel(outs[0].shape)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        y = tape.apply(ins, outs[0].shape, outs[0].dtype)
        if y.grad:
            tape.keep(ins[1], y)
        return (y,)

    def call(self, attrs: Attrs, inputs: int) -> Call:
        return Call("linear_recurrence", (In(0), In(1), Lit(attrs["dim"])))

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        return (_RECURRENCE,)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        """By runs of twice the length, as the emission does: another order of products would round otherwise."""
        import torch

        dim = attrs["dim"]
        x, a = (list(w.unbind(dim)) for w in ins)
        step = 1
        while step < len(x):
            late = range(step, len(x))
            x, a = (
                x[:step] + [x[t] + a[t] * x[t - step] for t in late],
                a[:step] + [a[t] * a[t - step] for t in late],
            )
            step *= 2
        return torch.stack(x, dim)
