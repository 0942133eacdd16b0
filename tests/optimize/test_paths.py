"""Paths side by side as one path with groups."""

from __future__ import annotations

import pytest

from tests.optimize.test_branches import figures

# ResNeXt's block in its three forms, of 4 paths of width 3.
RESNEXT = {
    "sum": "add([x -> conv(3, 1) -> relu -> conv(3, 3, padding=1) -> relu -> conv(8, 1) for _ in 0..4])",
    "concat": "concat([x -> conv(3, 1) -> relu -> conv(3, 3, padding=1) -> relu for _ in 0..4]) -> conv(8, 1)",
    "groups": "x -> conv(12, 1) -> relu -> conv(12, 3, padding=1, groups=4) -> relu -> conv(8, 1)",
}


@pytest.mark.parametrize("form", RESNEXT)
def test_three_forms_are_one(form: str) -> None:
    text = f"block net(x: [B, 8, H, W]) {{ return x + ({RESNEXT[form]}) }}"
    left, parameters = figures(text)
    assert left == {"conv": 3, "relu": 2, "add": 1}
    assert parameters == (8 * 12 + 12) + (12 * 3 * 9 + 12) + (12 * 8 + 8)


@pytest.mark.parametrize(
    ("body", "convs", "cuts"),
    [
        # depthwise kernels of two sizes on neighbouring parts, as in token mixers of several scales
        ("a, b, c, d = x -> chunk(4, dim=1)\nreturn concat([a, b -> dw(2, 3), c -> dw(2, 5), relu(d)])", 1, 1),
        ("a, b = x -> split([2, 6], dim=1)\nreturn concat([a -> dw(2, 3), b -> dw(6, 3)])", 1, 0),
        ("a, b = x -> split([2, 6], dim=1)\nreturn concat([b -> dw(6, 3), a -> dw(2, 3)])", 2, 1),  # in another order
        ("a, b = x -> halves\nreturn concat([a -> conv(3, 1), b -> conv(3, 1, bias=false)])", 1, 0),
        ("a, b = x -> halves\nreturn concat([a -> conv(3, 1), b -> conv(2, 1)])", 2, 1),  # groups are of one size
        ("a, b = x -> halves\nreturn concat([a -> dw(4, 1), b -> dw(4, 7)])", 1, 0),
        ("a, b = x -> halves\nreturn (a -> conv(6, 3)) + (b -> conv(6, 3, bias=false))", 1, 0),
        ("a, b = x -> halves\nreturn concat([a -> conv(3, 1), b -> conv(3, 1)]), a", 2, 1),  # a part that others read
        ("return concat([x -> conv(3, 1), x -> conv(5, 1)])", 1, 0),
        ("return concat([x -> conv(3, 1), x -> conv(5, 3, padding=1)])", 2, 0),  # a dense 3x3 costs more
        ("return concat([x -> conv(4, 1) -> relu, x -> conv(4, 1) -> gelu])", 2, 0),
    ],
)
def test_parts(body: str, convs: int, cuts: int) -> None:
    left, _ = figures(f"""
fn dw(width: int, k: int) => conv(width, k, padding = floor(k / 2), groups=width)
block net(x: [B, 8, H, W]) {{
{body}
}}
""")
    assert left["conv"] == convs
    assert left["chunk"] + left["split"] + left["halves"] == cuts
