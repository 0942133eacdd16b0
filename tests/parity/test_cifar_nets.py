"""Dense, sparse, fractal and pyramidal networks against pytorchcv, whose names are mapped to those of the specs."""

from __future__ import annotations

import re

import pytest
from torch import nn

import archlang
from tests.parity.oracles import SPECS, assert_layout, assert_parity, pytorchcv_model, renamed


def _layer(match: re.Match[str]) -> str:
    return f".{'norm' if match[2] == 'bn' else 'conv'}{match[1] or 1}."


def _transition(match: re.Match[str]) -> str:
    return f"features.transition{int(match[1]) - 1}.{'norm' if match[2] == 'bn' else 'conv'}."


DENSE = renamed(
    (r"^features\.init_block\.(conv\.)?weight", "features.conv0.weight"),
    (r"^features\.init_block\.bn\.", "features.norm0."),
    (r"^features\.stage(\d)\.trans\d?\.conv\.(bn|conv)\.", _transition),
    (r"^features\.stage(\d)\.(?:blocks\.block|unit)(\d+)\.", r"features.denseblock\1.denselayer\2."),
    (r"\.conv(\d?)\.(bn|conv)\.", _layer),
    (r"^features\.post_activ\.bn\.", "features.norm5."),
    (r"^output\.", "classifier."),
)
PYRAMID = renamed(
    (r"^features\.", ""),
    (r"^init_block\.conv\.", "conv."),
    (r"^init_block\.bn\.", "bn1."),
    (r"^post_activ\.bn\.", "bn."),
    (r"^output\.", "fc."),
    (r"\bunit(\d+)\b", lambda unit: str(int(unit[1]) - 1)),
    (r"\bbody\.conv(\d)\.(bn|conv)\b", lambda layer: f"{layer[2]}{layer[1]}"),
)


def _fractal(key: str, columns: int = 3) -> str:
    """Layer i of column j (both from 1) of a block: the way to it through the halves of the expansion rule."""
    found = re.fullmatch(r"features\.(unit\d)\.block\.blocks\.block(\d)\.subblock(\d)\.(.*)", key)
    if found is None:
        return key
    unit, row, column, rest = found[1], int(found[2]), int(found[3]), found[4]
    turns = columns - column
    place = row // 2 ** (column - 1) - 1
    halves = ["second" if place >> bit & 1 else "first" for bit in reversed(range(turns))]
    return ".".join([unit, *halves, "layer", rest])


def test_the_key_maps_are_what_they_say() -> None:
    assert DENSE("features.stage2.trans.conv.bn.bias") == "features.transition1.norm.bias"
    assert DENSE("features.stage2.blocks.block10.conv2.conv.weight") == "features.denseblock2.denselayer10.conv2.weight"
    assert DENSE("features.stage1.unit1.conv.bn.weight") == "features.denseblock1.denselayer1.norm1.weight"
    assert _fractal("features.unit1.block.blocks.block4.subblock3.bn.bias") == "unit1.layer.bn.bias"
    assert _fractal("features.unit1.block.blocks.block3.subblock1.bn.bias") == "unit1.second.first.layer.bn.bias"
    assert _fractal("features.unit1.block.blocks.block2.subblock2.bn.bias") == "unit1.first.layer.bn.bias"


def test_sparsenet121() -> None:
    reference = pytorchcv_model("sparsenet121")
    reference.features.final_pool = nn.AdaptiveAvgPool2d(1)  # of images of 224 pixels it is that
    shape = (2, 3, 64, 64)  # at 32, a norm over two numbers would give 1 and -1, whatever they are
    assert_parity("sparsenet.arch", "sparsenet121", reference, shape, key_map=DENSE)


@pytest.mark.parametrize("bottlenecks", [False, True])
def test_densenet40(bottlenecks: bool) -> None:
    reference = pytorchcv_model(f"densenet40_k12{'_bc' if bottlenecks else ''}_cifar10")
    params = {"depth": 40, "growth": 12, "bc": bottlenecks, "halve": True}
    assert_parity("densenet.arch", "densenet_cifar", reference, (1, 3, 32, 32), params, key_map=DENSE)


def test_pyramidnet110_a48() -> None:
    reference = pytorchcv_model("pyramidnet110_a48_cifar10")
    # what is added to a channel of the stream everywhere alike, each branch and the last normalisation take away again
    biases = r"(bn1|stage\d\.\d+\.bn)\.bias"
    shape = (1, 3, 32, 32)
    assert_parity("pyramidnet.arch", "pyramidnet110_a48", reference, shape, key_map=PYRAMID, no_gradient=biases)


def test_fractalnet() -> None:
    reference = pytorchcv_model("fractalnet_cifar10")
    reference.glob_drop_ratio = 0.0
    for module in reference.modules():
        if hasattr(module, "loc_drop_prob"):
            module.loc_drop_prob = 0.0
    params = {"drop": 0.0, "path_drop": 0.0, "alone": 0.0}
    assert_parity("fractalnet.arch", "fractalnet", reference, (2, 3, 32, 32), params, key_map=_fractal)


@pytest.mark.parametrize(
    ("spec", "entry", "reference"),
    [
        *[("sparsenet", f"sparsenet{depth}", f"sparsenet{depth}") for depth in (161, 169, 201, 264)],
        *[("pyramidnet", f"pyramidnet110_a{alpha}", f"pyramidnet110_a{alpha}_cifar10") for alpha in (84, 270)],
        *[
            ("pyramidnet", f"pyramidnet{name}_bn", f"pyramidnet{name}_bn_cifar10")
            for name in ("164_a270", "200_a240", "236_a220", "272_a200")
        ],
    ],
)
def test_layout(spec: str, entry: str, reference: str) -> None:
    key_map = DENSE if spec == "sparsenet" else PYRAMID
    assert_layout(f"{spec}.arch", entry, lambda: pytorchcv_model(reference), key_map=key_map)


@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_column_of_a_fractal_has_its_keys(column: int) -> None:
    whole = archlang.build(SPECS / "fractalnet.arch", "fractalnet", widths=[8, 16]).state_dict()
    plain = archlang.build(SPECS / "fractalnet.arch", "fractalnet_column", column=column, widths=[8, 16])
    plain.load_state_dict({key: whole[key] for key in plain.state_dict()}, strict=True)
