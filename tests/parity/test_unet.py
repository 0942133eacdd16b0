"""U-Net against a module written by hand here."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import archlang
from archlang.interpret import InterpreterModule, InterpretError
from tests.parity.oracles import SPECS, assert_parity


class _Double(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (inputs, width):
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.double_conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.double_conv(x)
        return result


class _Down(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), _Double(inputs, width))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.maxpool_conv(x)
        return result


class _Up(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, inputs // 2, kernel_size=2, stride=2)
        self.conv = _Double(inputs, width)

    def forward(self, low: Tensor, skip: Tensor) -> Tensor:
        result: Tensor = self.conv(torch.cat((skip, self.up(low)), 1))
        return result


class _Out(nn.Module):
    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(x)
        return result


class _UNet(nn.Module):
    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        self.inc = _Double(channels, width)
        self.down1, self.down2 = _Down(width, 2 * width), _Down(2 * width, 4 * width)
        self.down3, self.down4 = _Down(4 * width, 8 * width), _Down(8 * width, 16 * width)
        self.up1, self.up2 = _Up(16 * width, 8 * width), _Up(8 * width, 4 * width)
        self.up3, self.up4 = _Up(4 * width, 2 * width), _Up(2 * width, width)
        self.outc = _Out(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        one = self.inc(x)
        two = self.down1(one)
        three = self.down2(two)
        four = self.down3(three)
        y = self.up1(self.down4(four), four)
        y = self.up2(y, three)
        y = self.up3(y, two)
        result: Tensor = self.outc(self.up4(y, one))
        return result


def test_unet() -> None:
    assert_parity("unet.arch", "unet", _UNet(3, 2, 64), (2, 3, 32, 48))


def test_another_width() -> None:
    params = {"channels": 1, "classes": 5, "width": 8}
    assert_parity("unet.arch", "unet", _UNet(1, 5, 8), (2, 1, 64, 32), params)


@pytest.mark.parametrize("sides", [(32, 48), (16, 16), (40, 32), (32, 8)])
def test_valid_sizes_are_multiples_of_16(sides: tuple[int, int]) -> None:
    program = archlang.compile(SPECS / "unet.arch", "unet", width=4).program
    module = InterpreterModule(program).eval()
    image = torch.randn(1, 3, *sides)
    if all(side % 16 == 0 for side in sides):
        assert module(image).shape == (1, 2, *sides)
    else:
        with pytest.raises(InterpretError):
            module(image)
