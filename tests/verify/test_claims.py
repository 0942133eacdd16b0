"""Claims of `verify` blocks: every kind held and broken, and what a broken one says."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

import archlang
from archlang.elaborate import load
from archlang.report.diagnostic import Diagnostic, Severity, Source
from archlang.report.text import render
from archlang.verify.check import check_file

SPECS = Path(__file__).parents[2] / "specs"
FILE = """\
let budget = 400
block net(width: int = 8)(image: [B, 3, H, W]) {
    x = image -> stem: conv(width, 3, stride=2, padding=1, bias=false) -> bn: batchnorm -> relu
    return x -> global_avgpool -> fc: linear(10)
}
block big() = net(16)
block pairs(x: [B, 4]) { return a=x, b=x -> argmax(1) }
block halved(x: [B, 4, H, W]) {
    up = x -> maxpool(2) -> interpolate(scale_factor=2)
    # allow ARC0341: what `valid for` is about
    return concat([up, x])
}
block frozen(x: [B, 4]) {
    weight w: [4, 4] = ones, frozen
    return (x @ w) -> fc: linear(4)
}
"""


def found(header: str, claim: str, text: str = FILE) -> list[Diagnostic]:
    module = load(Source("net.arch", f"{text}verify {header} {{\n    {claim}\n}}\n"))
    return [d for d in check_file(module) if not d.code.startswith("ARC04")]


def codes(header: str, claim: str) -> list[str]:
    return [d.code for d in found(header, claim)]


IMAGE = "net() on f32[B, 3, 32, 32]"
PARAMS = 3 * 8 * 9 + 2 * 8 + 8 * 10 + 10


def reference() -> nn.Module:
    stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(stem, nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


def test_the_figures_are_those_of_torch() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    torch.set_num_threads(1)
    net = reference().eval()
    params = sum(p.numel() for p in net.parameters())
    buffers = sum(b.numel() for b in net.buffers())
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 32, 32))
    assert params == PARAMS
    macs = counter.get_total_flops() // 2
    for claim in (f"params == {params}", f"buffers == {buffers}", f"macs == {macs}"):
        assert codes(IMAGE, claim) == [], claim
    for claim in (f"params == {params + 1}", f"buffers == {buffers + 1}", f"macs == {macs - 1}"):
        assert codes(IMAGE, claim) == ["ARC0801"], claim


def test_saved_bytes_are_those_of_torch() -> None:
    net = reference().train()
    kept: dict[int, int] = {}
    own = {p.data_ptr() for p in net.parameters()} | {b.data_ptr() for b in net.buffers()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    image = torch.zeros(4, 3, 32, 32)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = net(image)
    assert output.requires_grad
    total = sum(kept.values())
    assert codes("net() on f32[4, 3, 32, 32]", f"train_memory == {total} +- 1%") == []
    assert codes("net() on f32[4, 3, 32, 32]", f"train_memory == {2 * total} +- 1%") == ["ARC0801"]


HOLD = [
    "params == 0.322k",
    "params == 300 +- 10%",
    "params == 300 +- 22",
    "322 <= params",
    "params < 323",
    "params != 323",
    "params > 321",
    "params >= 322",
    "params in 322 .. 322",
    "params in 330 .. 340 +- 3%",
    "params <= 0.3k +- 25",
    "params <= budget",
    "trainable_params == params",
    "frozen_params == 0",
    "flops >= 2 * macs",
    "depth == 2",
    "receptive_field == 3",
    "infer_memory <= 0.1MiB",
    "params <= 0.51 * big.params",
    "net(16).params - params == big.params - params",
    "(params + params) / 2 == params",
    "-params < 0",
    "output: [B, 10]",
    "output: f32[_, 10]",
    "output: [..., 10]",
    "valid for H >= 1 and W >= 1",
    "valid for training and H >= 3",
    "valid for B == 1",
    "valid for H in 1 .. 4 or not W < 7",
]
BREAK = [
    ("params == 300 +- 7%", "ARC0801"),
    ("params == 300 +- 21", "ARC0801"),
    ("323 <= params", "ARC0801"),
    ("params < 322", "ARC0801"),
    ("params != 322", "ARC0801"),
    ("params > 322", "ARC0801"),
    ("params in 323 .. 400", "ARC0801"),
    ("params in 1 .. 321", "ARC0801"),
    ("params <= 300 +- 1%", "ARC0801"),
    ("frozen_params >= 1", "ARC0801"),
    ("flops < 2 * macs", "ARC0801"),
    ("depth == 3", "ARC0801"),
    ("receptive_field == 5", "ARC0801"),
    ("infer_memory <= 1KiB", "ARC0801"),
    ("big.params <= 1.5 * params", "ARC0801"),
    ("output: [B, 11]", "ARC0802"),
    ("output: i64[B, 10]", "ARC0802"),
    ("output: [B, 10, 1]", "ARC0802"),
    ("output: ([B, 10], [B])", "ARC0802"),
    ("valid for training and H >= 1", "ARC0803"),
    ("valid for H < 1", "ARC0803"),
    ("parms == 322", "ARC0804"),
    ("big.parms == 322", "ARC0804"),
    ("reversibel(net)", "ARC0804"),
    ("output: [B, N]", "ARC0804"),
    ("valid for X > 1", "ARC0804"),
    ('params == "x"', "ARC0806"),
    ("params in 3", "ARC0806"),
    ("params != 322 +- 1", "ARC0806"),
    ("params == 322 +- params", "ARC0806"),
    ("params == 1 / 0", "ARC0806"),
    ("3 == 3", "ARC0806"),
    ("valid for H + 1", "ARC0806"),
    ("valid for H % 0 == 0", "ARC0806"),
    ("outptu: [B, 10]", "ARC0807"),
    ("output[1]: [B, 10]", "ARC0807"),
]


@pytest.mark.parametrize("claim", HOLD)
def test_holds(claim: str) -> None:
    assert codes(IMAGE, claim) == []


@pytest.mark.parametrize(("claim", "code"), BREAK)
def test_does_not_hold(claim: str, code: str) -> None:
    (finding,) = found(IMAGE, claim)
    assert (finding.code, finding.severity) == (code, Severity.ERROR)
    assert finding.span is not None and finding.span.text in f"    {claim}"


@pytest.mark.parametrize(
    ("header", "claim", "expected"),
    [
        ("net() on f32[B, 3, H, W]", "macs == 216 * floor((H + 1) / 2) * floor((W + 1) / 2) + 80", []),
        ("net() on f32[B, 3, H, W]", "macs <= 216 * (H + 1) * (W + 1)", []),
        ("net() on f32[B, 3, H, W]", "macs <= 10 * H * W", ["ARC0801"]),
        ("net() on f32[B, 3, H, W]", "macs == params", ["ARC0801"]),
        ("net() on f32[B, 3, 2 * h, 32]", "macs == 216 * 16 * h + 80", []),
        ("net() on f32[B, 3, 2 * h, 32]", "macs == 216 * 16 * h + 81", ["ARC0801"]),
        ("net() on f32[2, 3, 32, 32]", "output: [2, 10]", []),
        ("pairs()", "a: [B, 4]", []),
        ("pairs()", "b: i64[B]", []),
        ("pairs()", "b: [B]", ["ARC0802"]),
        ("pairs()", "output: ([B, 4], i64[B])", []),
        ("halved() on [B, 4, 2 * h, 2 * w]", "output: [B, 8, 2 * h, 2 * w]", []),
        ("halved() on [B, 4, 2 * h, 2 * w]", "output: [B, 8, h, 2 * w]", ["ARC0802"]),
        ("halved() on [B, 4, 2 * h, 2 * w]", "valid for h >= 1", []),
        ("halved() on [B, 4, 2 * h, 2 * w]", "valid for H % 2 == 0 and W % 2 == 0", []),
        ("halved()", "output: [B, 8, H, W]", []),
        ("halved()", "valid for H >= 2 and W >= 2", ["ARC0803"]),
        ("frozen()", "frozen_params == 16", []),
        ("frozen()", "trainable_params == 20", []),
        ("frozen()", "frozen_params == params", ["ARC0801"]),
        ("frozen()", "receptive_field == 1", ["ARC0805"]),
    ],
)
def test_other_designs(header: str, claim: str, expected: list[str]) -> None:
    assert codes(header, claim) == expected


COUPLED = """
use std.reversible: coupling
reversible block grow(a) { new b = a -> f: linear(4) }
block net(x: [B, 4]) {
    y = x -> halves -> "body.c": coupling(linear(2), linear(2)) -> concat
    return y -> g: grow
}
"""


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ("reversible(coupling)", None),
        ('reversible("body.c")', None),
        ("reversible(grow)", "`grow` is injective, not bijective: it gives more than it takes"),
        ("reversible()", "net() is injective, not bijective: it gives more than it takes"),
        ('reversible("body.d")', "the design has no module `body.d` that could be reversible"),
        ("reversible(1)", "this is neither a block nor a path"),
    ],
)
def test_reversible(claim: str, message: str | None) -> None:
    assert [f.message for f in found("net()", claim, COUPLED)] == ([message] if message else [])


def test_a_design_that_is_not_reversible() -> None:
    (finding,) = found(IMAGE, "reversible()")
    assert finding.code == "ARC0808"
    assert finding.message.startswith("net() is not reversible: ")


def test_an_extern_block_hides_its_figures() -> None:
    text = (
        'extern block outside()(x: [B, 4]) -> [B, 4] = "mine:Block"\nblock net(x: [B, 4]) { return x -> o: outside }\n'
    )
    for claim in ("params == 0", "macs == 0", "train_memory == 0"):
        (finding,) = found("net()", claim, text)
        assert finding.code == "ARC0805" and "extern" in finding.message


def test_a_design_without_types_needs_them_after_on() -> None:
    text = "block net = chain([linear(3), relu])\n"
    assert [d.code for d in found("net()", "params == 15", text)] == ["ARC0320"]
    assert found("net() on [B, 4]", "params == 15", text) == []


def test_figures_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert codes(IMAGE, "train_memory + infer_memory + macs + params + depth + receptive_field > 0") == []


def shown(header: str, claim: str) -> str:
    return "\n".join(render(d) for d in found(header, claim))


def test_a_wrong_figure_shows_its_parts() -> None:
    assert shown(IMAGE, "params == 400") == textwrap.dedent("""\
        error[ARC0801]: `params` is 322, and the claim is 400
          --> net.arch:18:5
           |
        18 |     params == 400
           |     ^^^^^^^^^^^^^ 78 less (-20 %)
           |
           = note: `params` = 322 parameters, of which
                   stem  216   67.1 %
                   fc     90   28.0 %
                   bn     16    5.0 %
        """)


@pytest.mark.parametrize(
    ("claim", "rows"),
    [
        ("macs <= 1k", {"stem": 55296, "fc": 80}),
        ("flops <= 1k", {"stem": 110592, "bn": 4096, "global_avgpool": 2048, "relu": 2048, "fc": 160}),
        ("buffers == 1", {"bn": 17}),
        ("trainable_params <= 3", {"stem": 216, "fc": 90, "bn": 16}),
        ("train_memory <= 1KiB", {"stem": 12288, "bn": 8256, "relu": 8192, "fc": 32}),
        ("infer_memory <= 1KiB", {"image": 12288, "stem": 8192, "bn": 8192}),
        ("depth == 3", {"stem": 1, "fc": 1}),
        ("receptive_field == 5", {"stem": 2}),  # beside the pixel itself
    ],
)
def test_a_wrong_figure_of_each_kind_shows_its_parts(claim: str, rows: dict[str, int]) -> None:
    lines = shown(IMAGE, claim).partition(", of which\n")[2].splitlines()
    shares = {name: int(size.replace(",", "")) for *_, name, size, _, _ in map(str.split, lines)}
    assert shares == rows


def test_peak_memory_shows_what_is_live_at_the_peak() -> None:
    """ResNet-50 in its first bottleneck, where the branch, the shortcut, its convolution and the image are there."""
    (finding,) = found("resnet50() on f32[B, 3, 224, 224]", "infer_memory <= 1MiB", "use zoo.resnet: resnet50\n")
    wide = 256 * 56 * 56 * 4
    rows = [" ".join(row.split()) for row in finding.notes[0].splitlines()[1:]]
    assert rows == [
        *(f"layer1.0.{path} {wide:,} 31.4 %" for path in ("bn3", "downsample.0", "downsample.1")),
        f"input image {3 * 224 * 224 * 4:,} 5.9 %",
    ]


def test_depth_and_field_are_told_along_the_path_that_makes_them() -> None:
    """The 50 layers of the longest path, and its receptive field of 427 pixels, block by block."""
    text = "use zoo.resnet: resnet50\n"
    header = "resnet50() on f32[B, 3, 224, 224]"
    depth, field = (found(header, f"{figure} == 1", text)[0].notes[0] for figure in ("depth", "receptive_field"))
    blocks = {"layer1": 3 * 3, "layer2": 4 * 3, "layer3": 6 * 3, "layer4": 3 * 3, "conv1": 1, "fc": 1}
    assert [tuple(row.split()[:2]) for row in depth.splitlines()[1:]] == [
        (name, str(count)) for name, count in sorted(blocks.items(), key=lambda row: (-row[1], row[0]))
    ]
    assert sum(int(row.split()[1]) for row in field.splitlines()[1:]) == 427 - 1


def test_a_wrong_comparison_shows_both() -> None:
    assert shown(IMAGE, "big.params <= 1.5 * params") == textwrap.dedent("""\
        error[ARC0801]: `big.params` is 634, and the claim is at most 483
          --> net.arch:18:5
           |
        18 |     big.params <= 1.5 * params
           |     ^^^^^^^^^^^^^^^^^^^^^^^^^^ 151 more (+31 %)
           |
           = note: `big.params` = 634 parameters, of which
                   stem  432   68.1 %
                   fc    170   26.8 %
                   bn     32    5.0 %
           = note: `params` = 322 parameters, of which
                   stem  216   67.1 %
                   fc     90   28.0 %
                   bn     16    5.0 %
        """)


def test_a_refused_size_shows_who_refuses() -> None:
    text = shown("halved()", "valid for H >= 2 and W >= 2")
    why = "`concat` along dimension 1 needs equal sizes in dimension 3"
    assert text.replace(why, "WHY") == textwrap.dedent("""\
        error[ARC0803]: `halved()` refuses sizes that are claimed, such as B = 1, H = 2, W = 3
          --> net.arch:18:15
           |
        11 |     return concat([up, x])
           |            --------------- needs 2*(W // 2) == W: WHY
        ...
        18 |     valid for H >= 2 and W >= 2
           |               ^^^^^^^^^^^^^^^^^ true of B = 1, H = 2, W = 3
           |
           = help: it is valid for H mod 2 = 0 and H >= 2 and W mod 2 = 0 and W >= 2, and for no other size
        """)


def test_an_unknown_figure() -> None:
    assert shown(IMAGE, "parms == 3") == textwrap.dedent("""\
        error[ARC0804]: there is no figure `parms`
          --> net.arch:18:5
           |
        18 |     parms == 3
           |     ^^^^^
           |
           = help: did you mean `params`?
        """)


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.arch")), ids=lambda path: path.stem)
def test_the_specs_claims_hold_and_nothing_is_warned_of(path: Path) -> None:
    assert archlang.check(path) == []


def test_a_wrong_claim_in_a_spec_is_found() -> None:
    """The claims of a spec are looked at: each fails when its number is changed."""
    path = SPECS / "resnet.arch"
    text = (
        path.read_text(encoding="utf-8").replace("== 25_557_032", "== 25_557_033").replace("11.5G .. 11.6G", "1G .. 2G")
    )
    assert [d.code for d in archlang.check(text)] == ["ARC0801", "ARC0801"]


def test_a_number_that_is_just_not_to_be_is_no_distance_away() -> None:
    (finding,) = found(IMAGE, f"params != {PARAMS}")
    assert finding.message == f"`params` is {PARAMS}, and the claim is other than {PARAMS}"
    assert finding.label == ""


@pytest.mark.parametrize(
    ("header", "known"), [(IMAGE, "result is `output`"), ("pairs()", "results are `a`, `b`, `output`")]
)
def test_results_are_named_as_they_can_be_claimed(header: str, known: str) -> None:
    (finding,) = found(header, "logits: [B, 10]" if header == "pairs()" else "logits: [_, 10]")
    assert (finding.code, finding.help) == ("ARC0807", f"its {known}")
