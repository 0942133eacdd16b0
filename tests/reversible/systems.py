"""The reversible parts of the published systems in specs/, small: a spec for each, whose root is the part."""

from __future__ import annotations

__all__ = ["SYSTEMS"]


def columns(spec: str, last: str, count: int) -> str:
    """Columns of four levels of a spec; last: the further arguments of its levels."""
    return f"""
        use zoo.{spec}: level
        use std.reversible: column
        let widths = [8, 16, 24, 32]
        block net(
            c0: [B, 8, 8*h, 8*w], c1: [B, 16, 4*h, 4*w], c2: [B, 24, 2*h, 2*w], c3: [B, 32, h, w];
            stem: [B, 8, 8*h, 8*w],
        ) {{
            return ([c0, c1, c2, c3]; stem) -> columns: chain([
                column([level(width, 1, l == 0, {last}) for l, width in enumerate(widths)]) for i in 0..{count}
            ])
        }}"""


SYSTEMS = {
    "RevNet": """
        use zoo.revnet: basic, bottleneck
        use std.reversible: coupling
        block net(a: [B, 8, H, W], b: [B, 8, H, W]) {
            return (a, b) -> stage: chain([
                *[coupling(basic(8), basic(8)) for _ in 0..3], coupling(bottleneck(8), bottleneck(8)),
            ])
        }""",
    "i-RevNet": """
        use zoo.irevnet: squeeze, unit
        block net(image: [B, 3, 16*h, 16*w]) {
            return image -> squeeze() -> halves -> stages: chain([
                unit(24, 2, true), unit(24), unit(24), unit(96, 2), unit(96), unit(96),
            ])
        }""",
    "Reformer": """
        use zoo.reformer: attend, think
        use std.reversible: coupling
        fn attention(kind: str) => attend(kind, 2, 4, 8, 8, true, 0.1, 0.1, 1, [])
        block net(a: [B, 8, 12], b: [B, 8, 12]) {
            return (a, b) -> layers: chain([
                coupling(attention("local"), think(16, 0.1)), coupling(attention("lsh"), think(16, 0.1)),
                coupling(attend("local", 2, 4, 2, 8, false, 0.0, 0.0, 1, []), think(16, 0.0)),
            ])
        }""",
    "Rev-ViT": """
        use zoo.rev_vit: attend, think
        use std.reversible: coupling
        block net(a: [B, T, 16], b: [B, T, 16]) {
            return (a, b) -> layers: chain([coupling(attend(2, 0.1), think(32, 0.1)) for _ in 0..4])
        }""",
    "RevCol": columns("revcol", "[0.0], 3", 4),
    "RDNet": columns("rdnet_reflection", "i == 0", 3),
    "RevBiFPN": """
        use zoo.revbifpn: fuse, transform
        let widths = [16, 32, 48, 64]
        block net(image: [B, 16, 8*h, 8*w]) {
            p = [image]
            for n in 2..5 {
                levels, coarser = p -> "transform{n}": transform(widths[:n - 1], 0.1)
                                    -> "fuse{n}": fuse(widths[:n], true, 0.1)
                p = [*levels, coarser]
            }
            return p -> transform: transform(widths, 0.1) -> fuse: fuse(widths, false, 0.1)
        }""",
    "3-D U-Net": """
        use zoo.reversible_unet3d: mbconv
        use std.reversible: coupling
        block net(a: [B, 6, D, H, W], b: [B, 6, D, H, W]) {
            return (a, b) -> units: chain([coupling(mbconv(), mbconv()) for _ in 0..4])
        }""",
    "multi-split transformer": """
        use zoo.multi_split_transformer: layer
        block net(a: [B, 8, 12], b: [B, 8, 12], c: [B, 8, 12]) {
            return [a, b, c] -> layers: chain([layer(3, 12, 2) for _ in 0..3])
        }""",
    "CrevNet": """
        use zoo.crevnet: codec
        block net(frames: [B, 1, T, 8*h, 8*w]) { return frames -> encoder: codec(1, [2, 2, 1], 2, 0.1) }""",
}
