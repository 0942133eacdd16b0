"""Tensors without values, and what eager autograd keeps of them: the ground of the memory figures.

A `Ghost` has what a torch tensor has but its numbers: shape, strides, element type, storage, whether it needs a
gradient. A `Tape` carries out torch's functions on ghosts: it decides between view and copy as torch does, and marks
the storages that the backward pass needs. The rules are those of torch 2.x on a CPU in float32 (see docs/cost.md);
tests compare them with `torch.autograd.graph.saved_tensors_hooks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from archlang.ops.code import Call, Expr, In, Lit, Method
from archlang.ops.strides import (
    channels_last,
    contiguous,
    copied,
    dense,
    iterated,
    ordered,
    reshaped,
    suggests_channels_last,
)
from archlang.records import dataclass
from archlang.shapes.dim import Size

__all__ = ["BYTES", "FLOATS", "Ghost", "Storage", "Tape", "is_contiguous", "nbytes"]

BYTES = {
    "bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float": 4, "float64": 8,
}  # fmt: skip
FLOATS = ("float", "float16", "bfloat16", "float32", "float64")
_REDUCTIONS = {"mean": "", "sum": "", "any": "", "all": "", "amax": "in out", "amin": "in out", "prod": "in out"}
Shape = tuple[Size, ...]


@dataclass(eq=False, slots=True)
class Storage:
    """Memory behind one or several tensors. own: the module's, a parameter or buffer, which is never counted."""

    bytes: Size
    own: bool = False
    kept: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Ghost:
    """A tensor without values."""

    shape: Shape
    strides: Shape
    dtype: str
    storage: Storage
    grad: bool

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def channels_last(self) -> bool:
        """Whether kernels that heed the format of their input take its channels to be innermost."""
        return suggests_channels_last(self.shape, self.strides)

    @property
    def lies_last(self) -> bool:
        """The same for kernels that first ask what the memory is, whatever the strides of sizes of 1."""
        if is_contiguous(self):
            return False
        last = self.rank in (4, 5) and ordered(self.shape, self.strides, channels_last(self.shape))
        return last or self.channels_last


def nbytes(shape: Sequence[Size], dtype: str) -> Size:
    """Bytes of a tensor of its own."""
    return prod(shape, start=BYTES[dtype])


class Tape:
    """One forward computation. `kept` is what the backward pass needs so far, in bytes; `asked` is every storage that a
    step asked for, again where another one had already.

    training: the mode of the module. grad: whether autograd records.
    """

    def __init__(self, training: bool = True, grad: bool = True) -> None:
        self.training = training
        self.grad = grad
        self.kept: Size = 0
        self.asked: list[Storage] = []

    # -- making and keeping --------------------------------------------------------------------------------------------
    def new(self, shape: Sequence[Size], dtype: str = "float", parents: Sequence[Ghost] = ()) -> Ghost:
        """A tensor with memory of its own, row-major."""
        grad = self.grad and dtype in FLOATS and any(p.grad for p in parents)
        shape = tuple(shape)
        return Ghost(shape, dense(shape), dtype, Storage(nbytes(shape, dtype)), grad)

    def weight(self, shape: Sequence[Size], dtype: str, trainable: bool) -> Ghost:
        """A parameter or buffer."""
        shape = tuple(shape)
        return Ghost(shape, dense(shape), dtype, Storage(nbytes(shape, dtype), own=True), self.grad and trainable)

    def keep(self, *ghosts: Ghost) -> None:
        """Autograd saves these."""
        for storage in (g.storage for g in ghosts):
            self.asked.append(storage)
            if not storage.own and not storage.kept:
                storage.kept = True
                self.kept = self.kept + storage.bytes

    def extra(self, y: Ghost, shape: Sequence[Size], dtype: str = "float") -> None:
        """Saves a tensor that only the backward pass of `y` sees: statistics, a mask, indices."""
        if y.grad:
            self.keep(self.new(shape, dtype))

    def apply(
        self, ins: Sequence[Ghost], shape: Sequence[Size], dtype: str = "float", saves: str = "",
        last: bool = False,
    ) -> Ghost:  # fmt: skip
        """One step of autograd with a fresh result. saves: "in" and "out", what it keeps of them. last: its channels
        are innermost; else it is row-major."""
        return self._saved(ins, self._formatted(self.new(shape, dtype, ins), last), saves)

    def _formatted(self, y: Ghost, last: bool) -> Ghost:
        return self.view(y, y.shape, channels_last(y.shape)) if last else y

    def _saved(self, ins: Sequence[Ghost], y: Ghost, saves: str) -> Ghost:
        if y.grad:
            self.keep(*(ins if "in" in saves else ()), *((y,) if "out" in saves else ()))
        return y

    # -- element by element --------------------------------------------------------------------------------------------
    def pointwise(self, ins: Sequence[Ghost], shape: Sequence[Size], dtype: str = "float", saves: str = "") -> Ghost:
        """A function of each element; the result's memory is ordered as that of the inputs."""
        y = self.new(shape, dtype, ins)
        strides = iterated(y.shape, [(x.shape, x.strides) for x in ins])
        return self._saved(ins, self.view(y, y.shape, strides), saves)

    def copy(self, ins: Sequence[Ghost], dtype: str = "float", saves: str = "") -> Ghost:
        """A function of each element whose result has the strides of the first input, without its gaps."""
        (x, *_) = ins
        y = self.new(x.shape, dtype, ins)
        return self._saved(ins, self.view(y, y.shape, copied(x.shape, x.strides)), saves)

    def scaled(self, x: Ghost, dtype: str = "float") -> Ghost:
        """A function of each element and a number, which torch has as a tensor without dimensions."""
        return self.pointwise((x, self.new(())), x.shape, dtype)

    def mul(self, a: Ghost, b: Ghost, shape: Sequence[Size], dtype: str = "float") -> Ghost:
        y = self.pointwise((a, b), shape, dtype)
        if y.grad:
            self.keep(*((b,) if a.grad else ()), *((a,) if b.grad else ()))
        return y

    def div(self, a: Ghost, b: Ghost, shape: Sequence[Size], dtype: str = "float") -> Ghost:
        y = self.pointwise((a, b), shape, dtype)
        if y.grad:
            self.keep(b, *((a,) if b.grad else ()))
        return y

    # -- views ---------------------------------------------------------------------------------------------------------
    def view(self, x: Ghost, shape: Sequence[Size], strides: Sequence[Size]) -> Ghost:
        return Ghost(tuple(shape), tuple(strides), x.dtype, x.storage, x.grad)

    def permute(self, x: Ghost, *dims: int) -> Ghost:
        return self.view(x, [x.shape[d] for d in dims], [x.strides[d] for d in dims])

    def transpose(self, x: Ghost, a: int, b: int) -> Ghost:
        dims = list(range(x.rank))
        if dims:
            dims[a], dims[b] = dims[b], dims[a]
        return self.permute(x, *dims)

    def reshape(self, x: Ghost, shape: Sequence[Size]) -> Ghost:
        """A view where the memory allows it, else a copy. No -1 in `shape`."""
        shape = tuple(shape)
        rows = x.strides == dense(x.shape)
        strides = dense(shape) if rows else reshaped(x.shape, x.strides, shape)
        if strides is None:
            return self.new(shape, x.dtype, (x,))
        return self.view(x, shape, strides)

    def contiguous(self, x: Ghost, last: bool = False) -> Ghost:
        """Row-major, or with the channels last: a copy where it is not."""
        if ordered(x.shape, x.strides, channels_last(x.shape)) if last else is_contiguous(x):
            return x
        return self._formatted(self.new(x.shape, x.dtype, (x,)), last)

    def cat(self, ins: Sequence[Ghost], shape: Sequence[Size], dtype: str) -> Ghost:
        """Joined end to end; the channels lie last where they do in all."""
        return self.apply(ins, shape, dtype, last=all(x.channels_last for x in ins))

    def flatten(self, x: Ghost, start: int = 0, end: int = -1) -> Ghost:
        stop = end % x.rank + 1
        return self.reshape(x, (*x.shape[:start], prod(x.shape[start:stop], start=1), *x.shape[stop:]))

    def unflatten(self, x: Ghost, dim: int, sizes: Sequence[Size]) -> Ghost:
        return self.reshape(x, (*x.shape[:dim], *_filled(x.shape[dim], sizes), *x.shape[dim + 1 :]))

    def unsqueeze(self, x: Ghost, dim: int) -> Ghost:
        dim = dim % (x.rank + 1)
        step = x.shape[dim] * x.strides[dim] if dim < x.rank else 1
        return self.view(x, (*x.shape[:dim], 1, *x.shape[dim:]), (*x.strides[:dim], step, *x.strides[dim:]))

    def squeeze(self, x: Ghost, dims: Any) -> Ghost:
        gone = {d % x.rank for d in (dims if isinstance(dims, tuple) else (dims,))}
        rest = [d for d in range(x.rank) if d not in gone]
        return self.permute(x, *rest)

    def expand(self, x: Ghost, *sizes: Size) -> Ghost:
        """Sizes of 1 repeated without memory; -1 keeps a size."""
        new = len(sizes) - x.rank
        shape: list[Size] = list(sizes[:new])
        strides: list[Size] = [0] * new
        for have, step, want in zip(x.shape, x.strides, sizes[new:], strict=True):
            same = want == -1 or want == have
            shape.append(have if same else want)
            strides.append(step if same else 0)
        return self.view(x, shape, strides)

    def evaluate(self, expr: Expr, ins: Sequence[Ghost]) -> Ghost:
        """A chain of this class's methods on an input, as an op's `call` gives it."""
        if isinstance(expr, In):
            return ins[expr.index]
        if isinstance(expr, Call) and isinstance(expr.func, str):  # the method as a function of torch
            expr = Method(expr.args[0], expr.func.removeprefix("torch."), expr.args[1:], expr.kwargs)
        assert isinstance(expr, Method), expr
        value = self.evaluate(expr.value, ins)
        args = [a.value for a in expr.args if isinstance(a, Lit)]
        if expr.name in _REDUCTIONS:
            (dims,) = (kw.value.value for kw in expr.kwargs if isinstance(kw.value, Lit))
            dtype = "bool" if expr.name in ("any", "all") else value.dtype
            return self.reduce(value, dims, dtype, _REDUCTIONS[expr.name])
        if expr.name == "reshape":
            sizes: list[Any] = [] if args == [()] else args
            return self.reshape(value, _filled(prod(value.shape, start=1), sizes))
        result: Ghost = getattr(self, expr.name)(value, *args)
        return result

    def reduce(self, x: Ghost, dims: Any, dtype: str, saves: str, keepdim: bool = False) -> Ghost:
        """A reduction over one or several dimensions."""
        gone = dims if isinstance(dims, tuple) else (dims,)
        shape = [1 if d in gone else size for d, size in enumerate(x.shape) if keepdim or d not in gone]
        return self.apply((x,), shape, dtype, saves)

    # -- products ------------------------------------------------------------------------------------------------------
    def linear(self, x: Ghost, weight: Ghost, bias: Ghost | None = None) -> Ghost:
        """`x @ weight.T + bias`: more than two dimensions are folded into one."""
        given = (x, weight) if bias is None else (x, weight, bias)
        y = self.new((*x.shape[:-1], weight.shape[0]), x.dtype, given)
        if weight.grad:
            self.keep(self.reshape(x, (prod(x.shape[:-1], start=1), x.shape[-1])) if x.rank > 2 else x)
        return y

    def matmul(self, a: Ghost, b: Ghost, shape: Sequence[Size], dtype: str = "float") -> Ghost:
        """torch.matmul: what has many matrices against one is folded, else both become batches of matrices."""
        y = self.new(shape, dtype, (a, b))
        if not y.grad:
            return y
        if a.rank > 2 and b.rank <= 2 and (b.grad or is_contiguous(a)):
            a = self.reshape(a, (prod(a.shape[:-1], start=1), a.shape[-1]))
        elif b.rank > 2 and a.rank <= 2 and (a.grad or is_contiguous(self.transpose(b, -1, -2))):
            turned = self.transpose(b, -1, -2)
            b = self.reshape(turned, (prod(turned.shape[:-1], start=1), turned.shape[-1]))
        elif a.rank > 2 or b.rank > 2:
            a, b = self._batched(a, b, y)
        self.keep(*((a,) if b.grad else ()), *((b,) if a.grad else ()))
        return y

    def _batched(self, a: Ghost, b: Ghost, y: Ghost) -> tuple[Ghost, Ghost]:
        a = self.unsqueeze(a, 0) if a.rank == 1 else a
        b = self.unsqueeze(b, 1) if b.rank == 1 else b
        lead = y.shape[: max(a.rank, b.rank) - 2]
        full = [self.expand(x, *lead, *x.shape[-2:]) for x in (a, b)]
        count = prod(lead, start=1)
        first, second = (self.reshape(x, (count, *x.shape[-2:])) if x.rank != 3 else x for x in full)
        return first, second

    # -- windows -------------------------------------------------------------------------------------------------------
    def pool(self, x: Ghost, shape: Sequence[Size], saves: str = "in", volumes: bool = False) -> Ghost:
        """One step of pooling. torch sees one spatial dimension as two; the kernels for two heed the memory format of
        the input. volumes: so does that for three."""
        lone = x.rank == 3
        x = self.unsqueeze(x, 2) if lone else x
        last = x.channels_last and (x.rank == 4 or volumes)
        y = self.apply((x,), (*shape[:2], *(1,) * lone, *shape[2:]), x.dtype, saves, last)
        return self.squeeze(y, 2) if lone else y

    # -- attention -----------------------------------------------------------------------------------------------------
    def sdpa(self, q: Ghost, k: Ghost, v: Ghost, mask: Ghost | None = None, p: float = 0.0, gqa: bool = False) -> Ghost:
        """torch's scaled_dot_product_attention: the fused kernel where it applies, else step by step."""
        p = p if self.training else 0.0
        ins = (q, k, v)
        fused = q.rank == 4 and not p and q.shape[-1] == v.shape[-1] and not (mask is not None and mask.grad)
        fused = fused and all(x.strides[-1] == 1 for x in ins)
        if not fused:
            return self._attention(q, k, v, mask, p, gqa)
        y = self.copy(ins, q.dtype, "in out")
        if y.grad:
            self.extra(y, q.shape[:-1], "float32" if q.dtype != "float64" else "float64")
            if mask is not None:
                self.keep(mask if mask.dtype != "bool" else self.new(mask.shape))
        return y

    def _attention(self, q: Ghost, k: Ghost, v: Ghost, mask: Ghost | None, p: float, gqa: bool) -> Ghost:
        if gqa:
            k, v = (self.new((*x.shape[:-3], q.shape[-3], *x.shape[-2:]), x.dtype, (x,)) for x in (k, v))
        a = self.pointwise((q,), q.shape, q.dtype)
        turned = self.transpose(k, -1, -2)
        b = self.pointwise((turned,), turned.shape, k.dtype)
        scores = self.matmul(a, b, (*q.shape[:-1], k.shape[-2]), q.dtype)
        parents = (scores,) if mask is None else (scores, mask)
        weights = self.pointwise(parents, scores.shape, q.dtype, "out")
        return self.matmul(self.dropout(weights, p), v, (*q.shape[:-1], v.shape[-1]), q.dtype)

    def dropout(self, x: Ghost, p: float, kept: Sequence[Size] | None = None) -> Ghost:
        """torch's dropout: a product with noise of the shape `kept` (None: that of `x`)."""
        if not self.training or not p:
            return x
        noise = x if kept is None else self.new(kept)
        y = self.pointwise((x, noise), x.shape, x.dtype)
        self.extra(y, () if p == 1 else noise.shape, x.dtype)
        return y

    # -- normalisation -------------------------------------------------------------------------------------------------
    def layer_norm(self, x: Ghost, dims: int, weights: Sequence[Ghost]) -> Ghost:
        """Over the last `dims` dimensions."""
        y = self.apply((x, *weights), x.shape, x.dtype)
        if y.grad:
            self.keep(x)
            for _ in range(2):
                self.extra(y, (*x.shape[: x.rank - dims], *(1,) * dims), x.dtype)
        return y

    def pad(self, x: Ghost, shape: Sequence[Size], mode: str = "constant", crops: bool = False) -> Ghost:
        """crops: nothing is added, so that a part is copied."""
        if crops and mode in ("constant", "zeros"):
            return self.copy((self.view(x, shape, x.strides),), x.dtype)
        saves = "in" if mode in ("reflect", "replicate") else ""
        return self.apply((x,), shape, x.dtype, saves, mode != "circular" and x.channels_last)


def is_contiguous(x: Ghost) -> bool:
    """Whether the memory is row-major, as torch says it: sizes of 1 may have any stride."""
    return contiguous(x.shape, x.strides)


def _filled(total: Size, sizes: Sequence[Size]) -> Shape:
    """`sizes` with its -1 worked out."""
    rest = prod((s for s in sizes if s != -1), start=1)
    return tuple(total // rest if s == -1 else s for s in sizes)
