"""The groups are those that torch-pruning finds by tracing the reference implementation."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

import archlang
from archlang.groups import find
from archlang.groups.apply import arrange
from archlang.prune import by_table, shrink
from archlang.unparse import to_arch
from tests.references import package

Places = frozenset[tuple[str, str, tuple[int, ...]]]  # a module, its "in" or "out" channels, which of them


def theirs(model: nn.Module, inputs: torch.Tensor, last: nn.Module, **options: Any) -> set[Places]:
    """For each of their groups the channels of each convolution, norm and linear layer."""
    pruning = package("torch_pruning")
    names = {module: name for name, module in model.named_modules()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = pruning.DependencyGraph().build_dependency(model, example_inputs=inputs, **options)
    found = set()
    for group in graph.get_all_groups(ignored_layers=[last]):
        places: dict[tuple[str, str], set[int]] = {}
        for dependency, indices in group:
            module, side = dependency.target.module, "in" if "in_channels" in dependency.handler.__name__ else "out"
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.LayerNorm)):
                one = isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)) or getattr(module, "groups", 1) > 1
                places.setdefault((names[module], "out" if one else side), set()).update(indices)
        found.add(frozenset((name, side, tuple(sorted(which))) for (name, side), which in places.items()))
    return found


def ours(spec: str, entry: str, keep: Any = lambda group: True) -> set[Places]:
    """For each free group the same."""
    found = set()
    for group in find(archlang.compile(f"specs/{spec}.arch", entry).program):
        if group.free and group.size > 1 and keep(group):
            places: dict[tuple[str, str], set[int]] = {}
            for member in group.members:
                module, _, tensor = member.key.rpartition(".")
                if tensor in ("weight", "bias"):
                    here = places.setdefault((module, "in" if member.dim else "out"), set())
                    here.update(place for i in range(group.size) for place in member.places(i))
            found.add(frozenset((name, side, tuple(sorted(which))) for (name, side), which in places.items()))
    return found


@pytest.mark.parametrize(
    ("spec", "name", "last", "count"),
    [
        ("resnet", "resnet50", "fc", 37),
        ("mobilenet_v2", "mobilenet_v2", "classifier.1", 25),
        ("densenet", "densenet121", "classifier", 120),
    ],
)
def test_groups_of_a_convolutional_network(spec: str, name: str, last: str, count: int) -> None:
    model = getattr(package("torchvision").models, name)()
    reference = theirs(model, torch.zeros(1, 3, 64, 64), model.get_submodule(last))
    assert len(reference) == count
    assert ours(spec, name) == reference


def vision_transformer(name: str) -> tuple[Any, list[tuple[Any, int]]]:
    """timm's, and its parameters outside of modules, with the dimension of their channels."""
    timm = package("timm")
    fused = timm.layers.use_fused_attn()
    timm.layers.set_fused_attn(False)  # whose backward pass the tracing does not follow
    try:
        model = timm.create_model(name)
    finally:
        timm.layers.set_fused_attn(bool(fused))
    return model, [(model.cls_token, 2), (model.pos_embed, 2)]


def test_groups_of_a_vision_transformer() -> None:
    """A trace sees one group in an attention. The op's entry says more: heads, and what is inside of each."""
    name = "vit_tiny_patch16_224"
    model, free = vision_transformer(name)
    reference = theirs(model, torch.zeros(1, 3, 224, 224), model.head, unwrapped_parameters=free)
    assert len(reference) == 25
    assert ours("vit", name, lambda group: ".attn.qkv." not in group.name or "*" in group.name) == reference
    inside = ours("vit", name) - reference
    assert len(inside) == 24
    assert {name.rsplit(".", 1)[0].split(".")[-1] for places in inside for name, _, _ in places} == {"attn"}


def test_the_stream_of_a_vision_transformer_is_pruned_as_theirs() -> None:
    """The same channels of the residual stream, which layer norms take statistics over, left out by both."""
    name = "vit_tiny_patch16_224"
    model, free = vision_transformer(name)
    model = model.double().eval()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    images = torch.randn(1, 3, 224, 224, dtype=torch.float64)
    gone = [0, 5, 6, 100, 191]
    pruning = package("torch_pruning")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = pruning.DependencyGraph().build_dependency(model, example_inputs=images, unwrapped_parameters=free)
        root = model.patch_embed.proj
        graph.get_pruning_group(root, pruning.prune_conv_out_channels, idxs=gone).prune()
    program = archlang.compile("specs/vit.arch", name).program
    groups = find(program)
    kept = by_table(groups, {"cls_token[2]": gone}, through_norms=True)
    small = archlang.build(to_arch(shrink(program, groups, kept))).double().eval()
    state = arrange(before, groups.arranged(kept.get))
    assert {key: tensor.shape for key, tensor in model.state_dict().items()} == {k: t.shape for k, t in state.items()}
    small.load_state_dict(state, strict=True)
    with torch.no_grad():
        torch.testing.assert_close(small(images), model(images), rtol=1e-9, atol=1e-9)
