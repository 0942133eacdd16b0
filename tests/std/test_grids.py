"""The schemes over maps of several resolutions: each computes its equation, over any layers and labels."""

from __future__ import annotations

import textwrap
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archlang

USES = "use std.grids: cascade, nested_residual, u_shape, nested_u, exchange, grid, bifpn, one_pass, level_shift\n"


def net(body: str, inputs: str = "x: [B, 4, 8, 8]") -> Any:
    text = f"{USES}block net({inputs}) {{\n{textwrap.dedent(body)}\n}}\n"
    module: nn.Module = archlang.build(text, entry="net").double()
    return module


def image(channels: int = 4, side: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(2, channels, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def equal(ours: Tensor, theirs: Tensor) -> bool:
    return bool(torch.allclose(ours, theirs, rtol=0, atol=1e-12))


def join(*maps: Tensor) -> Tensor:
    return torch.cat(maps, 1)


def test_cascade() -> None:
    m = net("return x -> c: cascade([a: conv(3, 1), b: conv(2, 1)], [p: conv(5, 1), q: conv(6, 1)])").c
    seen = join(image(), m.a(image()))
    first = m.p(seen)
    assert equal(m(image()), m.q(join(seen, m.b(first))))


def test_layers_of_a_cascade_may_be_one() -> None:
    m = net("f = conv(4, 1); return x -> c: cascade([f, f], [p: conv(4, 1), q: conv(4, 1)])")
    seen = join(image(), m.f(image()))
    assert equal(m(image()), m.c.q(join(seen, m.f(m.c.p(seen)))))


def test_nested_residual() -> None:
    m = net("return x -> r: nested_residual([2, 3], fn() => conv(4, 1), fn() => conv(4, 3, padding=1))").r
    y = image()
    for group in m.body[:2]:
        z = y
        for unit in group.body[:3]:
            z = unit(z)
        y = y + group.body[3](z)
    assert equal(m(image()), image() + m.body[2](y))


def test_u_shape() -> None:
    m = net("return x -> u: u_shape([a: conv(3, 1), b: conv(5, 1), c: conv(7, 1)], [p: conv(2, 1), q: conv(6, 1)])")
    u = m.u
    a = u.a(image())
    b = u.b(F.max_pool2d(a, 2))
    c = u.c(F.max_pool2d(b, 2))
    q = u.q(join(F.interpolate(c, scale_factor=2, mode="bilinear"), b))
    p = u.p(join(F.interpolate(q, scale_factor=2, mode="bilinear"), a))
    assert all(equal(ours, theirs) for ours, theirs in zip(m(image()), [p, q, c], strict=True))


def test_u_shape_with_layers_between_its_levels() -> None:
    m = net("""
        fn shrink(x, l: int) => x -> "shrink{l}": conv(4, 3, 2, padding=1)
        fn grow(x, like, l: int) => x -> "grow{l}": conv_transpose(4, 2, 2)
        return x -> u: u_shape([a: conv(4, 1), b: conv(4, 1)], [p: conv(4, 1)], shrink, grow, fn(y, z) => y - z)
    """).u
    a = m.a(image())
    b = m.b(m.shrink1(a))
    ours = m(image())
    assert equal(ours[0], m.p(m.grow0(b) - a)) and equal(ours[1], b)


NEST = """
fn node(x, i: int, j: int) => x -> "x{i}{j}": conv(2 + i + j, 1)
return x -> u: nested_u(LEVELS, node, grow=fn(x, i, j) => x -> "up{i}{j}": conv_transpose(3, 2, 2))
"""


def test_nested_u() -> None:
    m = net(NEST.replace("LEVELS", "2")).u
    a = m.x00(image())
    b = m.x10(F.max_pool2d(a, 2))
    c = m.x20(F.max_pool2d(b, 2))
    first = m.x01(join(a, m.up01(b)))
    second = m.x02(join(a, first, m.up02(m.x11(join(b, m.up11(c))))))
    assert all(equal(ours, theirs) for ours, theirs in zip(m(image()), [first, second], strict=True))


def test_a_pruned_nest_is_part_of_the_whole() -> None:
    whole = net(NEST.replace("LEVELS", "3"))
    for levels in (1, 2):
        pruned = net(NEST.replace("LEVELS", str(levels)))
        pruned.load_state_dict({key: whole.state_dict()[key] for key in pruned.state_dict()})
        for ours, theirs in zip(pruned(image()), whole(image())[:levels], strict=True):
            assert torch.equal(ours, theirs)


def test_nodes_of_a_nest() -> None:
    narrow = NEST.replace("LEVELS", "4").replace("2 + i + j", "1").replace("conv_transpose(3", "conv_transpose(1")
    m = net(narrow, "x: [B, 1, 16, 16]")
    inputs = 5 + sum(j + 1 for j in range(1, 5) for _ in range(5 - j))
    nodes = [p for key, p in m.named_parameters() if ".x" in key]
    assert sum(p.numel() for p in nodes) == inputs + 15  # a weight for each input, a bias for each node


EXCHANGE = """
fn path(x, j: int, i: int) => x -> "from{j}to{i}": (
    if j > i then conv(4 - i, 1) -> interpolate(scale_factor=2 ** (j - i)) else conv(4 - i, 2 ** (i - j), 2 ** (i - j)))
"""


def test_exchange() -> None:
    inputs = "a: [B, 4, 8, 8], b: [B, 3, 4, 4], c: [B, 2, 2, 2]"
    m = net(EXCHANGE + "return [a, b, c] -> e: exchange(path)", inputs)
    given = [image(), image(3, 4, 1), image(2, 2, 2)]
    ours = m(*given)
    for i in range(3):
        paths = [x if j == i else getattr(m.e, f"from{j}to{i}")(x) for j, x in enumerate(given)]
        assert equal(ours[i], paths[0] + paths[1] + paths[2])


def test_exchange_with_another_join_into_fewer_levels() -> None:
    join_ = 'fn(ys, i: int) => concat(ys) -> "join{i}": conv(5, 1)'
    m = net(EXCHANGE + f"return [a, b] -> e: exchange(path, 1, {join_})", "a: [B, 4, 8, 8], b: [B, 3, 4, 4]")
    a, b = image(), image(3, 4, 1)
    (ours,) = m(a, b)
    assert equal(ours, m.e.join0(join(a, m.e.from1to0(b))))


GRID = """
fn along(x, i: int, j: int) => x -> "along{i}{j}": conv(2, 1)
fn down(x, i: int, j: int) => x -> "down{i}{j}": conv(2, 2, 2)
fn up(x, i: int, j: int) => x -> "up{i}{j}": conv_transpose(2, 2, 2)
return x -> g: grid(3, 4, along, down, up, fn(a, b, i: int, j: int) => (i + 1) * a + (j + 1) * b)
"""


def test_grid() -> None:
    m = net(GRID, "x: [B, 2, 8, 8]")
    x: dict[tuple[int, int], Tensor] = {(0, 0): image(2)}
    for i in (1, 2):
        x[i, 0] = getattr(m.g, f"down{i}0")(x[i - 1, 0])
    for j in (1, 2, 3):
        for i in (0, 1, 2) if j < 2 else (2, 1, 0):
            x[i, j] = getattr(m.g, f"along{i}{j}")(x[i, j - 1])
            way, there = ("down", (i - 1, j)) if j < 2 else ("up", (i + 1, j))
            if there in x:
                x[i, j] = (i + 1) * x[i, j] + (j + 1) * getattr(m.g, f"{way}{i}{j}")(x[there])
    for i, ours in enumerate(m(image(2))):
        assert equal(ours, x[i, 3])
    assert len(list(m.parameters())) == 2 * (9 + 2 + 2 + 2 * 2)  # along, first column, column 1, columns 2 and 3


def test_bifpn() -> None:
    m = net(
        """
        fn node(maps, l: int, up: bool) {
            let way = if up then "up" else "down"
            y = if up then maxpool(maps[-1], 2) else interpolate(maps[-1], maps[0])
            return concat([*maps[:-1], y]) -> "{way}{l}": conv(2, 1)
        }
        return [a, b, c] -> p: bifpn(node)
    """,
        "a: [B, 2, 8, 8], b: [B, 2, 4, 4], c: [B, 2, 2, 2]",
    )
    a, b, c = image(2), image(2, 4, 1), image(2, 2, 2)
    p = m.p
    middle = p.down1(join(b, F.interpolate(c, scale_factor=2)))
    fine = p.down0(join(a, F.interpolate(middle, scale_factor=2)))
    up = p.up1(join(b, middle, F.max_pool2d(fine, 2)))
    coarse = p.up2(join(c, F.max_pool2d(up, 2)))
    assert all(equal(ours, theirs) for ours, theirs in zip(m(a, b, c), [fine, up, coarse], strict=True))


def test_one_pass() -> None:
    m = net(
        """
        fn node(x, coarser, finer, l: int) {
            maps = [x]
            if coarser != none { maps += [interpolate(coarser, x)] }
            if finer != none { maps += [maxpool(finer, 2)] }
            return concat(maps) -> "at{l}": conv(2, 1)
        }
        return [a, b, c] -> p: one_pass(node)
    """,
        "a: [B, 2, 8, 8], b: [B, 2, 4, 4], c: [B, 2, 2, 2]",
    )
    a, b, c = image(2), image(2, 4, 1), image(2, 2, 2)
    p = m.p
    fine = p.at0(join(a, F.interpolate(b, scale_factor=2)))
    middle = p.at1(join(b, F.interpolate(c, scale_factor=2), F.max_pool2d(fine, 2)))
    coarse = p.at2(join(c, F.max_pool2d(middle, 2)))
    assert all(equal(ours, theirs) for ours, theirs in zip(m(a, b, c), [fine, middle, coarse], strict=True))


def test_level_shift() -> None:
    maps = [image(seed=seed) for seed in range(3)]
    levels = torch.stack(maps)
    theirs = torch.cat([levels[:, :, :1].roll(-1, 0), levels[:, :, 1:2].roll(2, 0), levels], 2)
    m = net("return [a, b, c] -> p: level_shift(1, [1, -2])", ", ".join(f"{x}: [B, 4, 8, 8]" for x in "abc"))
    assert equal(torch.stack(m(*maps)), theirs)
