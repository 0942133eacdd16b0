"""Dropout of elements, of channels, and of whole branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

from archlang.ir.graph import Attrs, TensorType
from archlang.ops._args import in_range, kwargs
from archlang.ops.base import Context, Op, OpError, Param, register
from archlang.ops.code import Call, Expr, Fixed, Helper, In, Kw, Lit
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import require_float

__all__: list[str] = []

_TRAINING = Kw("training", Fixed("self.training"))
_FORMS = {3: "[B, C, L]", 4: "[B, C, H, W]", 5: "[B, C, D, H, W]"}


class _Dropout(Op):
    """A dropout of torch.nn: zeroes with probability p in training."""

    random = True
    local = elementwise = True
    params = (Param("p", "float", 0.5),)
    torch_class: ClassVar[str]
    rank: ClassVar[int | None]  # what torch's channel dropouts take

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        require_float(self.name, ins)
        in_range(self.name, "p", attrs["p"], least=0, most=1)
        if self.rank is not None and x.rank != self.rank:
            raise OpError("ARC0310", f"`{self.name}` takes {_FORMS[self.rank]}, and this is {x}", inputs=(0,))
        if self.name == "feature_alpha_dropout" and x.rank < 2:
            raise OpError("ARC0310", f"`{self.name}` takes [B, C, ...], and this is {x}", inputs=(0,))
        return (x,)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,) = ins
        channels = self.rank is not None or self.name == "feature_alpha_dropout"
        return (tape.dropout(x, attrs["p"], (*x.shape[:2], *(1,) * (x.rank - 2)) if channels else None),)

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return not training or attrs["p"] == 0

    def module(self, attrs: Attrs) -> Call:
        return Call(f"nn.{self.torch_class}", (), kwargs(("p", attrs["p"], 0.5)))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call(f"F.{self.name}", (In(0),), (*kwargs(("p", attrs["p"], 0.5)), _TRAINING))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        return getattr(F, self.name)(ins[0], attrs["p"], training)


for _name, _class, _rank in (
    ("dropout", "Dropout", None),
    ("dropout1d", "Dropout1d", 3),
    ("dropout2d", "Dropout2d", 4),
    ("dropout3d", "Dropout3d", 5),
    ("alpha_dropout", "AlphaDropout", None),
    ("feature_alpha_dropout", "FeatureAlphaDropout", None),
):
    _members = {
        "__module__": __name__,
        "name": _name,
        "torch_class": _class,
        "rank": _rank,
        "__doc__": f"torch's {_name}.",
    }
    register(cast("type[Op]", type(_class, (_Dropout,), _members)))


_FUNCTION = Helper(
    "drop_path",
    '''\
def drop_path(
    x: torch.Tensor,
    p: float,
    mode: str = "row",
    scale_by_keep: bool = True,
    training: bool = True,
) -> torch.Tensor:
    """Zeroes each sample (mode "batch": all of them) with probability p."""
    if not training or p == 0:
        return x
    samples = x.shape[0] if mode == "row" else 1
    kept = x.new_empty((samples,) + (1,) * (x.dim() - 1)).bernoulli_(1 - p)
    if scale_by_keep and p < 1:
        kept = kept / (1 - p)
    return x * kept
''',
)
_CLASS = Helper(
    "DropPath",
    '''\
class DropPath(nn.Module):
    """Zeroes each sample (mode "batch": all of them) with probability p in training."""

    def __init__(self, p: float, mode: str = "row", scale_by_keep: bool = True) -> None:
        super().__init__()
        self.p = p
        self.mode = mode
        self.scale_by_keep = scale_by_keep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return drop_path(x, self.p, self.mode, self.scale_by_keep, self.training)
''',
    (_FUNCTION,),
)


@register
class DropPath(Op):
    """Stochastic depth: zeroes whole samples (mode "batch": all at once), and scales the others by 1 / (1 - p)."""

    name = "drop_path"
    random = True
    local = elementwise = True
    params = (
        Param("p", "float"),
        Param("mode", "str", "row", choices=("row", "batch")),
        Param("scale_by_keep", "bool", True),
    )

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        require_float(self.name, ins)
        in_range(self.name, "p", attrs["p"], least=0, most=1)
        if ins[0].rank < 1:
            raise OpError("ARC0310", "`drop_path` takes [B, ...], and this wire has no dimension", inputs=(0,))
        return (ins[0],)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,) = ins
        if not tape.training or not attrs["p"]:
            return (x,)
        noise = tape.new((x.shape[0] if attrs["mode"] == "row" else 1, *(1,) * (x.rank - 1)), x.dtype)
        y = tape.pointwise((x, noise), x.shape, x.dtype)
        tape.keep(*(noise,) * y.grad)
        return (y,)

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return not training or attrs["p"] == 0

    def _rest(self, attrs: Attrs) -> tuple[Kw, ...]:
        return kwargs(("mode", attrs["mode"], "row"), ("scale_by_keep", attrs["scale_by_keep"], True))

    def module(self, attrs: Attrs) -> Call:
        return Call("DropPath", (Lit(attrs["p"]),), self._rest(attrs))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("drop_path", (In(0), Lit(attrs["p"])), (*self._rest(attrs), _TRAINING))

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        return (_FUNCTION, _CLASS)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        (x,) = ins
        keep = 1 - attrs["p"]
        if not training or keep == 1:
            return x
        rows = (x.shape[0] if attrs["mode"] == "row" else 1, *(1 for _ in x.shape[1:]))
        mask = torch.empty(rows, dtype=x.dtype, device=x.device).bernoulli_(keep)
        return x * (mask / keep if attrs["scale_by_keep"] and keep > 0 else mask)
