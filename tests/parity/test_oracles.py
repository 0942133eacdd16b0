"""The comparison itself: it must see each kind of difference between a spec and its reference."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.parity.oracles import assert_parity, randomise, renamed

SPEC = """
block net(p: float = 0.0)(x: [B, 3, H, W]) -> [B, 5] {
    y = x -> conv: conv(4, 3, padding=1) -> bn: batchnorm -> relu
    return y -> dropout(p) -> global_avgpool -> fc: linear(5)
}
"""
BIAS = r"conv\.bias"  # a bias before batch normalisation


class Net(nn.Module):
    """What SPEC says, as somebody else would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(self.bn(self.conv(x)).relu())
        out: Tensor = self.fc(y.mean((2, 3)))
        return out


def compare(tmp_path: Path, reference: nn.Module, spec: str = SPEC, **arguments: object) -> None:
    path = tmp_path / "net.arch"
    path.write_text(spec)
    arguments = {"no_gradient": BIAS, **arguments}
    assert_parity(str(path), "net", reference, (2, 3, 6, 6), **arguments)  # type: ignore[arg-type]


def changed(old: str, new: str) -> str:
    assert SPEC.count(old) == 1
    return SPEC.replace(old, new)


def test_equal_networks_pass(tmp_path: Path) -> None:
    compare(tmp_path, Net())


def test_key_map(tmp_path: Path) -> None:
    spec = changed("fc:", '"head.0":')
    compare(tmp_path, Net(), spec, key_map=renamed((r"^fc\.", "head.0.")))
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: \"fc.weight\""):
        compare(tmp_path, Net(), spec)
    with pytest.raises(AssertionError, match="two keys to one"):
        compare(tmp_path, Net(), spec, key_map=renamed((r".*", "all")))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("relu", "leaky_relu", "outputs in evaluation differ"),
        ("batchnorm", "batchnorm(eps=1e-3)", "outputs in evaluation differ"),
        ("batchnorm", "batchnorm(momentum=0.2)", "buffer `bn.running_mean` after a step differs"),
        ("dropout(p)", "dropout(0.5)", "outputs in training differ"),
        ("return y", "if training { y = 2 * y }\n    return y", "outputs in training differ"),
        ("padding=1", "padding=2, dilation=2", "outputs in evaluation differ"),
    ],
)
def test_another_function_is_seen(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        compare(tmp_path, Net(), changed(old, new))


class _HalfGradient(Net):
    """The same values, other gradients."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x)).relu()
        y = 0.5 * y + (0.5 * y).detach()
        out: Tensor = self.fc(y.mean((2, 3)))
        return out


def test_other_gradients_of_equal_values_are_seen(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"gradients of `.*` differ by 1\.00e\+00"):
        compare(tmp_path, _HalfGradient())


def test_a_parameter_without_a_gradient_must_be_expected(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"`conv\.bias` has no gradient in the reference"):
        compare(tmp_path, Net(), no_gradient=None)


def test_statistics_and_constants_are_made_different() -> None:
    net = Net()
    torch.manual_seed(0)
    randomise(net, (2, 3, 6, 6))
    for tensor in (net.bn.weight, net.bn.bias, net.bn.running_mean, net.bn.running_var):
        assert tensor is not None and tensor.std() > 0
