"""The shape rules of layers at many sizes, symbolic and known, against torch on the meta device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nn_cases import Case, case
from render import apply, call, make_module

import archlang.ops  # noqa: F401
from archlang.ir.graph import Constraint, TensorType
from archlang.ops.base import OpError, registry
from archlang.shapes.dim import evaluate, symbol

SIZES = range(1, 26)
REST = {1: (), 2: (17,), 3: (17, 16)}  # the other spatial sizes, which fit every window below


def conv_cases() -> list[Case]:
    paddings: list[Any] = [0, 1, 3, "same", "tf_same"]
    cases = []
    for k, s, d in ((1, 1, 1), (1, 2, 1), (2, 1, 1), (3, 1, 1), (3, 2, 1), (4, 3, 2), (5, 2, 3), (7, 4, 1)):
        for padding in paddings:
            if padding == "same" and s > 1:
                continue
            for mode in ("zeros", "reflect", "circular", "replicate"):
                if padding == "tf_same" and mode != "zeros":
                    continue
                args = {"kernel_size": k, "stride": s, "dilation": d, "padding": padding, "padding_mode": mode}
                cases.append(case("conv", (2, 4), out_channels=3, **args))
        cases.append(case("conv", (2, 4), out_channels=3, kernel_size=k, stride=s, dilation=d, padding=((2, 1),)))
        cases.append(case("unfold", (2, 4), kernel_size=k, stride=s, dilation=d, padding=1))
    for k, s, p, extra, d in ((1, 1, 0, 0, 1), (2, 2, 0, 0, 1), (3, 2, 1, 1, 1), (3, 1, 4, 0, 1), (4, 3, 3, 2, 2)):
        args = {"kernel_size": k, "stride": s, "padding": p, "output_padding": extra, "dilation": d}
        cases.append(case("conv_transpose", (2, 4), out_channels=3, **args))
    return cases


def pool_cases() -> list[Case]:
    cases = []
    for k in (1, 2, 3, 4, 7):
        for s in (1, 2, 3, 5):
            for p in range(k // 2 + 1):
                for ceil in (False, True):
                    args = {"kernel_size": k, "stride": s, "padding": p, "ceil_mode": ceil}
                    cases += [case("maxpool", (2, 4), dilation=d, **args) for d in (1, 2)]
                    cases.append(case("avgpool", (2, 4), **args))
            cases += [
                case("lppool", (2, 4), norm_type=2.0, kernel_size=k, stride=s, ceil_mode=c) for c in (False, True)
            ]
    return cases


def resize_cases() -> list[Case]:
    factors = (2, 3, 0.5, 0.25, 1.5, 0.75, 1 / 3, 2 / 3, 0.1, 0.7, 1.3, 3.7, 1 / 49, 0.3333)
    return [case("interpolate", (2, 4), scale_factor=(f, 1.0)) for f in factors]


def _holds(constraint: Constraint, values: dict[str, int]) -> bool:
    left, right = evaluate(constraint.left, values), evaluate(constraint.right, values)
    return left == right if constraint.relation == "==" else left >= right


def _spread(one: Case, rank: int) -> Case:
    """A case of one dimension, given in the first of `rank`: pairs of paddings apply to each."""
    args = dict(one.args)
    if isinstance(args.get("padding"), tuple):
        args["padding"] = args["padding"] * rank
    return Case(one.op, args, ())


def _torch_shape(one: Case, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """What torch gives on the meta device, or None where it refuses. Attributes come from a size that fits."""
    op = registry()[one.op]
    attrs, _, _ = apply(op, one.args, [TensorType((2, 4, *(64 for _ in shape[2:])))])
    try:
        with torch.device("meta"):
            result = tuple(call(op, attrs, [torch.empty(shape)], make_module(op, attrs)).shape)
    except (RuntimeError, ValueError):
        return None
    return result if 0 not in result else None  # transposed convolutions may give nothing, which we refuse


def _known(one: Case, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    try:
        _, outs, cx = apply(registry()[one.op], one.args, [TensorType(shape)])
    except OpError as error:
        assert error.code in ("ARC0302", "ARC0305") and error.inputs == (0,)
        return None
    assert not cx.constraints
    return tuple(evaluate(size, {}) for size in outs[0].shape)


def _symbolic(one: Case, rank: int) -> Any:
    shape = (2, 4, symbol("H"), *REST[rank])
    try:
        _, outs, cx = apply(registry()[one.op], one.args, [TensorType(shape)])
    except OpError as error:
        assert error.code == "ARC0305" and one.op == "interpolate"
        return None  # the rounding is not a formula of the size: it must be known

    def at(size: int) -> tuple[int, ...] | None:
        values = {"H": size}
        if not all(_holds(c, values) for c in cx.constraints):
            return None
        return tuple(evaluate(s, values) for s in outs[0].shape)

    return at


def _check(one: Case, rank: int) -> None:
    one = _spread(one, rank)
    symbolic = _symbolic(one, rank)
    for size in SIZES:
        shape = (2, 4, size, *REST[rank])
        expected = _torch_shape(one, shape)
        assert _known(one, shape) == expected, size
        if symbolic is not None:
            assert symbolic(size) == expected, size


@pytest.mark.parametrize("one", conv_cases(), ids=str)
def test_conv(one: Case) -> None:
    _check(one, 2)


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("one", [c for c in conv_cases()[::5] if c.op != "unfold"], ids=str)
def test_conv_of_other_ranks(one: Case, rank: int) -> None:
    _check(one, rank)


@pytest.mark.parametrize("op", ["maxpool", "avgpool", "lppool"])
def test_pool(op: str) -> None:
    for one in pool_cases():
        if one.op == op:
            _check(one, 2)


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("op", ["maxpool", "avgpool", "lppool"])
def test_pool_of_other_ranks(op: str, rank: int) -> None:
    for one in [c for c in pool_cases() if c.op == op][::5]:
        _check(one, rank)


@pytest.mark.parametrize("one", resize_cases(), ids=str)
def test_interpolate(one: Case) -> None:
    _check(one, 2)


def test_rounding_that_no_fraction_gives_needs_a_known_size() -> None:
    args = {"scale_factor": 1 / 49}
    with pytest.raises(OpError) as caught:
        apply(registry()["interpolate"], args, [TensorType((1, 1, symbol("H")))])
    assert caught.value.code == "ARC0305"
    assert _known(Case("interpolate", args, ()), (1, 1, 98)) == (1, 1, 1)
    with pytest.raises(OpError):
        apply(registry()["interpolate"], args, [TensorType((1, 1, 49))])
