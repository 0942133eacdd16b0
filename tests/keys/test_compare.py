"""Comparison by name and shape, against what torch's strict loading says."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from archlang.ir.graph import Graph, WeightDecl
from archlang.ir.walk import Entry
from archlang.keys.compare import compare, removable_prefix

GRAPH = Graph("net", "net", None)


def entries(shapes: dict[str, tuple[int, ...]]) -> list[Entry]:
    return [Entry(key, WeightDecl(key.rpartition(".")[2], shape), None, GRAPH) for key, shape in shapes.items()]


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def test_agrees_with_torch() -> None:
    here = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 10))
    there = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Linear(8, 12), nn.Linear(1, 1))
    result = compare(entries(shapes_of(here)), shapes_of(there))
    missing, unexpected = here[:2].load_state_dict(there[:2].state_dict(), strict=False)
    assert [m.entry.key for m in result.missing] == missing == ["0.bias"]
    assert [u.key for u in result.unexpected] == ["3.weight", "3.bias"]
    assert [(e.key, shape) for e, shape in result.misshaped] == [("2.weight", (12, 8)), ("2.bias", (12,))]
    assert result.agreeing == 6
    assert not unexpected
    assert not result.equal


def test_equal() -> None:
    module = nn.LSTM(3, 4)
    result = compare(entries(shapes_of(module)), shapes_of(module))
    assert result.equal and result.agreeing == 4


def test_absent_counters_are_what_torch_makes_of_them() -> None:
    module = nn.Sequential(nn.BatchNorm2d(4))
    state = {key: value for key, value in module.state_dict().items() if "num_batches" not in key}
    nn.Sequential(nn.BatchNorm2d(4)).load_state_dict(state, strict=True)  # torch: no complaint
    result = compare(entries(shapes_of(module)), {key: tuple(value.shape) for key, value in state.items()})
    assert result.equal and result.counters == 1


def test_buffers_that_are_not_kept_do_not_count() -> None:
    entry = Entry("mask", WeightDecl("mask", (3,), kind="buffer", persistent=False), None, GRAPH)
    assert compare([entry], {}).equal


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("layer1.0.conv1.weight", "layer1.0.covn1.weight"),
        ("layer1.0.conv1.weight", "module.layer1.0.conv1.weight"),
        ("fc.weight", "fc.weights"),
        ("blocks.0.attn.qkv.weight", "blocks.0.attention.qkv.weight"),
    ],
)
def test_typos_are_matched(spec: str, found: str) -> None:
    rest = {f"layer{i}.1.conv2.weight": (4, 4) for i in range(3)}
    result = compare(entries({**rest, spec: (8, 3)}), {**rest, found: (8, 3)})
    (missing,), (unexpected,) = result.missing, result.unexpected
    assert missing.nearest == found
    assert unexpected.nearest is not None and unexpected.nearest.key == spec


def test_the_same_shape_goes_before_a_nearer_name() -> None:
    result = compare(entries({"fc.weight": (10, 8)}), {"fd.weight": (3, 3), "head.weight": (10, 8)})
    assert result.missing[0].nearest == "head.weight"


def test_indices_at_the_end_are_kept() -> None:
    spec = {f"layer3.{i}.conv2.weight": (4, 4) for i in range(36)}
    result = compare(entries(spec), {key.replace("layer3", "stages.2"): shape for key, shape in spec.items()})
    for missing in result.missing:
        assert missing.nearest == missing.entry.key.replace("layer3", "stages.2")
    for unexpected in result.unexpected:
        assert unexpected.nearest is not None
        assert unexpected.nearest.key == unexpected.key.replace("stages.2", "layer3")


def test_nothing_near_is_nothing() -> None:
    result = compare(entries({"fc.weight": (10, 8)}), {"optimizer_step": ()})
    assert result.missing[0].nearest is None


def test_prefixes() -> None:
    spec = entries({"conv.weight": (1,), "conv.bias": (1,)})
    assert removable_prefix(spec, {"module.conv.weight": (1,), "module.conv.bias": (1,)}) == "module."
    assert removable_prefix(spec, {"module.conv.weight": (1,), "conv.bias": (1,)}) is None
    assert removable_prefix(spec, {"conv.weight": (1,), "conv.bias": (1,)}) is None


def test_thousands_of_strangers_are_quick() -> None:
    spec = {f"layer{i}.{j}.conv.weight": (64, 64, 3, 3) for i in range(40) for j in range(50)}
    found = {key.replace("layer", "stages.").replace("conv", "c"): shape for key, shape in spec.items()}
    start = time.process_time()
    result = compare(entries(spec), found)
    assert time.process_time() - start < 20
    assert len(result.missing) == len(result.unexpected) == 2000
    assert torch.tensor([m.nearest is not None for m in result.missing]).all()
