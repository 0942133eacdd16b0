"""What `archc diff` finds: each edit of a spec gives the differences that it makes and no others."""

from __future__ import annotations

import random
import re

import pytest

import archlang
from archlang.compare.changes import Change, DesignDiff
from archlang.compare.designs import compare_programs
from archlang.compare.figures import macs
from archlang.compare.text import as_markdown
from archlang.ir.graph import Program
from archlang.shapes.dim import evaluate

NET = """\
block unit(width: int, stride: int = 1)(x) {
    return x -> conv1: conv(width, 3, stride, padding=1, bias=false) -> bn1: batchnorm -> relu
}

block net(image: [B, 3, H, W]) {
    x = image -> stem: unit(8)
    y = x -> body: chain([unit(8) for _ in 0..3])
    return (x + y) -> global_avgpool -> fc: linear(10)
}
"""


def program(text: str, entry: str = "net", **params: object) -> Program:
    return archlang.compile(text, entry, **params).program


def diff(new: str, old: str = NET) -> DesignDiff:
    return compare_programs(program(old), program(new), "net", {"B": 1, "H": 32, "W": 32})


def changes(found: DesignDiff, block: str) -> list[Change]:
    return [c for b in found.blocks if b.block == block for c in b.changes]


def figures(found: DesignDiff) -> dict[str, tuple[int | None, int | None]]:
    return {f.name: (f.old, f.new) for f in found.figures}


@pytest.mark.parametrize(
    "text",
    [
        NET,
        "# moved\n\n" + NET,
        NET.replace("block net", "## Said anew.\nblock net"),
        NET.replace("(x + y) ->", "(x  +  y)   # commented\n        ->"),
        NET.replace("unit(8)", "unit(width=8)"),
        NET.replace("y = x ->", "z = x ->").replace("x + y", "x + z"),
    ],
)
def test_what_makes_no_difference(text: str) -> None:
    found = diff(text)
    assert found.equal
    assert not found.blocks and not found.keys and not found.types


def test_an_op_of_another_kind() -> None:
    found = diff(NET.replace("batchnorm -> relu", "batchnorm -> gelu"))
    (block,) = found.blocks
    assert (block.block, block.places) == ("unit", 4)
    kinds = [(c.kind, c.what.split(" ")[0]) for c in block.changes]
    assert kinds == [("removed", "`relu`"), ("added", "`gelu`"), ("rewired", "`return`")]
    assert not found.keys and figures(found)["MACs"][0] == figures(found)["MACs"][1]


def test_a_rewired_sum() -> None:
    found = diff(NET.replace("x + y", "y + y"))
    assert changes(found, "net") == [Change("rewired", "`add` (line 8)", "`x`, `y`", "`y`, `y`")]
    assert not found.keys


def test_a_swapped_input_of_equal_names() -> None:
    """Names that are equal on both sides still tell apart who made them."""
    found = diff(NET.replace("    y = x -> body", "    x = relu(x)\n    y = x -> body"))
    (added, *rewired) = changes(found, "net")
    assert (added.kind, added.what) == ("added", "`x` (relu)")
    assert [c.kind for c in rewired] == ["rewired", "rewired"]
    assert rewired[0] == Change("rewired", "`body`", "`stem`", "`x` (relu)")


def test_a_wider_stem() -> None:
    found = diff(NET.replace("stem: unit(8)", "stem: unit(16)").replace("(x + y)", "y"))
    reshaped = {k.key: (k.old, k.new) for k in found.keys}
    assert reshaped["stem.conv1.weight"] == ("[8, 3, 3, 3]", "[16, 3, 3, 3]")
    assert reshaped["body.0.conv1.weight"] == ("[8, 8, 3, 3]", "[8, 16, 3, 3]")
    assert "body.1.conv1.weight" not in reshaped
    assert Change("changed", "parameters", "width=8", "width=16") in changes(found, "unit")


def test_more_layers_in_a_list() -> None:
    found = diff(NET.replace("0..3", "0..6"))
    assert all(k.old is None and k.key.startswith("body.") for k in found.keys)
    assert len(found.keys) == 3 * 6
    added = [c for b in found.blocks for c in b.changes if c.kind == "added" and c.new]
    assert [c.what for c in added] == ["`3` .. `5`"]


def test_types_of_the_design() -> None:
    found = diff(NET.replace("[B, 3, H, W]", "[B, 1, H, W]").replace("linear(10)", "linear(7)"))
    assert found.types == (
        Change("type", "input `image`", "[B, 3, H, W]", "[B, 1, H, W]"),
        Change("type", "output", "[B, 10]", "[B, 7]"),
    )


def test_sizes_that_are_needed() -> None:
    found = diff(NET.replace("stem: unit(8)", "stem: unit(8) -> maxpool(2)"))
    assert Change("added", "H >= 2") in found.requires
    assert all(c.kind in ("added", "removed") for c in found.requires)


def test_initial_values() -> None:
    text = "block net(x: [B, 3]) {\n    weight g: [3] = ones\n    return x * g\n}\n"
    assert [c.what for c in changes(diff(text.replace("ones", "zeros"), text), "net")] == ["weight `g`"]
    assert [c.new for c in changes(diff(text.replace("ones", "ones, frozen"), text), "net")] == ["trainable False"]
    assert changes(diff(NET.replace("linear(10)", "linear(10, init=zeros)")), "net") != []


def test_figures_agree_with_torch() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    wide = NET.replace("unit(8)", "unit(12, 2)").replace("(x + y)", "y")
    found = figures(diff(wide))
    for side, text in enumerate((NET, wide)):
        model = archlang.build(text, "net").eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.to("meta")(torch.zeros(1, 3, 32, 32, device="meta"))
        assert found["MACs"][side] == counter.get_total_flops() // 2
        assert found["parameters"][side] == sum(p.numel() for p in model.parameters())
        assert found["buffers"][side] == sum(b.numel() for b in model.buffers())
        state = model.state_dict().values()
        assert found["weights"][side] == sum(t.numel() * t.element_size() for t in state)


def test_what_is_not_counted_is_said() -> None:
    text = """extern block e(x: [B, 3, H, W]) -> [B, 3, H, W] = "a.b:C"
block net(image: [B, 3, H, W]) {
    return image -> own: e
}
"""
    names = figures(diff(text, text))
    assert "MACs (without extern blocks)" in names and any(n.startswith("saved for backward (without") for n in names)


def test_macs_as_a_formula() -> None:
    from archlang.analyze import cost

    formula = macs(program(NET))
    for at in ({"B": 1, "H": 7, "W": 9}, {"B": 3, "H": 32, "W": 33}):
        assert evaluate(formula, at) == cost(program(NET), at).macs


def test_keys_are_those_of_torch() -> None:
    """Random edits of the parameters: the keys reported are exactly those in which two state dicts differ."""
    text = NET.replace("block net(", "block net(a: int = 8, b: int = 8, n: int = 3)(").replace(
        "stem: unit(8)", "stem: unit(a)"
    )
    text = text.replace("[unit(8) for _ in 0..3]", "[unit(b) for _ in 0..n]").replace("(x + y)", "y")
    draw = random.Random(0)
    for _ in range(5):
        sides = [{"a": draw.choice([4, 8]), "b": draw.choice([4, 8]), "n": draw.randint(1, 4)} for _ in range(2)]
        old, new = (
            {k: list(v.shape) for k, v in archlang.build(text, "net", **side).state_dict().items()} for side in sides
        )
        found = compare_programs(program(text, **sides[0]), program(text, **sides[1]), "net", {})
        assert {k.key for k in found.keys} == {k for k in {**old, **new} if old.get(k) != new.get(k)}
        assert found.equal == (sides[0] == sides[1])


def test_depth_that_repeats_costs_nothing() -> None:
    import time

    start = time.perf_counter()
    found = diff(NET.replace("0..3", "0..3000"), NET.replace("0..3", "0..2000"))
    assert time.perf_counter() - start < 20
    assert len(found.keys) == 6000


def test_markdown_holds_what_a_spec_says() -> None:
    """Names come from specs of strangers: they end no table, fence or fold."""
    from archlang.compare.changes import SpecDiff

    found = DesignDiff("a|b`<x>", types=(Change("type", "```\n</details>", "x", "y"),))
    text = as_markdown(SpecDiff("a`b.arch", "c\n# d", designs=(found,)))
    assert text.count("```") == 2
    assert "\\|" in text and "\\<x\\>" in text
    assert re.findall(r"(?m)^# ", text) == ["# "]  # a heading of the folded text, not of the comment
    assert "\n# d" not in text
