"""A Hypothesis strategy for sums of linear branches that are one convolution, with something to stop at around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

__all__ = ["Branches", "branches"]

WIDTH = 12
GROUPS = (1, 2, 3, 4, 6, 12)
LARGEST = 7


@dataclass(frozen=True)
class Branches:
    """A spec of [B, WIDTH, H, W]. merged: how many convolutions are left; others: ops beside them."""

    text: str
    merged: int


@st.composite
def branches(draw: Callable[..., Any]) -> Branches:
    """One kernel of 7x7 and others in its reach, whose groups it can hold: all of it is one layer."""
    groups, stride = draw(st.sampled_from(GROUPS)), draw(st.sampled_from((1, 1, 2)))
    held = [g for g in GROUPS if g % groups == 0]
    summands = [_layer(draw, [LARGEST] * 2, [1, 1], stride, groups)]
    for _ in range(draw(st.integers(0, 3))):
        summands.append(_branch(draw, stride, held))
    if stride == 1:
        for _ in range(draw(st.integers(0, 2))):
            summands.append(draw(st.sampled_from(["x", "(x -> batchnorm)", "(x -> scaled)", "x * 0.5", "(-x)"])))
    if len(summands) == 1:
        summands.append(_branch(draw, stride, held))
    summands = draw(st.permutations(summands))
    at = draw(st.integers(0, len(summands)))
    other = draw(st.booleans())
    if other:
        summands = [*summands[:at], f"(relu(x) -> conv({WIDTH}, 3, {stride}, padding=1))", *summands[at:]]
    cut = draw(st.integers(0, len(summands) - 1))
    total = " + ".join(summands[:cut]) + (" + (" if cut else "(") + " + ".join(summands[cut:]) + ")"
    text = f"""
block scaled(x) {{
    weight gamma: [{WIDTH}, 1, 1] = ones
    return x * gamma
}}
block net(x: [B, {WIDTH}, H, W]) {{
    x = x -> first: conv({WIDTH}, 3, padding=1) -> relu
    return relu({total})
}}
"""
    return Branches(text, 3 if other else 2)


def _layer(draw: Any, kernel: list[int], rate: list[int], stride: int, groups: int, bias: bool | None = None) -> str:
    """A convolution that keeps the size where the stride is 1, and sometimes its normalisation."""
    padding = [r * (k - 1) // 2 for k, r in zip(kernel, rate, strict=True)]
    bias = draw(st.booleans()) if bias is None else bias
    text = f"conv({WIDTH}, {kernel}, {stride}, padding={padding}, dilation={rate}, groups={groups}, bias={_word(bias)})"
    norm = draw(st.sampled_from(["", "", " -> batchnorm", " -> batchnorm(affine=false)"]))
    return f"(x -> {text}{norm})"


def _branch(draw: Any, stride: int, held: list[int]) -> str:
    kind = draw(st.integers(0, 3))
    sizes = st.sampled_from([(1, 1), (3, 1), (3, 2), (3, 3), (5, 1), (7, 1), (2, 2), (2, 4), (4, 2)])
    if kind == 0:
        (h, a), (w, b) = draw(sizes), draw(sizes)
        return _layer(draw, [h, w], [a, b], stride, draw(st.sampled_from(held)))
    k, rate = draw(sizes)
    group = draw(st.sampled_from(held))
    inner = draw(st.sampled_from([n for n in (12, 24) if n % group == 0]))
    at = rate * (k - 1) // 2
    same = f"padding={at}, dilation={rate}, groups={group}"
    last = f"bias={_word(draw(st.booleans()))}"
    if kind == 1:  # 1x1 after it, which may come before a bias
        return f"(x -> conv({inner}, {k}, {stride}, {same}) -> conv({WIDTH}, 1, groups={group}, {last}))"
    if kind == 2:  # 1x1 before it, which then has none
        return f"(x -> conv({inner}, 1, groups={group}, bias=false) -> conv({WIDTH}, {k}, {stride}, {same}, {last}))"
    row = f"conv({inner}, [1, {k}], [1, {stride}], padding=[0, {at}], dilation={rate}, groups={group}, bias=false)"
    column = f"conv({WIDTH}, [{k}, 1], [{stride}, 1], padding=[{at}, 0], dilation={rate}, groups={group}, {last})"
    return f"(x -> {row} -> {column})"


def _word(value: bool) -> str:
    return "true" if value else "false"
