"""Parameters that are the output of a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.std.nets import equal, noise, whole


def test_kernels_of_embeddings() -> None:
    """Each piece by brute force; the pieces of a layer lie side by side, and layers share the generator."""
    m: Any = whole("""
        use std.hyper: kernel_of, tiled
        block net(x: [B, 6, 5, 5]) {
            g = kernel_of(2, 3, 3)
            large = first: tiled(g, 2, 2, 4)
            small = second: tiled(g, 1, 1, 4)
            return concat([convolve(x, large, padding=1), convolve(x, small, padding=1, groups=2)])
        }
    """)

    def piece(z: torch.Tensor) -> torch.Tensor:
        per_channel = (z @ m.g.w2 + m.g.b2).view(3, 4)
        rows = [(row @ m.g.w1 + m.g.b1) for row in per_channel]
        return torch.stack(rows).view(2, 3, 3, 3)

    z = [getattr(m.first.z_list, str(i)) for i in range(4)]
    kernel = torch.cat([torch.cat([piece(z[0]), piece(z[1])], 1), torch.cat([piece(z[2]), piece(z[3])], 1)], 0)
    second = piece(getattr(m.second.z_list, "0"))
    x = noise(2, 6, 5, 5)
    conv = nn.functional.conv2d
    assert equal(m(x), torch.cat([conv(x, kernel, padding=1), conv(x, second, padding=1, groups=2)], 1))
    assert sum(p.numel() for p in m.parameters()) == (4 * 18 + 18 + 4 * 12 + 12) + 5 * 4


def test_inputs_on_circles_have_one_norm() -> None:
    m: Any = whole("use std.hyper: on_circles\nblock net(x: [B, 5]) -> [B, 10] { return on_circles(x) }\n")
    x = torch.rand(7, 5).double()
    assert equal(m(x).norm(dim=1), torch.full((7,), 5.0).double().sqrt())
    assert equal(m(x)[:, :5] ** 2 + m(x)[:, 5:] ** 2, torch.ones(7, 5).double())


def test_predicted_parameters_are_added_to_weights() -> None:
    m: Any = whole("""
        use std.hyper: predicted
        block net(h: [1, 3]) -> tensors { return h -> p: predicted([[2, 3], [2]]) }
    """)
    h = noise(1, 3)
    change = m.p.output(h)[0]
    own = [getattr(m.p.own, str(i)) for i in range(2)]
    first, second = m(h)
    assert equal(first, own[0].view(2, 3) + change[:6].view(2, 3)) and equal(second, own[1] + change[6:])
