"""Generated networks against torch modules written by hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archlang
from tests.codegen.features import FEATURES
from tests.codegen.load import network
from tests.codegen.nets import resnet


class Residual(nn.Module):
    """A bottleneck as in the paper, torchvision's names."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * 4)
        if stride != 1 or channels != width * 4:
            conv = nn.Conv2d(channels, width * 4, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(width * 4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        y = self.bn3(self.conv3(y))
        return (y + (self.downsample(x) if hasattr(self, "downsample") else x)).relu()


class ByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(Residual(64, 64, 1), Residual(256, 64, 1), Residual(256, 64, 1))
        self.layer2 = nn.Sequential(Residual(256, 128, 2), Residual(512, 128, 1))
        self.fc = nn.Linear(512, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        x = self.layer2(self.layer1(x))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


def test_resnet() -> None:
    """State dicts load strictly; outputs and all gradients agree in training, in float64."""
    ours, theirs = network(resnet((3, 2), 7)).double(), ByHand().double()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    a, b = ours(x), theirs(x)
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    a.square().sum().backward()
    b.square().sum().backward()
    expected = {name: p.grad for name, p in theirs.named_parameters()}
    for name, p in ours.named_parameters():
        torch.testing.assert_close(p.grad, expected[name], rtol=1e-9, atol=1e-9)


def test_training_decides_the_result() -> None:
    net = network(FEATURES["phases"][0]())
    x = torch.randn(2, 3, 8, 8)
    stem, aux = net.get_submodule("stem"), net.get_submodule("aux")
    y = stem(x)
    result = net.train()(x)
    assert type(result).__name__ == "NetOutput"
    assert torch.equal(result.aux, aux(y.mean((2, 3))))
    assert torch.equal(result.logits, (2 * y).relu().mean((2, 3)))
    assert torch.equal(net.eval()(x), y.sigmoid().mean((2, 3)))


def test_nonzero_weight() -> None:
    net = network(FEATURES["declared_weights"][0]())
    x = torch.randn(2, 8)
    with torch.no_grad():
        net.get_parameter("gain").fill_(-1e-9)
    rest = net.get_parameter("deep.bias")
    expected = (x * net.get_parameter("scale") + net.get_parameter("shift")) * -0.001 + rest
    torch.testing.assert_close(net(x), expected)


def test_weights_are_declared_as_asked() -> None:
    net = network(FEATURES["declared_weights"][0]())
    assert set(net.state_dict()) == {"scale", "shift", "gain", "deep.bias"}
    assert not net.get_parameter("shift").requires_grad
    assert net.get_parameter("scale").requires_grad
    assert torch.equal(net.get_buffer("seen"), torch.zeros(8))
    assert 0 < net.get_parameter("shift").std() < 0.1


def test_initialisation_reaches_every_weight() -> None:
    net = network(FEATURES["initialised"][0]())
    for name, p in net.named_parameters():
        if name.endswith("bias") and name != "a.bias":
            assert torch.equal(p, torch.zeros_like(p)), name
    a = net.get_parameter("a.weight").detach()
    torch.testing.assert_close(a @ a.T, torch.eye(8), atol=1e-5, rtol=0)


def test_paths_are_the_keys() -> None:
    net = network(FEATURES["containers"][0]())
    paths = ("a.0", "a.1", "b.one", "b.two", "c.pop", "d.e.f", "0", "lambda", "g.3", "__x")
    assert set(net.state_dict()) == {f"{path}.{name}" for path in paths for name in ("weight", "bias")}


def test_shared_and_borrowed_modules_are_one() -> None:
    net = network(FEATURES["shared_module"][0]())
    assert net.get_submodule("fc") is net.get_submodule("head") is net.get_submodule("tied.head")
    assert len(list(network(FEATURES["borrowed_module"][0]()).parameters())) == 2


def test_swept_initialisation() -> None:
    """The root's loop reaches the convolutions of its blocks, biases included, and nothing else."""
    torch.manual_seed(0)
    net = network(FEATURES["swept"][0]())
    assert torch.equal(net.get_parameter("inner.a.bias"), torch.zeros(3))
    assert net.get_parameter("inner.fc.bias").abs().max() > 0
    draws = torch.cat([network(FEATURES["swept"][0]()).get_parameter("inner.a.weight").flatten() for _ in range(200)])
    assert abs(float(draws.detach().std()) - (2 / 3) ** 0.5) < 0.05


def test_a_phase_in_which_nothing_is_computed_is_left_out() -> None:
    text = archlang.compile("block net(x: [B, 8]) { if training { x = x -> identity }\n return x -> relu }").source
    assert "if self.training" not in text
