"""Networks that do more than they have to, at random: what the exact passes look for."""

from __future__ import annotations

from random import Random

__all__ = ["CHANNELS", "EXTENT", "redundant"]

CHANNELS, EXTENT = 8, 8

# Expressions over wires a, b, c of [B, 8, H, W], of that type themselves. H, W: names or numbers; m: a layer; f: a
# function of each element; n: a number; p, q: a permutation and the one that undoes it.
_PATTERNS = (
    "{a} -> {f}", "({a} -> {f}) -> {f}", "{m}({a})", "{m}({a}) - {m}({b})", "{m}({m}({a}))",
    # nothing
    "{a} * 1", "1 * {a} - 0", "{a} / 1", "{a} + 0", "{a} -> reshape([B, 8, {H}, {W}])", "concat([{a}])",
    "{a} -> interpolate(scale_factor=1)", "{a} -> maxpool(1)", "{a}[:, 0:8]", "{a} -> permute([0, 1, 2, 3])",
    "{a} -> cast(\"float\")", "{a} -> dropout(0.3)", "{a} -> dropout(0)", "{a} -> pad([0, 0])", "{a} -> identity",
    # twice the same
    "({a} -> tanh) * ({a} -> tanh)", "({a} - {b}) * ({a} - {b})", "g * {a} + g * {b}", "concat([{a}, {a}])[:, 4:12]",
    "{a} * full([8, 1, 1], 0.3) + full([8, 1, 1], 0.3)",
    # numbers
    "{a} + full([8, 1, 1], {n}) * 0.5", "{a} + (full([4, 2, 1, 1], {n}) -> reshape([8, 1, 1]) -> unsqueeze(0))",
    "where(full([8, 1, 1], {n}) > 1, {a}, {b})", "where({a} > {b}, {c}, {c})",
    "({a} * 0.3) * 0.7", "({a} + 0.25) + 0.3", "({a} / 3) * 2",
    # changes of shape
    "{a} -> flatten(2) -> unflatten(2, [{H}, {W}])", "{a} -> reshape([B, 4, 2, -1]) -> reshape([B, 8, {H}, {W}])",
    "({a} -> unsqueeze(1) -> squeeze(1)) + {b}", "{a} -> permute({p}) -> permute({q})", "{a} -> permute({p}) -> {f} ->"
    " permute({q})", "{a} -> transpose(1, 2) -> transpose(2, 1)", "stack([{a}], 1) -> flatten(1, 2)",
    "{a} -> rearrange(\"b c h w -> b (h w) c\") -> rearrange(\"b (h w) c -> b c h w\", h={H})",
    # and back
    "{a} -> pixel_shuffle(2) -> pixel_unshuffle(2)", "-(-{a})", "{a} -> flip([1]) -> flip([1])",
    "{a} -> roll(3, 1) -> roll(-3, 1)", "{a} -> channel_shuffle(2) -> channel_shuffle(4)",
    "{a} -> nothing()", "{a} -> lone()","halved({a})", "parts({a})", "unbound({a})",
    # joins
    "concat([concat([{a}, {b}]), {c}])[:, 8:16]", "concat([concat([{a}, {b}]), {c}])[:, 4:12]", "{a} + {b} + {c}",
    "({a} + {b}) + {c}", "{a} + ({b} + {c})", "maximum(maximum({a}, {b}), {c})", "({a} * {b}) * {c}",
    "thirds({a}, {b}, {c})", "concat([{a}, {b}])[:, 1:][:, 3:11]", "concat([{a}, {b}])[:, 2:6] ->"
    " tile([1, 2, 1, 1])", "concat([{a}, {b}])[:, ::2]", "{a}[:, 1:][:, :6] -> pad([0, 0, 0, 0, 1, 1])",
    "{m}({a})[:, 1:][:, :6] -> tile([1, 2, 1, 1]) -> sliced()",
    # fewer elements
    "{a} -> {f} -> maxpool(2) -> interpolate(size=[{H}, {W}])",
    "{a} -> interpolate(scale_factor=2) -> {f} -> maxpool(2)",
    "{a} -> {f} -> maxpool(3, stride=1, padding=1)", "{a} -> relu -> global_maxpool(keepdim=true) -> expand([B, 8, {H},"
    " {W}])", "({a} * 0.5)[:, 0:4] -> repeat_interleave(2, 1)",
    # blocks
    "first({a}, {b})", "second({a}, {b})", "both({a}, {b})",
)  # fmt: skip
_FUNCTIONS = (
    "relu",
    "relu6",
    "silu",
    "elu",
    "tanh",
    "leaky_relu(0.1)",
    "hardtanh",
    "gelu",
    "abs",
    "clamp(min=-0.5)",
    "leaky_relu(-1)",
)
_NUMBERS = ("0.5", "2.0", "0.3", "0.0", "-1.0")
_ORDERS = (((0, 2, 3, 1), (0, 3, 1, 2)), ((0, 1, 3, 2), (0, 1, 3, 2)), ((2, 0, 1, 3), (1, 2, 0, 3)))
_BLOCKS = """
block nothing(x) {{
    return x
}}
block lone(x) {{
    return x -> only: conv(8, 1)
}}
block sliced(x) {{
    return x[:, 1:][:, 2:-1]
}}
block halved(x) {{
    a, b = x -> halves
    return concat([a, b])
}}
block parts(x) {{
    a, b = x -> split([2, 6], 1)
    return concat([concat([a * 2, a]), b[:, :4]])
}}
block unbound(x) {{
    a, b, c = x[:, 0:3] -> unbind(1)
    return concat([stack([a, b, c], 1), x[:, 3:]])
}}
block thirds(x, y, z) {{
    a, b, c = concat([x, y, z]) -> split(8, 1)
    return a * b - c
}}
block pair(x, y) {{
    z = x -> enter: conv(8, 1, bias=false) -> norm: batchnorm
    return z -> relu, z -> out: conv(8, 3, padding=1)
}}
block first(x, y) {{
    a, b = (x, y) -> p: pair
    return a
}}
block second(x, y) {{
    a, b = (x, y) -> p: pair
    return b + x * 1
}}
block both(x, y) {{
    a, b = (x, y) -> p: pair
    return a * b + y
}}
"""


def redundant(seed: int) -> str:
    """A valid spec, whose design `net` takes [B, 8, 8, 8]; all that it computes is read."""
    draw = Random(seed)
    height, width = draw.choice((("H", "W"), (EXTENT, EXTENT)))
    lines = ["m = conv(8, 3, padding=1)", "n = batchnorm()", "weight g: [8, 1, 1] = 0.5"]
    wires, unread = ["x"], {"x"}
    for i in range(draw.randint(4, 10)):
        pattern = draw.choice(_PATTERNS)
        one, other = draw.choice(_ORDERS)
        given = {name: draw.choice(wires[-3:]) for name in "abc"}
        names = {
            **given, "m": draw.choice("mn"), "f": draw.choice(_FUNCTIONS), "H": height, "W": width,
            "n": draw.choice(_NUMBERS), "p": list(one), "q": list(other),
        }  # fmt: skip
        lines.append(f"v{i} = {pattern.format(**names)}")
        unread -= {wire for name, wire in given.items() if f"{{{name}}}" in pattern}
        wires.append(f"v{i}")
        unread.add(f"v{i}")
    lines.append(f"return {', '.join(sorted(unread))}, m({draw.choice(wires)}), n({draw.choice(wires)}) * g")
    body = "".join(f"    {line}\n" for line in lines)
    return _BLOCKS.format() + f"block net()(x: [B, {CHANNELS}, {height}, {width}]) {{\n{body}}}\n"
