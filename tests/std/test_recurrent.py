"""The schemes that go in steps: each computes its equation, over any layers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from tests.std.nets import equal, noise, whole


def test_subtractive() -> None:
    m: Any = whole("""
        use std.recurrent: subtractive
        block two(x) { return x -> back: linear(6), x -> fore: linear(3) }
        block net(x: [B, 6], y: [B, 3], mask: [B, 6]) -> ([B, 6], [B, 3]) {
            return (x, y; mask) -> s: subtractive([two() for _ in 0..3])
        }
    """)
    x, y, mask = noise(2, 6), noise(2, 3, seed=1), noise(2, 6, seed=2)
    left, total = m(x, y, mask)
    for part in m.s.children():
        y = y + part.fore(x)
        x = (x - part.back(x)) * mask
    assert equal(left, x) and equal(total, y)


@pytest.mark.parametrize("levels", [7, 3])
def test_a_trellis_is_a_truncated_recurrent_network(levels: int) -> None:
    """Bai et al., theorem 1: with kernels that have the input at the present tap and the state at the past one, n
    levels give at each step what a network gives that started n - 1 steps before, and with as many levels as steps
    the network itself."""
    m: Any = whole(f"""
        use std.recurrent: trellis, lstm_gate
        block net(x: [B, 3, L], h: [B, 4, 1], c: [B, 4, 1]; u: [16, 3, 2], w: [16, 4, 2], b: [16]) {{
            states, c = (x, h, c; u, w, b) -> trellis({levels}, lstm_gate)
            return h=states[-1], c=c
        }}
    """)
    lstm = nn.LSTM(3, 4, batch_first=True).double()
    order = torch.cat([torch.arange(4) + 4 * k for k in (0, 3, 2, 1)])  # of gates: torch has i f g o
    u, w, b = noise(16, 3, 2) * 0, noise(16, 4, 2) * 0, (lstm.bias_ih_l0 + lstm.bias_hh_l0)[order]
    u[:, :, 1], w[:, :, 0] = lstm.weight_ih_l0[order], lstm.weight_hh_l0[order]
    x, h, c = noise(2, 3, 7), noise(2, 4, 1, seed=1), noise(2, 4, 1, seed=2)
    result = m(x, h, c, u, w, b)
    for t in range(7):
        seen = x[:, :, max(0, t - levels + 1) : t + 1].mT
        start = [s.squeeze(-1)[None] for s in (h, c)] if t < levels else [torch.zeros(1, 2, 4).double()] * 2
        _, (last, cell) = lstm(seen, start)
        assert equal(result.h[:, :, t], last[0]) and equal(result.c[:, :, t], cell[0])


def test_levels_of_a_trellis_are_dilated_in_turn() -> None:
    m: Any = whole("""
        use std.recurrent: trellis
        block linear_gate(z, c) { return z + 0.5 * c, z }
        block net(x: [B, 2, L], h: [B, 2, 1]; u: [2, 2, 2], w: [2, 2, 2], b: [2], mask: [B, 2, 1]) {
            states, c = (x, h, h; u, w, b, mask) -> trellis(3, linear_gate, [1, 2])
            return states=states, c=c
        }
    """)
    x, start, mask = noise(1, 2, 6), noise(1, 2, 1, seed=1), noise(1, 2, 1, seed=2)
    u, w, b = noise(2, 2, 2, seed=3), noise(2, 2, 2, seed=4), noise(2, seed=5)

    def at(wire: Any, t: int, before: Any) -> Any:
        return wire[:, :, t] if t >= 0 else before

    h = c = torch.zeros_like(x)
    result = m(x, start, u, w, b, mask)
    for level, d in enumerate([1, 2, 1]):
        z, old = torch.zeros_like(x), torch.zeros_like(x)
        for t in range(6):
            taps = [(u[:, :, k], w[:, :, k], t - d * (1 - k)) for k in (0, 1)]
            z[:, :, t] = b + sum(
                at(x, s, 0 * x[:, :, 0]) @ uk.T + (mask[:, :, 0] * at(h, s, start[:, :, 0])) @ wk.T
                for uk, wk, s in taps
            )
            old[:, :, t] = at(c, t - d, start[:, :, 0])
        h, c = z + 0.5 * old, z
        assert equal(result.states[level], h)
    assert equal(result.c, c)


def test_recursive() -> None:
    m: Any = whole("""
        use std.recurrent: recursive
        block net(x: [B, T, 4]) {
            return x -> r: recursive(core: (linear(4) -> tanh), [own: linear(4), linear(4), linear(4)])
        }
    """)
    x = noise(2, 3, 4)
    y = x
    for part in (m.r.own, m.r.get_submodule("1"), m.r.get_submodule("2")):
        y = part(torch.tanh(m.r.core.get_submodule("0")(y)))
    assert equal(m(x), y)
    assert len(list(m.parameters())) == 2 * 4


def test_slices_are_by_themselves() -> None:
    m: Any = whole("""
        use std.recurrent: sliced
        block net(x: [B, T, 4]) { return x -> s: sliced(f: attention(2), 3) }
    """)
    x = noise(2, 12, 4)
    assert equal(m(x), torch.cat([m.s.f(part) for part in x.chunk(3, 1)], 1))


def test_mixed_slices_are_a_partition() -> None:
    """Each token gives what attention gives within some set of four, and the sets cover all tokens once."""
    m: Any = whole("""
        use std.recurrent: sliced
        block slice_sum(x) { return x + 0 * x + reduce_sum(x, 1, keepdim=true) }
        block net(x: [B, T, 1]) { return x -> s: sliced(slice_sum, 3, mixed=true) }
    """)
    x = 2.0 ** torch.arange(12).double().reshape(1, 12, 1)
    drawn = set()
    for _ in range(3):
        sums = (m(x) - x).flatten().long().tolist()
        members = [tuple(i for i in range(12) if total >> i & 1) for total in sums]
        assert all(i in mine and len(mine) == 4 for i, mine in enumerate(members))
        assert sorted(i for mine in set(members) for i in mine) == list(range(12))
        drawn.add(tuple(members))
    assert len(drawn) == 3


@pytest.mark.parametrize("through", ["none", "2"])
def test_looped_is_unrolled(through: str) -> None:
    """Three steps with one core are three cores with its weights; gradients are summed over the steps they reach."""
    m: Any = whole(f"""
        use std.recurrent: looped
        block core(s, x) {{ return tanh((s -> u: linear(4)) + (x -> w: linear(4))) }}
        block net(s: [B, 4], x: [B, 3]) {{ return (s; x) -> l: looped(core(), 3, {through}) }}
    """)
    s, x = noise(2, 4), noise(2, 3, seed=1)
    core = next(m.l.children())
    cores = [copy.deepcopy(core) for _ in range(3)]
    y = s
    for i, one in enumerate(cores):
        y = torch.tanh(one.u(y.detach() if through == "2" and i == 1 else y) + one.w(x))
    assert equal(m(s, x), y)
    m(s, x).square().sum().backward()
    y.square().sum().backward()
    for name, p in core.named_parameters():
        steps = [dict(one.named_parameters())[name].grad for one in cores]
        assert equal(p.grad, sum(g for g in steps if g is not None))


def test_unfolded() -> None:
    m: Any = whole("""
        use std.recurrent: unfolded
        block step(x, told; data: tensors) { return tanh((x -> f: linear(4)) + told * data[0]) }
        block net(x: [B, 4], d: [B, 4]) -> tensors {
            fn told(n: int, total: int) => full([1], n / total)
            return (x; [d]) -> u: unfolded([step() for _ in 0..2], [2, 1], told)
        }
    """)
    x, d = noise(2, 4), noise(2, 4, seed=1)
    first, second = m.u.get_submodule("0"), m.u.get_submodule("1")
    for i, part in enumerate((first, first, second)):
        x = torch.tanh(part.f(x) + (i + 1) / 3 * d)
        assert equal(m(noise(2, 4), d)[i], x)


def test_read_compute_write() -> None:
    m: Any = whole("""
        use std.recurrent: read_compute_write
        block from_other(a, b) { return a + (reduce_mean(b, 1, keepdim=true) -> f: linear(a.features)) }
        block net(z: [B, 2, 3], x: [B, 5, 4]) -> ([B, 2, 3], [B, 5, 4]) {
            return (z, x) -> c: chain([read_compute_write(from_other(), linear(3) -> tanh, from_other()) for _ in 0..2])
        }
    """)
    z, x = noise(2, 2, 3), noise(2, 5, 4, seed=1)
    ours = m(z, x)
    for part in m.c.children():
        z = z + part.read.f(x.mean(1, keepdim=True))
        z = torch.tanh(part.compute.get_submodule("0")(z))
        x = x + part.write.f(z.mean(1, keepdim=True))
    assert equal(ours[0], z) and equal(ours[1], x)
