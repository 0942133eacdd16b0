"""Inception v3 against torchvision: with and without the auxiliary head, which exists in training only."""

from __future__ import annotations

import pytest
import torch

import archlang
from archlang.interpret import InterpreterModule, InterpretError
from tests.parity.oracles import SPECS, assert_parity, difference, torchvision_model


def test_with_the_auxiliary_head() -> None:
    # 299 is the least size at which the head's 5x5 convolution has something to see
    reference = torchvision_model("inception_v3", init_weights=False)
    assert_parity("inception_v3.arch", "inception_v3", reference, (2, 3, 299, 299), {"dropout_p": 0.0})


@pytest.mark.parametrize("transform_input", [False, True])
def test_without_the_auxiliary_head(transform_input: bool) -> None:
    options = {"transform_input": transform_input}
    reference = torchvision_model("inception_v3", init_weights=False, aux_logits=False, **options)
    params = {"aux": False, "dropout_p": 0.0, **options}
    assert_parity("inception_v3.arch", "inception_v3", reference, (2, 3, 75, 91), params)


@pytest.mark.parametrize("side", [74, 75, 298, 299])
def test_valid_sizes_are_those_of_the_reference(side: int) -> None:
    reference = torchvision_model("inception_v3", init_weights=False, num_classes=2)
    program = archlang.compile(SPECS / "inception_v3.arch", classes=2).program
    module = InterpreterModule(program)
    image = torch.randn(2, 3, side, side)
    for training, least in ((False, 75), (True, 299)):
        module.train(training)
        reference.train(training)
        if side >= least:
            reference(image)
            module(image)
        else:
            with pytest.raises((RuntimeError, ValueError)):
                reference(image)
            with pytest.raises(InterpretError):
                module(image)


def test_results_of_the_two_phases() -> None:
    module = archlang.build(SPECS / "inception_v3.arch", classes=10)
    image = torch.randn(2, 3, 299, 299)
    with torch.no_grad():
        trained = module(image)
        assert trained._fields == ("logits", "aux_logits")
        assert trained.logits.shape == trained.aux_logits.shape == (2, 10)
        plain = module.eval()(image)
    assert type(plain) is torch.Tensor and plain.shape == (2, 10)


def test_the_head_does_not_touch_evaluation() -> None:
    with_head = archlang.build(SPECS / "inception_v3.arch", classes=10).eval()
    without = archlang.build(SPECS / "inception_v3.arch", classes=10, aux=False).eval()
    state = {key: value for key, value in with_head.state_dict().items() if not key.startswith("AuxLogits.")}
    without.load_state_dict(state, strict=True)
    image = torch.randn(1, 3, 75, 75)
    with torch.no_grad():
        assert difference(without(image), with_head(image)) == 0
