"""The derived inverse, run by the interpreter in float64: it gives back what went in."""

from __future__ import annotations

import pytest

from tests.reversible.helpers import program, roundtrip

BLOCKS = {
    "coupling": """
        use std.reversible: coupling
        block net(a: [B, 4, H, W], b: [B, 4, H, W]) {
            return (a, b) -> c: coupling(conv(4, 3, padding=1) -> tanh, conv(4, 3, padding=1))
        }""",
    "chain": """
        use std.reversible: coupling
        block net(a: [B, 4, H, W], b: [B, 4, H, W]) {
            return (a, b) -> c: chain([coupling(conv(4, 3, padding=1) -> tanh, conv(4, 1)) for _ in 0..6])
        }""",
    "column": """
        use std.reversible: column
        block level(width: int)(below, above: tensor?) {
            y = below -> conv(width, 1)
            if above != none { y = y + (above -> conv(width, 1)) }
            return y
        }
        reversible block net(a: [B, 4, H, W], b: [B, 6, H, W]; stem: [B, 3, H, W]) {
            c = [a, b]
            c = (c; stem) -> col: column([level(4), level(6)])
            a, b = (c[0], c[1])
        }""",
    "silo": """
        use std.reversible: silo
        let widths = [4, 6, 8]
        fn down(x, i: int, j: int) => x -> "f{i}_{j}": conv(widths[j], 2 ** (j - i), stride = 2 ** (j - i))
        fn up(x, i: int, j: int) =>
            x -> "g{i}_{j}": conv(widths[j], 1) -> interpolate(scale_factor = 2 ** (i - j))
        reversible block net(a: [B, 4, 8, 8], b: [B, 6, 4, 4], c: [B, 8, 2, 2]) {
            p = [a, b, c]
            p = p -> s: silo(down, up)
            a, b, c = (p[0], p[1], p[2])
        }""",
    "new levels": """
        use std.reversible: first_column, spawning_silo
        fn down(x, i: int, j: int) => x -> "f{i}": conv(8, 2 ** (j - i), stride = 2 ** (j - i))
        fn up(x, i: int, j: int) => x -> "g{i}": conv(8, 1) -> interpolate(scale_factor = 2 ** (i - j))
        reversible block net(a: [B, 8, 8, 8]; stem: [B, 3, 8, 8]) {
            new p = (; stem) -> first: first_column([conv(8, 3, padding=1), conv(8, 1)])
            p[0] += p[1]
            q, c = [a] -> s: spawning_silo(down, up)
            a = q[0]
            return a, c, p
        }""",
    "swap": """
        reversible block net(a: [B, 4], b: [B, 4]) {
            a += b -> f: linear(4)
            a, b = b, a
            a -= b -> g: linear(4)
        }""",
    "split and concat": """
        reversible block net(x: [B, 6, H, W]) {
            a, b = x -> split([2, 4], dim=1)
            a += b -> f: conv(2, 1)
            b += a -> g: conv(4, 1)
            x = concat([b, a])
        }""",
    "affine": """
        reversible block net(a: [B, 4], b: [B, 4]) {
            weight k: [4] = 0.5, nonzero
            a = exp(tanh(b -> s: linear(4))) * a + (b -> t: linear(4))
            b = k * b - (a -> u: linear(4))
            b /= k
        }""",
    "bijections": """
        reversible block net(x: [B, 4, H, W]) {
            x = x -> space_to_depth(2) -> leaky_relu(0.5) -> flip(1) -> roll(1, 2) -> transpose(2, 3)
            x = -x
            x = x -> rearrange("b (c y x) h w -> b c (h y) (w x)", y=2, x=2) -> rearrange("b c h w -> b (h w) c")
        }""",
    "nested, inverted": """
        use std.reversible: coupling
        reversible block net(x: [B, 4, H, W]) {
            a, b = x -> halves
            m = coupling(conv(2, 1), conv(2, 1) -> tanh)
            a, b = m(a, b)
            a, b = (b, a) -> other: coupling(conv(2, 1), conv(2, 1))
            a, b = (~m)(a, b)
            x = concat([a, b])
        }""",
    "autoencoder": """
        use std.reversible: coupling
        block net(frame: [B, 4, H, W]) {
            codec = space_to_depth(2) -> halves -> chain([coupling(conv(8, 3, padding=1), conv(8, 1)) for _ in 0..4])
            return frame -> codec -> mix: coupling(conv(8, 1), conv(8, 1)) -> ~codec
        }""",
    "temporaries": """
        reversible block net(a: [B, 4], b: [B, 4]) {
            t = b -> f: linear(4)
            a += t
            a = a + tanh(t)
            b += a -> g: linear(4)
        }""",
    "loop": """
        reversible block net(layers: [module] = [linear(4) for _ in 0..3])(a: [B, 4], b: [B, 4]) {
            for i, layer in enumerate(layers) {
                a += layer(b)
                a, b = b, a
            }
        }""",
}


@pytest.mark.parametrize("name", BLOCKS)
def test_inverse(name: str) -> None:
    assert roundtrip(BLOCKS[name]) < 1e-10


def test_a_list_of_new_streams() -> None:
    text = "reversible block net(a: [B, 4]) { new s = [a -> f: linear(4), a] }"
    graph = program(text).root
    assert [step.kind for step in graph.proof.steps] == ["new", "new"] if graph.proof else False
    assert [len(output.values) for output in graph.outputs] == [1, 2]
    assert len({id(v) for v in graph.values}) == len([*graph.values])


def test_inverse_of_another_value() -> None:
    """Its sizes are those that the module gives only because the network needs them to be."""
    text = """
    use std.reversible: coupling
    block net(z: [B, 4, h, w], frame: [B, 2, 2*h, 2*w]) {
        codec = space_to_depth(2) -> halves -> chain([coupling(conv(4, 1), conv(4, 1)) for _ in 0..2])
        a, b = frame -> codec
        return ((z -> c: conv(4, 1)), b) -> ~codec
    }"""
    root = program(text).root
    assert root.outputs[0].values[0].type == root.inputs[1].values[0].type
