"""Elements chosen by truth: where, masked_fill, one-hot, triangles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archlang.ir.graph import Attrs, TensorType
from archlang.ops.base import Context, Input, Op, OpError, Param, register
from archlang.ops.code import Call, Expr, In, Lit, Method
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import broadcast, kind_of_scalar, promote, promote_scalar

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []


@register
class Where(Op):
    """`input` where `condition` is true, else `other`; either may be a number: `if_true`, `if_false`."""

    name = "where"
    local = elementwise = True
    inputs = (
        Input("condition"),
        Input("input", optional=True, number="if_true"),
        Input("other", optional=True, number="if_false"),
    )
    params = (Param("if_true", "float?", None), Param("if_false", "float?", None))

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        numbers = [attrs[p] for p in ("if_true", "if_false") if attrs[p] is not None]
        if len(ins) + len(numbers) != 3:
            raise OpError("ARC0240", "`where` takes a condition and two alternatives, each a wire or a number")
        if ins[0].dtype != "bool":
            raise OpError("ARC0241", f"the condition of `where` is bool, not {ins[0]}", inputs=(0,))
        dtype = kind_of_scalar(numbers[0]) if len(ins) == 1 else ins[1].dtype
        for x in ins[2:]:
            dtype = promote(dtype, x.dtype)
        for number in numbers:
            dtype = promote_scalar(dtype, number)
        return (TensorType(broadcast(self.name, ins, cx), dtype),)

    def _pick(self, attrs: Attrs, wires: Sequence[Any], literal: Any) -> tuple[Any, Any]:
        rest = list(wires)
        pair = [literal(attrs[p]) if attrs[p] is not None else rest.pop(0) for p in ("if_true", "if_false")]
        return pair[0], pair[1]

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        y = tape.pointwise(ins, outs[0].shape, outs[0].dtype)
        if y.grad:
            tape.keep(ins[0])
        return (y,)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("torch.where", (In(0), *self._pick(attrs, [In(i) for i in range(1, inputs)], Lit)))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        a, b = self._pick(attrs, ins[1:], lambda value: value)
        result = torch.result_type(a, b)
        a, b = torch.as_tensor(a).to(result), torch.as_tensor(b).to(result)
        shape = (ins[0] | (a != a) | (b != b)).shape  # whatever the values: the three broadcast together
        condition, a, out = ins[0].expand(shape), a.expand(shape), b.expand(shape).clone()
        out[condition] = a[condition]
        return out


@register
class MaskedFill(Op):
    """`value` where `mask` is true, else x."""

    name = "masked_fill"
    local = elementwise = True
    inputs = (Input("x"), Input("mask"))
    params = (Param("value", "float"),)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        x, mask = ins
        if mask.dtype != "bool":
            raise OpError("ARC0241", f"the mask of `masked_fill` is bool, not {mask}", inputs=(1,))
        if promote_scalar(x.dtype, attrs["value"]) != x.dtype:
            raise OpError("ARC0241", f"`masked_fill` cannot put {attrs['value']} into {x}", inputs=(0,), param="value")
        return (TensorType(broadcast(self.name, ins, cx), x.dtype),)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        y = tape.apply(ins, outs[0].shape, outs[0].dtype)
        if y.grad:
            tape.keep(ins[1])
        return (y,)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Method(In(0), "masked_fill", (In(1), Lit(attrs["value"])))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        value = torch.full((), attrs["value"], dtype=ins[0].dtype)
        return torch.where(ins[1], value, ins[0])


@register
class OneHot(Op):
    """[...] of int64 classes -> [..., num_classes] of int64 zeros and ones."""

    name = "one_hot"
    params = (Param("num_classes", "int"),)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        if x.dtype != "int64":
            raise OpError("ARC0241", f"`one_hot` takes classes of type int64, and this is {x}", inputs=(0,))
        if attrs["num_classes"] < 1:
            raise OpError("ARC0242", f"`one_hot`: num_classes is {attrs['num_classes']}", param="num_classes")
        return (TensorType((*x.shape, attrs["num_classes"]), "int64"),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("F.one_hot", (In(0), Lit(attrs["num_classes"])))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        return (ins[0].unsqueeze(-1) == torch.arange(attrs["num_classes"], device=ins[0].device)).long()


class _Triangle(Op):
    """Keeps one side of the diagonal of the last two dimensions, zeros elsewhere."""

    params = (Param("diagonal", "int", 0),)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        if ins[0].rank < 2:
            raise OpError("ARC0353", f"`{self.name}` takes matrices, not {ins[0]}", inputs=(0,))
        return (ins[0],)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        cx.fix(ins[0][-2:], f"`{self.name}` goes by its order")
        return cx.says(ins[0])

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Method(In(0), self.name, (Lit(attrs["diagonal"]),) if attrs["diagonal"] else ())

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        (x,) = ins
        rows = torch.arange(x.shape[-2], device=x.device).unsqueeze(1)
        off = torch.arange(x.shape[-1], device=x.device) - rows
        outside = off > attrs["diagonal"] if self.name == "tril" else off < attrs["diagonal"]
        return x.masked_fill(outside, 0)


for _name, _which in (("tril", "lower"), ("triu", "upper")):
    _doc = f"The {_which} triangle of the last two dimensions; zeros elsewhere."
    register(type(_name.capitalize(), (_Triangle,), {"name": _name, "__doc__": _doc}))
