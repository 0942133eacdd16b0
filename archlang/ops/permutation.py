"""Channels in another, fixed order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archlang.ir.graph import Attr, Attrs, TensorType, WeightDecl
from archlang.ops._args import channels, kwargs, same_channels
from archlang.ops.base import Bijection, Context, Op, OpError, Param, register
from archlang.ops.code import Call, Helper, Lit
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import dim_of
from archlang.ops.window import Window

__all__: list[str] = []

_PERMUTATION = Helper(
    "ChannelPermutation",
    '''\
class ChannelPermutation(nn.Module):
    """Entry i of the result along `dim` is entry `permutation[i]`.

    Without an order, a random one is drawn once.
    """

    permutation: torch.Tensor

    def __init__(
        self, channels: int, dim: int = 1, order: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        self.dim = dim
        index = torch.randperm(channels) if order is None else torch.tensor(order)
        self.register_buffer("permutation", index)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.index_select(self.dim, self.permutation)

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        return y.index_select(self.dim, self.permutation.argsort())
''',
)


@register
class ChannelPermutation(Op):
    """A fixed order of the entries along `dim`, kept in a buffer: `order`, or a random one that is drawn once."""

    name = "channel_permutation"
    params = (Param("order", "ints?", None), Param("dim", "int", 1))

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        (x,) = ins
        given: Any = args["dim"]
        dim = dim_of(self.name, given, x)
        count = channels(self.name, x, cx, dim)
        order: Any = args["order"]
        if isinstance(order, int):
            order = (order,)
        if order is not None and sorted(order) != list(range(count)):
            message = f"`channel_permutation`: `order` is no permutation of 0..{count}"
            raise OpError("ARC0222", message, param="order", inputs=(0,))
        return {"dim": dim, "order": order, "channels": count}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        dim_of(self.name, attrs["dim"], ins[0])
        same_channels(self.name, ins[0], attrs["channels"], cx, dim=attrs["dim"])
        return (ins[0],)

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        return (WeightDecl("permutation", (attrs["channels"],), dtype="int64", kind="buffer"),)

    def window(self, attrs: Attrs) -> tuple[Window, ...] | None:
        return () if attrs["dim"] == 1 else None

    def module(self, attrs: Attrs) -> Call:
        named = kwargs(("dim", attrs["dim"], 1))
        if attrs["order"] is not None:
            named = (*named, *kwargs(("order", attrs["order"], None)))
        return Call("ChannelPermutation", (Lit(attrs["channels"]),), named)

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        return (_PERMUTATION,)

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        return Bijection(volume=True)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.new(outs[0].shape, outs[0].dtype, ins),)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        return torch.stack([ins[0].select(attrs["dim"], int(i)) for i in weights["permutation"]], attrs["dim"])

    def inverse_run(self, outs: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        result = torch.empty_like(outs[0])
        return result.index_copy(attrs["dim"], weights["permutation"], outs[0])
