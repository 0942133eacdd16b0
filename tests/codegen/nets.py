"""Networks of the bars, as the elaborator would build them."""

from __future__ import annotations

from functools import cache

from archlang.ir.graph import Graph, Program
from tests.codegen.build import B, Block, H, W, chain, program


@cache
def bottleneck(channels: int, width: int, stride: int) -> Graph:
    """torchvision's residual bottleneck."""
    b = Block(f"bottleneck_{channels}_{width}_{stride}", block="bottleneck", line=5, width=width, stride=stride)
    x = b.input(B, channels, H, W)
    y = b.op(
        "relu",
        b.op("batchnorm", b.op("conv", x, path="conv1", out_channels=width, kernel_size=1, bias=False), path="bn1"),
    )
    y = b.op("conv", y, path="conv2", out_channels=width, kernel_size=3, stride=stride, padding=1, bias=False)
    y = b.op("relu", b.op("batchnorm", y, path="bn2"))
    y = b.op("conv", y, path="conv3", out_channels=4 * width, kernel_size=1, bias=False)
    y = b.op("batchnorm", y, path="bn3", bind="y")
    if stride != 1 or channels != 4 * width:
        conv = ("conv", {"out_channels": 4 * width, "kernel_size": 1, "stride": stride, "bias": False})
        down = chain(f"down_{channels}_{width}_{stride}", (B, channels, H, W), [conv, ("batchnorm", {})])
        x = b.call(down, x, path="downsample", bind="x")
    b.returns(b.op("relu", b.op("add", y, x)))
    return b.graph


def resnet(depths: tuple[int, ...] = (3, 4, 6, 3), classes: int = 1000) -> Program:
    r = Block(
        "resnet50", line=20, doc="Deep Residual Learning (He et al., 2015).\n\nMore.", depths=depths, classes=classes
    )
    image = r.input(B, 3, H, W, name="image")
    x = r.op("conv", image, path="conv1", out_channels=64, kernel_size=7, stride=2, padding=3, bias=False)
    x = r.op("relu", r.op("batchnorm", x, path="bn1"))
    x = r.op("maxpool", x, kernel_size=3, stride=2, padding=1, bind="x")
    for s, depth in enumerate(depths):
        width = 64 * 2**s
        first = bottleneck(x.type.shape[1], width, 2 if s else 1)  # type: ignore[arg-type]
        steps: list[object] = [first]
        if depth > 1:
            steps.append((bottleneck(4 * width, width, 1), depth - 1))
        stage = chain(f"stage_{s}", (B, x.type.shape[1], H, W), steps, block="chain")
        x = r.call(stage, x, path=f"layer{s + 1}", bind="x")
    r.returns(r.op("linear", r.op("global_avgpool", x), path="fc", out_features=classes))
    return program(r.graph)


@cache
def preunit(channels: int, width: int, stride: int) -> Graph:
    """A pre-activation bottleneck; the shortcut of a unit that changes the shape reads the activated input."""
    b = Block(f"unit_{channels}_{width}_{stride}", block="preunit", line=3, width=width, stride=stride)
    x = b.input(B, channels, H, W)
    a = b.op("relu", b.op("batchnorm", x, path="bn1"), bind="a")
    y = b.op("conv", a, path="conv1", out_channels=width, kernel_size=1, bias=False)
    y = b.op("relu", b.op("batchnorm", y, path="bn2"))
    y = b.op("conv", y, path="conv2", out_channels=width, kernel_size=3, stride=stride, padding=1, bias=False)
    y = b.op("relu", b.op("batchnorm", y, path="bn3"))
    y = b.op("conv", y, path="conv3", out_channels=4 * width, kernel_size=1, bias=False, bind="y")
    if stride != 1 or channels != 4 * width:
        x = b.op("conv", a, path="shortcut", out_channels=4 * width, kernel_size=1, stride=stride, bias=False, bind="x")
    b.returns(b.op("add", x, y))
    return b.graph


def preresnet(units: int = 111, classes: int = 10) -> Program:
    """Identity Mappings in Deep Residual Networks, on CIFAR; 111 units a stage make 1001 layers."""
    r = Block("preresnet1001", line=30, units=units, classes=classes)
    image = r.input(B, 3, H, W, name="image")
    x = r.op("conv", image, path="conv", out_channels=16, kernel_size=3, padding=1, bias=False, bind="x")
    for s in range(3):
        width = 16 * 2**s
        channels: int = x.type.shape[1]  # type: ignore[assignment]
        steps = [preunit(channels, width, 2 if s else 1), (preunit(4 * width, width, 1), units - 1)]
        x = r.call(chain(f"stage_{s}", (B, channels, H, W), steps, block="chain"), x, path=f"stage{s + 1}", bind="x")
    x = r.op("relu", r.op("batchnorm", x, path="bn"))
    r.returns(r.op("linear", r.op("global_avgpool", x), path="fc", out_features=classes))
    return program(r.graph)
