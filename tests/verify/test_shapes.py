"""`archc check --shapes`: the sets of both phases, and every wire with its line."""

from __future__ import annotations

import archlang
from archlang.verify.shapes import shapes_text

NET = """
block half(width: int)(x) { return x -> c: conv(width, 3, stride=2, padding=1) -> n: batchnorm }
block net()(image: [B, 3, H, W]) {
    x = image -> a: half(8)
    return concat([image, x -> interpolate(scale_factor=2)])
}
"""

EXPECTED = """\
net: [B, 3, H, W]
  evaluation: B >= 1 and H mod 2 = 0 and H >= 2 and W mod 2 = 0 and W >= 2
  training:   B >= 1 and H mod 2 = 0 and H >= 2 and W mod 2 = 0 and W >= 2 and (B >= 2 or H >= 4 or W >= 4)

  net(image: [B, 3, H, W])
    <text>:4  a: half      [B, 8, (H + 1) // 2, (W + 1) // 2]
    <text>:5  interpolate  [B, 8, 2*((H + 1) // 2), 2*((W + 1) // 2)]
    <text>:5  concat       [B, 11, 2*((H + 1) // 2), 2*((W + 1) // 2)]

  half(x: [B, 3, H, W])
    <text>:2  c: conv       [B, 8, (H + 1) // 2, (W + 1) // 2]
    <text>:2  n: batchnorm  [B, 8, (H + 1) // 2, (W + 1) // 2]
"""


def test_the_whole_text() -> None:
    assert shapes_text(archlang.compile(NET).program) == EXPECTED


def test_fixed_sizes() -> None:
    text = shapes_text(archlang.compile("block net()(x: [2, 3, 8, 8]) { return x -> maxpool(2) }").program)
    assert text.splitlines()[1] == "  evaluation: every size is fixed"


def test_a_set_of_many_cases_is_told_by_what_it_is_made_of() -> None:
    text = "block net(x: [B, 3, H, W]) where H * W == 300 or H * H == 49 { return x }"
    assert shapes_text(archlang.compile(text).program).splitlines()[1] == (
        "  evaluation: B >= 1 and H >= 1 and W >= 1 and (H*W == 300 or H*H == 49)"
    )
