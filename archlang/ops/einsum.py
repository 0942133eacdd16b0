"""Products of tensors: matmul, bmm, outer, einsum."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archlang.ir.graph import Attr, Attrs, TensorType
from archlang.ops.base import Context, Input, Op, OpError, Param, register
from archlang.ops.code import Bin, Call, Expr, In, Lit
from archlang.ops.contract import contracted
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import agree, broadcast, numel, same_dtype
from archlang.shapes.dim import Size, size_str

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []


@register
class Matmul(Op):
    """Product of matrices, batches of matrices, and vectors, as torch.matmul: `a @ b`."""

    name = "matmul"
    inputs = (Input("a"), Input("b"))

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        a, b = ins
        if a.rank == 0 or b.rank == 0:
            raise OpError("ARC0353", f"`@` takes wires with dimensions, not {a} and {b}", inputs=(0, 1))
        dtype = same_dtype("@", ins)
        if dtype == "bool":
            raise OpError("ARC0241", "`@` does not take bool", inputs=(0, 1))
        rows = b.shape[0] if b.rank == 1 else b.shape[-2]
        clash = (
            f"`@` needs equal inner sizes: the last dimension on the left is {size_str(a.shape[-1])} and the "
            f"{'only' if b.rank == 1 else 'second-last'} one on the right is {size_str(rows)}, in {a} and {b}"
        )
        agree(cx, a.shape[-1], rows, "`@` needs equal inner sizes", clash, inputs=(0, 1), code="ARC0364")
        batch: tuple[Size, ...] = ()
        if a.rank > 2 or b.rank > 2:
            batch = broadcast("@", [TensorType(x.shape[:-2] if x.rank > 1 else ()) for x in ins], cx)
        left = a.shape[-2:-1] if a.rank > 1 else ()
        right = b.shape[-1:] if b.rank > 1 else ()
        return (TensorType((*batch, *left, *right), dtype),)

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return numel(outs[0].shape) * ins[0].shape[-1]

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        a, b = ins
        rows, columns = a[-2:-1] if len(a) > 1 else (), b[-1:] if len(b) > 1 else ()
        cx.tie(a[-1], b[0] if len(b) == 1 else b[-2])
        return cx.says((*cx.pointwise((a[:-2], b[:-2])), *rows, *columns))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.matmul(ins[0], ins[1], outs[0].shape, outs[0].dtype),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Bin("@", In(0), In(1))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        return torch.matmul(ins[0], ins[1])


@register
class Bmm(Matmul):
    """[B, n, k] by [B, k, m] -> [B, n, m]."""

    name = "bmm"

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        a, b = ins
        if a.rank != 3 or b.rank != 3:
            raise OpError("ARC0353", f"`bmm` takes [B, n, k] and [B, k, m], not {a} and {b}", inputs=(0, 1))
        clash = f"`bmm` needs equal batch sizes, not {size_str(a.shape[0])} and {size_str(b.shape[0])}"
        agree(cx, a.shape[0], b.shape[0], "`bmm` needs equal batch sizes", clash, inputs=(0, 1), code="ARC0364")
        return super().infer(ins, attrs, cx)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("torch.bmm", (In(0), In(1)))


@register
class Outer(Op):
    """[n] by [m] -> [n, m]."""

    name = "outer"
    inputs = (Input("a"), Input("b"))

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        a, b = ins
        if a.rank != 1 or b.rank != 1:
            raise OpError("ARC0353", f"`outer` takes vectors, not {a} and {b}", inputs=(0, 1))
        return (TensorType((a.shape[0], b.shape[0]), same_dtype(self.name, ins)),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        return cx.says((ins[0][0], ins[1][0]))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        column = tape.reshape(ins[0], (*ins[0].shape, 1))
        return (tape.mul(column, ins[1], outs[0].shape, outs[0].dtype),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("torch.outer", (In(0), In(1)))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        return ins[0].unsqueeze(1) * ins[1]


# -- einsum ------------------------------------------------------------------------------------------------------------
Names = tuple[str, ...]  # one per dimension; "..." stands for any number


def parse_equation(equation: str) -> tuple[tuple[Names, ...], Names]:
    """Names per operand and of the result. With spaces inside a term names are words, else letters as in torch."""
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    spaced = any(len(term.split()) > 1 for term in (*terms, right))
    sides = tuple(_term(equation, term, spaced) for term in terms)
    if arrow:
        return sides, _term(equation, right, spaced)
    if spaced:
        raise OpError("ARC0245", f'`einsum`: "{equation}" has no result', param="equation", help="write `-> names`")
    every = [name for side in sides for name in side]
    once = sorted(name for name in set(every) - {"..."} if every.count(name) == 1)
    return sides, (("...",) if "..." in every else ()) + tuple(once)


def _term(equation: str, term: str, spaced: bool) -> Names:
    text = term.strip()
    if spaced:
        names = tuple(text.replace("...", " ... ").split())
    else:
        head, dots, tail = text.partition("...")
        names = (*head, dots, *tail) if dots else tuple(head)
    for name in names:
        if name != "..." and not (name.isidentifier() if spaced else name in string.ascii_letters):
            raise OpError("ARC0245", f'`einsum`: `{name}` in "{equation}" is not a name', param="equation")
    if names.count("...") > 1:
        raise OpError("ARC0245", f'`einsum`: "{text}" has more than one `...`', param="equation")
    return names


def _letters(sides: Sequence[Names]) -> dict[str, str]:
    """A letter for each name: its first one where that is free."""
    names = dict.fromkeys(name for side in sides for name in side if name != "...")
    letters = {name: name for name in names if len(name) == 1 and name in string.ascii_letters}
    for name in names:
        if name not in letters:
            wanted = [name[0].lower(), name[0].upper(), *string.ascii_letters]
            free = [c for c in wanted if c in string.ascii_letters and c not in letters.values()]
            if not free:
                raise OpError("ARC0245", "`einsum` takes at most 52 names", param="equation")
            letters[name] = free[0]
    return letters


@register
class Einsum(Op):
    """Sums of products after Einstein: "... n d, ... n k -> ... k d", or torch's compact "bnd,bnk->bkd"."""

    name = "einsum"
    inputs = (Input("xs", variadic=True),)
    params = (Param("equation", "str"),)

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        sides, result = parse_equation(args["equation"])
        letters = _letters((*sides, result))
        terms = ["".join(letters.get(name, name) for name in side) for side in (*sides, result)]
        compact = ",".join(terms[:-1]) + "->" + terms[-1]
        return {"equation": compact, "written": args["equation"]}

    def spell(self, attrs: Attrs) -> dict[str, Attr]:
        return {"equation": attrs["written"]}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        written = attrs["written"]
        sides, result = parse_equation(written)
        if len(sides) != len(ins):
            wires = f"{len(ins)} wire{'s' * (len(ins) != 1)}"
            message = f'`einsum`: "{written}" has {len(sides)} operands, and there are {wires}'
            raise OpError("ARC0240", message, param="equation")
        dtype = same_dtype(self.name, ins)
        sizes, dots = _sizes(written, sides, ins, cx)
        for i, name in enumerate(result):
            if name != "..." and name not in sizes:
                message = f'`einsum`: `{name}` of the result is in no operand of "{written}"'
                raise OpError("ARC0245", message, param="equation")
            if name in result[:i]:
                raise OpError("ARC0245", f'`einsum`: `{name}` is twice in the result of "{written}"', param="equation")
        shape: list[Size] = []
        for name in result:
            shape.extend(dots if name == "..." else (sizes[name],))
        return (TensorType(tuple(shape), dtype),)

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        """Operands are contracted from left to right; a name that only one side has is summed before."""
        sides, result = parse_equation(attrs["written"])
        sizes, dots = _sizes(attrs["written"], sides, ins, Context())
        full = {**sizes, **{f"...{i}": size for i, size in enumerate(dots)}}
        every = [_expanded(side, x, len(dots)) for side, x in zip(sides, ins, strict=True)]
        wanted = set(_result_names(result, len(dots)))
        total: Size = 0
        have = every[0]
        for i, other in enumerate(every[1:], 1):
            later = wanted.union(*every[i + 1 :])
            if (have & other) - later:
                total = total + numel([full[name] for name in (have & other) | ((have ^ other) & later)])
            have = (have | other) & later
        return total

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        sides, result = parse_equation(attrs["written"])
        dots = max((len(x) - len(side) + 1 for side, x in zip(sides, ins, strict=True) if "..." in side), default=0)
        pairs = (zip(_spread(side, len(x), dots), x, strict=True) for side, x in zip(sides, ins, strict=True))
        axes = cx.named(pair for side in pairs for pair in side)
        return cx.says(tuple(axes[name] for name in _result_names(result, dots)))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        sides, result = parse_equation(attrs["written"])
        types = [TensorType(x.shape, x.dtype) for x in ins]
        sizes, dots = _sizes(attrs["written"], sides, types, Context())
        spread = [_spread(side, x.rank, len(dots)) for side, x in zip(sides, ins, strict=True)]
        wanted = _result_names(result, len(dots))
        return (contracted(tape, ins, spread, wanted, {**sizes, **{f"...{i}": n for i, n in enumerate(dots)}}),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("torch.einsum", (Lit(attrs["equation"]), *(In(i) for i in range(inputs))))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        sides, result = parse_equation(attrs["written"])
        numbers = {name: i for i, name in enumerate(dict.fromkeys(n for side in sides for n in side))}
        numbered = [[... if n == "..." else numbers[n] for n in side] for side in (*sides, result)]
        operands = [part for pair in zip(ins, numbered, strict=False) for part in pair]
        return torch.einsum(*operands, numbered[-1])


def _result_names(result: Names, dots: int) -> list[str]:
    spread = [f"...{i}" for i in range(dots)]
    return [n for name in result for n in (spread if name == "..." else [name])]


def _expanded(side: Names, x: TensorType, dots: int) -> set[str]:
    """The operand's names, `...` spelled out (aligned at the end, as broadcasting does)."""
    return set(_spread(side, x.rank, dots))


def _spread(side: Names, rank: int, dots: int) -> list[str]:
    here = rank - len(side) + 1
    spread = [f"...{i}" for i in range(dots - here, dots)]
    return [n for name in side for n in (spread if name == "..." else [name])]


def _sizes(
    written: str, sides: Sequence[Names], ins: Sequence[TensorType], cx: Context
) -> tuple[dict[str, Size], tuple[Size, ...]]:
    """Size of each name, and the sizes that `...` stands for. As in torch, a size of 1 goes with any other."""
    sizes: dict[str, Size] = {}
    owner: dict[str, int] = {}
    batch: list[TensorType] = []
    for i, (side, x) in enumerate(zip(sides, ins, strict=True)):
        named = len(side) - ("..." in side)
        if x.rank < named or (x.rank > named and "..." not in side):
            message = f'`einsum`: "{" ".join(side)}" of "{written}" names {named} dimensions of {x}, which has {x.rank}'
            raise OpError("ARC0353", message, param="equation", inputs=(i,))
        at = side.index("...") if "..." in side else len(side)
        extra = x.rank - named
        batch.append(TensorType(x.shape[at : at + extra]))
        for name, size in zip((*side[:at], *side[at + 1 :]), (*x.shape[:at], *x.shape[at + extra :]), strict=True):
            if sizes.get(name, 1) == 1:
                sizes[name], owner[name] = size, i
            elif size != 1:
                clash = (
                    f'`einsum` "{written}": `{name}` is {size_str(sizes[name])} in {ins[owner[name]]} and '
                    f"{size_str(size)} in {x}"
                )
                what = f'`einsum` "{written}" needs one size for `{name}`'
                both = (owner[name], i)
                size = agree(cx, sizes[name], size, what, clash, inputs=both, code="ARC0364", rule="broadcast")
                sizes[name] = size
    return sizes, broadcast(f'einsum "{written}"', batch, cx)
