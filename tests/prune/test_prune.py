"""Pruned networks: the spec compiles, its keys are those of before, and it computes what the masked network does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import archlang
from archlang.cli import main
from archlang.elaborate import elaborate, load
from archlang.groups import Groups, find
from archlang.groups.apply import arrange
from archlang.inputs import random_inputs
from archlang.interpret import Interpreter
from archlang.ir.graph import Program
from archlang.ir.walk import counts, parameters
from archlang.keys.tensors import read_tensors, tensor_bytes
from archlang.prune import by_ratio, by_table, shrink
from archlang.report.diagnostic import ArchError, Source
from archlang.unparse import to_arch
from benchmarks.groups import doubled, flat, random_state, small_sizes
from benchmarks.prune import difference, masked


def elaborated(text: str) -> Program:
    return elaborate(load(Source("net.arch", text)), None, {}).program


def compared(program: Program, kept_of: Any, consumers: bool) -> tuple[Program, Groups, dict[int, list[int]]]:
    """Prunes, writes the spec, elaborates it, and compares with the masked network in float64."""
    groups = find(program)
    torch.manual_seed(0)
    state = random_state(program)
    kept = kept_of(groups, state)
    text = to_arch(shrink(program, groups, kept))
    small = elaborated(text)
    sliced = arrange(state, groups.arranged(kept.get))
    assert {e.key: e.decl.shape for e in parameters(small)} == {
        e.key: tuple(sliced[e.alias_of or e.key].shape) for e in parameters(program)
    }
    inputs = doubled(random_inputs(program, small_sizes(program)))
    with torch.no_grad():
        full = flat(Interpreter(program).run(inputs, masked(state, groups, kept, consumers)))
        less = flat(Interpreter(small).run(inputs, sliced))
    for a, b in zip(full, less, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9 * float(a.abs().max()))
    return small, groups, kept


@pytest.mark.parametrize(
    ("spec", "entry", "consumers"),
    [
        ("resnet", "resnet18", True),
        ("resnext", "branch_b", True),
        ("mobilenet_v2", "mobilenet_v2", True),
        ("densenet", "densenet121", True),
        ("efficientnet", "efficientnet_b0", True),
        ("vit", "vit_tiny_patch16_224", False),
        ("lite_hrnet", "naive_lite_hrnet_18", False),
        ("llama", "llama_small", False),
    ],
)
def test_a_pruned_network_is_the_masked_one(spec: str, entry: str, consumers: bool) -> None:
    program = archlang.compile(f"specs/{spec}.arch", entry).program
    small, _, kept = compared(program, lambda groups, state: by_ratio(groups, 0.5, state), consumers)
    assert kept
    before, after = (sum(torch.Size(e.decl.shape).numel() for e in parameters(p)) for p in (program, small))
    assert after < 0.8 * before


@pytest.mark.parametrize(
    ("spec", "entry", "norm"),
    [
        ("vit", "vit_tiny_patch16_224", "layernorm"),
        ("llama", "llama_small", "rmsnorm"),
    ],
)
def test_norms_take_statistics_over_the_channels_that_are_kept(spec: str, entry: str, norm: str) -> None:
    program = archlang.compile(f"specs/{spec}.arch", entry).program
    measured = [group for group in find(program) if group.shrinkable and not group.prunable]
    assert any(f"`{norm}`" in str(group.measured) for group in measured)
    small, worst = difference(program, 0.5, through_norms=True)
    alone, _ = difference(program, 0.5)
    assert worst < 1e-9
    assert counts(small).parameters < 0.7 * counts(alone).parameters


NORMS = """\
block net(x: [B, 3, 4, 4]) {
    y = x -> a: conv(12, 1) -> g: groupnorm(3) -> b: conv(10, 1) -> n: layernorm2d -> c: conv(8, 1)
    return y -> flatten(2) -> transpose(1, 2) -> l: layernorm(bias=false) -> rmsnorm -> o: linear(2)
}
"""


def test_norms_of_all_kinds() -> None:
    program = elaborated(NORMS)
    small, worst = difference(program, 0.5, through_norms=True)
    assert worst < 1e-12
    shapes = {e.key: e.decl.shape for e in parameters(small)}
    assert (shapes["g.weight"], shapes["n.weight"], shapes["l.weight"]) == ((6,), (5,), (4,))


NET = """\
block unit(width: int)(x) {
    y = x -> conv1: conv(2 * width, 3, padding=1, groups=2, bias=false) -> bn1: batchnorm -> relu
          -> conv2: conv(width, 1, bias=false)
    g = y -> global_avgpool(keepdim=true) -> fc1: conv(4, 1) -> relu -> fc2: conv(width, 1) -> sigmoid
    return x + g * y
}

block net(image: [B, 3, 8, 8]) {
    x = image -> stem: conv(16, 3, stride=2, padding=1)
    return x -> body: chain([unit(16) for _ in 0..3]) -> flatten -> norm: layernorm -> head: linear(5)
}
"""


def test_groups_of_a_table_are_cut_and_equal_instances_stay_one_block() -> None:
    table = {f"body.{i}.conv1.weight[0]": [0, 5, 9] for i in range(2)} | {"body.2.fc1.weight[0]": 0.5}
    program = elaborated(NET)
    small, groups, kept = compared(program, lambda groups, _: by_table(groups, table), True)
    names = {groups.groups[i].name: rows for i, rows in kept.items()}
    assert names["body.2.fc1.weight[0]"] == [0, 1]
    assert names["body.0.conv1.weight[0]"] == [1, 2, 3, 4, 6, 7, 8, 10, 11, 12, 13, 14, 15]
    chain = next(g for g in small.graphs if g.block.startswith("chain"))
    assert [(node.path, node.count) for node in chain.nodes] == [("0", 2), ("2", 1)]


def test_what_takes_statistics_over_a_group_keeps_its_size() -> None:
    groups = find(elaborated(NET))
    assert not groups.groups[0].prunable and "`layernorm`" in str(groups.groups[0].measured)
    assert {groups.groups[i].name for i in by_ratio(groups, 0.5)} == {
        f"body.{i}.{layer}.weight[0]" for i in range(3) for layer in ("conv1", "fc1")
    }


@pytest.mark.parametrize(
    ("table", "code", "said"),
    [
        ({"body.0.conv9.weight[0]": 0.5}, "ARC0811", "body.0.conv9.weight[0]"),
        ({"stem.weight[0]*8": [0]}, "ARC0812", "layernorm"),
        ({"stem.weight[0]*8": [0]}, "ARC0812", "--through-norms"),
        ({"head.weight[0]": [0]}, "ARC0812", "the network returns it"),
        ({"body.0.fc1.weight[0]": [0, 4]}, "ARC0813", "has no index 4"),
        ({"body.0.fc1.weight[0]": [0, 1, 2]}, "ARC0813", "1 of 4 indices would be left"),
    ],
)
def test_mistakes_in_a_table(table: dict[str, Any], code: str, said: str) -> None:
    with pytest.raises(ArchError) as error:
        by_table(find(elaborated(NET)), table)
    (finding,) = error.value.diagnostics
    assert finding.code == code and said in finding.message + str(finding.help)


@pytest.mark.parametrize(
    ("spec", "entry", "most"),
    [("resnet", "resnet152", 32), ("mobilenet_v2", "mobilenet_v2", 50), ("densenet", "densenet169", 32)],
)
def test_what_shrinks_alike_stays_a_page_of_text(spec: str, entry: str, most: int) -> None:
    program = archlang.compile(f"specs/{spec}.arch", entry).program
    groups = find(program)
    text = to_arch(shrink(program, groups, by_ratio(groups, 0.5)))
    assert len(text.splitlines()) <= most and max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("power", [1, 2])
def test_the_smallest_weights_go_first(power: int) -> None:
    text = "block net(x: [B, 3]) { return x -> a: linear(6, bias=false) -> relu -> b: linear(2) }"
    groups = find(elaborated(text))
    rows = torch.tensor([[3.0, 0, 0], [2, 2, 0], [9, 9, 9], [1, 1, 1.5], [9, 9, 9], [9, 9, 9]])
    state = {"a.weight": rows, "b.weight": torch.zeros(2, 6), "b.bias": torch.zeros(2)}
    dropped = {1: {0, 3}, 2: {1, 3}}[power]  # sums 3, 4, 27, 3.5; squares 9, 8, 243, 4.25
    (kept,) = by_ratio(groups, 0.34, state, power).values()
    assert {*range(6)} - {*kept} == dropped


def test_no_file_that_is_read_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.arch").write_text(NET, encoding="utf-8")
    Path("small.pt").write_bytes(tensor_bytes(archlang.build("net.arch").state_dict(), False))
    Path("small.json").write_text('{"body.0.fc1.weight[0]": 0.5}', encoding="utf-8")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for words, code in (
        (["--ratio", "0.5", "--weights", "small.pt", "-o", "small.arch"], "ARC0910"),
        (["--groups", "small.json", "-o", "small.arch"], "ARC0910"),
        (["--ratio", "0.5", "-o", "net.arch"], "ARC0910"),
        (["--ratio", "0.5", "-o", "other.json"], "ARC0901"),
    ):
        assert main(["prune", "net.arch", *words]) == 2
        assert code in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_standard_output_gets_the_spec_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.arch").write_text(NET, encoding="utf-8")
    assert main(["prune", "net.arch", "--ratio", "0.5"]) == 0
    plain = capsys.readouterr().out
    assert main(["prune", "net.arch", "--ratio", "0.5", "-o", "-"]) == 0
    assert capsys.readouterr().out == plain
    assert [path.name for path in tmp_path.iterdir()] == ["net.arch"]


@pytest.mark.parametrize(
    ("ratio", "text", "help"),
    [
        ("0.01", NET, "larger share"),
        ("0.5", "block net(x: [B, 3]) { return x -> a: linear(6) -> n: layernorm -> b: linear(2) }", "prunes 1 more"),
        ("0.5", "block net(x: [B, 3]) { return x -> a: linear(6) }", "archc groups"),
    ],
)
def test_that_nothing_is_left_out_is_said(
    ratio: str, text: str, help: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.arch"
    path.write_text(text, encoding="utf-8")
    assert main(["prune", str(path), "--ratio", ratio, "-o", str(tmp_path / "small.arch")]) == 0
    said = capsys.readouterr()
    assert "warning[ARC0812]: nothing is left out" in said.err and help in said.err
    assert "0 channels out of 0 groups" in said.out


@pytest.mark.parametrize("form", ["pt", "safetensors"])
def test_the_command_writes_spec_slices_and_state(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.arch").write_text(NET, encoding="utf-8")
    torch.manual_seed(0)
    model = archlang.build("net.arch").eval()
    Path(f"net.{form}").write_bytes(tensor_bytes(model.state_dict(), form == "safetensors"))
    words = ["--ratio", "50%", "--weights", f"net.{form}", "--norm", "l1", "-o", "small.arch"]
    assert main(["prune", "net.arch", *words]) == 0
    assert main(["check", "small.arch"]) == 0
    state, _ = read_tensors(f"small.{form}")
    small = archlang.build("small.arch").eval()
    small.load_state_dict(state, strict=True)
    written = json.loads(Path("small.json").read_text(encoding="utf-8"))
    for key, dims in written["kept"].items():
        tensor = model.state_dict()[key]
        for dim, rows in dims.items():
            tensor = tensor.index_select(int(dim), torch.tensor(rows))
        assert torch.equal(tensor, state[key])
    for name, gone in written["dropped"].items():  # the consumers of what is gone read zeros
        key = name.split("[")[0].replace("conv1", "conv2").replace("fc1", "fc2")
        weight = model.get_parameter(key)
        places = [p + half for p in gone for half in ((0, 16) if "conv2" in key else (0,))]
        weight.data[:, places] = 0
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(small(x), model(x), rtol=1e-4, atol=1e-5)
