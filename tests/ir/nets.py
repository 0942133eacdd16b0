"""Small programs that several tests share, each with the torch module that computes the same function by hand."""

from __future__ import annotations

import torch
from torch import nn

from archlang.ir.graph import Graph, Program
from tests.ir.build import Build, constant


def residual() -> tuple[Program, nn.Module]:
    """conv -> 3 residual units (a run) -> a unit of another width -> flatten -> linear; H and W are symbols."""

    def unit(name: str, channels: int, out: int) -> Graph:
        b = Build(name, "B H W", out=out)
        x = b.input("x", f"B {channels} H W")
        y = b.op("conv", x, path="conv1", out_channels=out, kernel_size=3, padding=1, bias=False, name="y")
        y = b.op("tanh", y, name="y")
        y = b.op("conv", y, path="conv2", out_channels=out, kernel_size=3, padding=1, name="y")
        if channels != out:
            x = b.op("conv", x, path="short.0", out_channels=out, kernel_size=1, name="x")
        return b.output(b.op("tanh", b.op("add", y, x)))

    narrow, wide = unit("unit", 4, 4), unit("unit_2", 4, 6)
    b = Build("net", "B", classes=5)
    x = b.input("image", "B 3 8 8")
    x = b.op("conv", x, path="stem", out_channels=4, kernel_size=3, stride=2, padding=1, name="x")
    (x,) = b.call(narrow, x, path="stage.0", count=3)
    (x,) = b.call(wide, x, path="stage.3")
    b.output(b.op("linear", b.op("flatten", x), path="fc", out_features=5))

    class Unit(nn.Module):
        def __init__(self, channels: int, out: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, out, 3, padding=1, bias=False)
            self.conv2 = nn.Conv2d(out, out, 3, padding=1)
            self.short = nn.Sequential(nn.Conv2d(channels, out, 1)) if channels != out else nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv2(torch.tanh(self.conv1(x)))
            return torch.tanh(y + self.short(x))

    net = nn.Sequential()
    net.add_module("stem", nn.Conv2d(3, 4, 3, 2, 1))
    net.add_module("stage", nn.Sequential(Unit(4, 4), Unit(4, 4), Unit(4, 4), Unit(4, 6)))
    net.add_module("flat", nn.Flatten())
    net.add_module("fc", nn.Linear(6 * 16, 5))
    return b.program(), net


def tower(count: int) -> Program:
    """`count` equal units with one linear and one scale each."""
    u = Build("unit", "B")
    x = u.input("x", "B 3")
    scale = u.weight("scale", (3,), init=constant(0.5))
    y = u.op("tanh", u.op("linear", x, path="fc", out_features=3))
    u.output(u.op("add", x, u.op("mul", y, scale)))
    b = Build("tower", "B")
    (y,) = b.call(u.graph, b.input("x", "B 3"), path="units.0", count=count)
    b.output(y)
    return b.program()


def borrowed() -> Program:
    """Two couplings that share `m`, which their caller owns; the coupling hands it on to a block that runs it."""
    apply = Build("apply", "B")
    x = apply.input("x", "B 4")
    lent = Build("m", "B")
    lent.op("linear", lent.input("x", "B 4"), path="m", out_features=4)
    child = lent.graph.children["m"]
    apply.borrow("f", child)
    apply.output(apply.op("tanh", apply.op("linear", x, path="f", out_features=4)))

    coupling = Build("coupling", "B")
    a, c = coupling.input("a", "B 4"), coupling.input("b", "B 4")
    coupling.borrow("f", child)
    coupling.borrow("g", child)
    (fa,) = coupling.call(apply.graph, c, path="inner", modules={"f": "f"})
    a = coupling.op("add", a, fa)
    c = coupling.op("add", c, coupling.op("linear", a, path="g", out_features=4))
    coupling.output(a)
    coupling.output(c)

    b = Build("net", "B")
    x, y = b.input("x", "B 4"), b.input("y", "B 4")
    b.graph.children["m"] = child
    lin = b.op("linear", x, path="own", out_features=4)
    x, y = b.call(coupling.graph, x, y, path="first", modules={"f": "m", "g": "own"})
    x, y = b.call(coupling.graph, x, y, path="second", modules={"f": "m", "g": "m"})
    b.output(b.op("add", b.op("add", x, y), lin))
    return b.program()


def phases() -> Program:
    """A head in training only, a noise-free arm in evaluation, a list of outputs and a read-only context."""
    head = Build("head", "B")
    h = head.input("x", "B 4")
    s = head.input("scale", "B 4", context=True)
    head.output(
        head.op(
            "mul",
            head.op("linear", h, path="fc", out_features=2, bias=False),
            head.op("linear", s, path="sc", out_features=2),
        )
    )
    head.output(h, name="seen", training=True)

    b = Build("net", "B")
    xs = b.inputs("xs", "B 4", "B 4")
    c = b.input("c", "B 4", context=True)
    y = b.op("add", *xs, name="y")
    noisy = b.op("mul", y, other=3, phase="train")
    quiet = b.op("tanh", y, phase="eval")
    z = b.phase(noisy, quiet, name="z")
    aux, seen = b.call(head.graph, z, c, path="aux", phase="train")
    logits, kept = b.call(head.graph, z, c, path="head")
    b.output([logits, z])
    b.output(aux, name="aux", training=True)
    b.output(b.op("add", seen, kept, phase="train"), name="seen", training=True)
    return b.program()


__all__ = ["borrowed", "phases", "residual", "tower"]
