"""Groups: reordering them changes nothing, reordering less than a group does, and what keeps its place has a reason."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import torch

import archlang
from archlang.cli import main
from archlang.groups import find
from archlang.groups.apply import arrange
from archlang.interpret import Interpreter
from archlang.ir.graph import Program
from benchmarks.groups import difference, random_state


def of(text: str, inputs: str = "x: [B, 3, H, W]") -> Program:
    return archlang.compile(f"block net({inputs}) {{\n{text}\n}}").program


def summary(program: Program) -> dict[str, tuple[int, list[str]]]:
    """The free groups: their sizes, and the names of the members after the first."""
    return {g.name: (g.size, [m.name for m in g.members[1:]]) for g in find(program) if g.free and g.size > 1}


# name, body of the net, its inputs, free groups
CASES: list[tuple[str, str, str, dict[str, tuple[int, list[str]]]]] = [
    (
        "a sum ties its operands",
        "a = x -> a: conv(8, 1, bias=false); b = x -> b: conv(8, 1)\nreturn (a + b) -> c: conv(2, 1)",
        "x: [B, 3, H, W]",
        {"a.weight[0]": (8, ["b.weight[0]", "b.bias[0]", "c.weight[1]"])},
    ),
    (
        "concatenated parts stay apart",
        "a = x -> a: conv(8, 1, bias=false); b = x -> b: conv(4, 1, bias=false)\n"
        "return concat([a, b, a]) -> c: conv(2, 1)",
        "x: [B, 3, H, W]",
        {"a.weight[0]": (8, ["c.weight[1]", "c.weight[1]+12"]), "b.weight[0]": (4, ["c.weight[1]+8"])},
    ),
    (
        "a split takes a group apart",
        "a, b = x -> a: conv(8, 1, bias=false) -> split([6, 2], 1)\nreturn (a -> c: conv(2, 1)) + (b -> d: conv(2, 1))",
        "x: [B, 3, H, W]",
        {"a.weight[0]": (6, ["c.weight[1]"]), "a.weight[0]+6": (2, ["d.weight[1]"])},
    ),
    (
        "a flattened image has blocks",
        "return x -> a: conv(8, 1, bias=false) -> flatten -> b: linear(2)",
        "x: [B, 3, 4, 5]",
        {"a.weight[0]": (8, ["b.weight[1]*20"])},
    ),
    (
        "groups of a convolution, and what is inside of them",
        "return x -> a: conv(8, 1, bias=false) -> b: conv(12, 3, groups=4, bias=false) -> c: conv(2, 1)",
        "x: [B, 3, H, W]",
        {
            "a.weight[0]*2": (4, ["b.weight[0]*3", "c.weight[1]*3"]),
            "a.weight[0]": (2, ["b.weight[1]"]),
            "b.weight[0]": (3, ["c.weight[1]"]),
        },
    ),
    (
        "a depthwise convolution and gates keep the channels",
        "y = x -> a: conv(8, 1, bias=false) -> b: conv(8, 3, padding=1, groups=8, bias=false)\n"
        "y = y * (y -> global_avgpool(keepdim=true) -> s: conv(4, 1, bias=false) -> r: conv(8, 1, bias=false)\n"
        "    -> sigmoid)\n"
        "return y -> c: conv(2, 1)",
        "x: [B, 3, H, W]",
        {
            "a.weight[0]": (8, ["b.weight[0]", "s.weight[1]", "r.weight[0]", "c.weight[1]"]),
            "s.weight[0]": (4, ["r.weight[1]"]),
        },
    ),
    (
        "heads, and what is inside of them",
        'q, k, v = [x -> "{n}": linear(12, bias=false) -> rearrange("b t (h d) -> b h t d", h=3)'
        ' for n in ["q", "k", "v"]]\n'
        'a = softmax(einsum("b h q d, b h k d -> b h q k", q, k), dim=-1)\n'
        'return (a @ v) -> rearrange("b h t d -> b t (h d)") -> o: linear(2)',
        "x: [B, T, 5]",
        {
            "q.weight[0]*4": (3, ["k.weight[0]*4", "v.weight[0]*4", "o.weight[1]*4"]),
            "q.weight[0]": (4, ["k.weight[0]"]),
            "v.weight[0]": (4, ["o.weight[1]"]),
        },
    ),
    (
        "a shared module ties what it is applied to",
        "m = linear(6, bias=false)\na = x -> a: linear(6, bias=false) -> m -> m\nreturn a -> o: linear(2)",
        "x: [B, 3]",
        {"a.weight[0]": (6, ["m.weight[0]", "m.weight[1]", "o.weight[1]"])},
    ),
    (
        "runs, shuffles, pixel shuffles and weights",
        "weight w: [1, 8, 1, 1] = ones\ny = (x -> a: conv(8, 1, bias=false)) * w\n"
        "y = y -> body: chain([conv(8, 3, padding=1, bias=false) for _ in 0..3]) -> channel_shuffle(2)\n"
        "return y -> pixel_shuffle(2) -> c: conv(2, 1)",
        "x: [B, 3, H, W]",
        {
            "w[1]": (8, ["a.weight[0]", "body.0.weight[1]"]),
            "body.0.weight[0]": (8, ["body.1.weight[1]"]),
            "body.1.weight[0]": (8, ["body.2.weight[1]"]),
            "body.2.weight[0]*2": (2, ["c.weight[1]"]),
        },
    ),
    (
        "a norm over features, a gate by halves, a recurrent layer",
        "y, _ = x -> a: linear(10, bias=false) -> n: layernorm -> glu -> l: gru(3, bias=false)\n"
        "return y -> o: linear(2)",
        "x: [B, T, 4]",
        {
            "a.weight[0]": (
                5,
                ["a.weight[0]+5", "n.weight[0]", "n.weight[0]+5", "n.bias[0]", "n.bias[0]+5", "l.weight_ih_l0[1]"],
            ),
            "l.weight_ih_l0[0]": (3, ["l.weight_hh_l0[0]", "l.weight_hh_l0[1]", "o.weight[1]"]),
        },
    ),
    (
        "an inverse runs the same ties backwards",
        "m = space_to_depth(2)\ny = x -> a: conv(8, 1, bias=false) -> m -> ~m\nreturn y -> c: conv(2, 1)",
        "x: [B, 3, H, W]",
        {"a.weight[0]": (8, ["c.weight[1]"])},
    ),
    (
        "what is picked by order keeps its place, what nobody reads does not",
        "y = x -> a: conv(8, 1, bias=false)\nbest, which = (y[:, 3:4] * y[:, 4:]) -> topk(2, 1)\nreturn best",
        "x: [B, 3, H, W]",
        {"a.weight[0]": (3, [])},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_groups_are_those_derived_by_hand(case: Any) -> None:
    _, body, inputs, expected = case
    program = of(body, inputs)
    assert summary(program) == expected
    assert difference(program, find(program)) < 1e-12


@pytest.mark.parametrize(
    ("spec", "entry", "params"),
    [
        ("resnet", "resnet18", {"classes": 10}),
        ("resnext", "branch_b", {}),
        ("mobilenet_v2", "mobilenet_v2", {"classes": 10}),
        ("densenet", "densenet121", {"classes": 10}),
        ("efficientnet", "efficientnet_b0", {"classes": 10}),
        ("vit", "vit_tiny_patch16_224", {"classes": 10}),
    ],
)
def test_a_random_order_in_every_free_group_changes_nothing(spec: str, entry: str, params: dict[str, Any]) -> None:
    """`python benchmarks/groups.py` tries all designs of specs/."""
    program = archlang.compile(f"specs/{spec}.arch", entry, **params).program
    groups = find(program)
    assert sum(g.size for g in groups.free) > 200
    assert difference(program, groups) < 1e-12


def test_every_member_counts() -> None:
    """The groups are as large as they must be: a reordering that leaves out one member changes what is computed."""
    program = archlang.compile("specs/resnext.arch", "branch_b").program
    groups = find(program)
    torch.manual_seed(0)
    state, x = random_state(program), torch.randn(2, 256, 4, 4, dtype=torch.float64)
    run = Interpreter(program).run
    plain = run([x], state)
    for at in random.Random(0).sample(range(len(groups.groups)), 12):
        group = groups.groups[at]
        if not group.free or group.size == 1:
            continue
        order = [*range(1, group.size), 0]
        rows = groups.arranged(lambda i, at=at, order=order: order if i == at else None)
        torch.testing.assert_close(run([x], arrange(state, rows)), plain, rtol=1e-12, atol=1e-12)
        left_out = {key: dims for key, dims in rows.items() if key != group.members[-1].key}
        assert (run([x], arrange(state, left_out)) - plain).abs().max() > 1e-6


def test_reasons_and_forms(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["groups", "specs/resnet.arch", "-e", "resnet18", "--set", "classes=7"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("resnet18 (specs/resnet.arch): 12 groups of indices that can be reordered together\n")
    assert "the network returns it: fc.weight dim 0, fc.bias dim 0" in text
    assert "the input `image` has it: conv1.weight dim 1" in text
    assert main(["groups", "specs/vit.arch", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    heads = next(g for g in found["groups"] if g["name"] == "blocks.3.attn.qkv.weight[0]*64")
    inside = next(g for g in found["groups"] if g["name"] == "blocks.3.attn.qkv.weight[0]")
    stream = next(g for g in found["groups"] if g["name"] == "cls_token[2]")
    assert heads["size"] == 12 and heads["free"] and heads["prunable"]
    assert inside["size"] == 64 and inside["free"] and not inside["prunable"] and "`attention`" in inside["held"]
    assert stream["size"] == 768 and stream["free"] and not stream["prunable"] and stream["held"] is None
    assert stream["measured"] == "`layernorm` takes statistics over it"
    assert heads["members"][1] == {
        "key": "blocks.3.attn.qkv.weight",
        "dim": 0,
        "offset": 768,
        "block": 64,
        "repeats": [],
    }
