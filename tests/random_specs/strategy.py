"""A Hypothesis strategy for valid specs: blocks, loops, sharing, multi-input joins, schemes, phases.

A spec is grown statement by statement; the strategy knows every wire's channels and resolution, so that whatever it
writes is well typed by construction. Compiling and running it must then work, whatever was drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

__all__ = ["Spec", "specs"]

CHANNELS = (4, 8, 12)
SIZE = 16


@dataclass(frozen=True)
class Wire:
    """A name with its channels and its resolution (SIZE / 2**level)."""

    name: str
    channels: int
    level: int = 0


@dataclass(frozen=True)
class Spec:
    """A spec's text; inputs are [batch, channels, SIZE, SIZE]."""

    text: str
    channels: tuple[int, ...]


@dataclass
class _Body:
    draw: Callable[..., Any]
    blocks: dict[str, int]  # helper blocks by name -> number of inputs; all keep the type of their first input
    lines: list[str] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    count: int = 0

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def pick(self, like: Wire | None = None, level: int | None = None) -> Wire:
        """A random wire, of the same type as `like`, or of a resolution."""
        fits = [
            w
            for w in self.wires
            if (like is None or (w.channels, w.level) == (like.channels, like.level)) and level in (None, w.level)
        ]
        return self.draw(st.sampled_from(fits))

    def bind(self, text: str, wire: Wire) -> None:
        """`name = text`: sometimes a new name, sometimes rebinding one of the same type."""
        same = [w for w in self.wires if (w.channels, w.level) == (wire.channels, wire.level) and "_" not in w.name]
        if same and self.draw(st.integers(0, 3)) == 0:
            wire = replace(wire, name=self.draw(st.sampled_from(same)).name)
        else:
            wire = replace(wire, name=self.fresh("v"))
            self.wires.append(wire)
        self.lines.append(f"{wire.name} = {text}")


# -- layers that keep a wire's type, as module expressions ---------------------------------------------------------
def _keeping(body: _Body, channels: int, depth: int = 0) -> str:
    """A module expression that maps [B, channels, h, w] to itself."""
    draw = body.draw
    simple = [
        f"conv({channels}, 3, padding=1)",
        f"conv({channels}, 1, bias=false)",
        f"conv({channels}, 3, padding=1, groups={channels})",
        f'conv({channels}, 3, padding=2, dilation=2, init=kaiming_normal(mode="fan_out"))',
        "batchnorm",
        f"groupnorm({2 if channels % 2 == 0 else 1})",
        "relu",
        "gelu",
        "silu()",
        "leaky_relu(0.1)",
        "dropout(0.2)",
        "maxpool(3, stride=1, padding=1)",
        "identity",
    ]
    if depth >= 2:
        return draw(st.sampled_from(simple))
    kind = draw(st.integers(0, 9))
    inner = lambda: _keeping(body, channels, depth + 1)  # noqa: E731
    if kind == 0:
        return f"(conv({channels}, 1) -> {inner()} -> relu)"
    if kind == 1:
        return f"residual({inner()})"
    if kind == 2:
        return f"parallel([{inner()}, conv({channels}, 1)])"
    if kind == 3:
        return f"chain([{inner()} for i in 0..{draw(st.integers(1, 7))}])"
    if kind == 4:
        return f"chain([conv({channels}, if i == 0 then 1 else 3, padding=if i == 0 then 0 else 1) for i in 0..5])"
    if kind == 5 and body.blocks:
        one = [name for name, inputs in body.blocks.items() if inputs == 1]
        if one:
            return f"{draw(st.sampled_from(one))}({draw(st.sampled_from(CHANNELS))})"
    if kind == 6:
        return f"(dense([conv(4, 3, padding=1) for _ in 0..{draw(st.integers(1, 3))}]) -> conv({channels}, 1))"
    return draw(st.sampled_from(simple))


# -- statements --------------------------------------------------------------------------------------------------------
def _flow(body: _Body) -> None:
    wire = body.pick()
    steps = [f"{body.fresh('f')}: {_keeping(body, wire.channels)}" for _ in range(body.draw(st.integers(1, 3)))]
    body.bind(f"{wire.name} -> " + " -> ".join(steps), wire)


def _widen(body: _Body) -> None:
    wire, channels = body.pick(), body.draw(st.sampled_from(CHANNELS))
    body.bind(f"{wire.name} -> {body.fresh('w')}: conv({channels}, 3, padding=1)", replace(wire, channels=channels))


def _shrink(body: _Body) -> None:
    wire = body.pick()
    if wire.level >= 2:
        return
    layer = body.draw(st.sampled_from(["maxpool(2)", "avgpool(2)", f"conv({wire.channels}, 3, stride=2, padding=1)"]))
    body.bind(f"{wire.name} -> {body.fresh('d')}: {layer}", replace(wire, level=wire.level + 1))


def _grow(body: _Body) -> None:
    wire = body.pick()
    if wire.level == 0:
        return
    body.bind(f"{wire.name} -> interpolate(scale_factor=2)", replace(wire, level=wire.level - 1))


_JOINS = (
    "{a} + {b}", "{a} - {b}", "{a} * {b}", "maximum({a}, {b})", "mean([{a}, {b}, {a}])", "2 * {a} - {b} / 3",
    "where({a} > {b}, {a}, {b})",
)  # fmt: skip


def _join(body: _Body) -> None:
    a = body.pick()
    b = body.pick(like=a)
    form = body.draw(st.sampled_from(_JOINS))
    body.bind(form.format(a=a.name, b=b.name), a)


def _concat(body: _Body) -> None:
    a = body.pick()
    others = [body.pick(level=a.level) for _ in range(body.draw(st.integers(1, 2)))]
    channels = a.channels + sum(w.channels for w in others)
    if channels <= 32:
        names = ", ".join(w.name for w in (a, *others))
        body.bind(f"concat([{names}])", replace(a, channels=channels))


def _shared(body: _Body) -> None:
    wire = body.pick()
    name = body.fresh("m")
    body.lines.append(f"{name} = {_keeping(body, wire.channels)}")
    body.bind(f"{name}({name}({wire.name}))", wire)
    if body.draw(st.booleans()):
        body.bind(f"{wire.name} -> {body.fresh('b')}: residual({name})", wire)  # borrowed by a callee


def _loop(body: _Body) -> None:
    wire = body.pick()
    name = body.fresh("v")
    label = f'"{body.fresh("l")}_{{i}}": ' if body.draw(st.booleans()) else f"{body.fresh('u')}: "
    body.lines.append(f"{name} = {wire.name}")
    layer = _keeping(body, wire.channels, 1)
    extra = f"if i % 2 == 1 {{ {name} = {name} + {wire.name} }}; " if body.draw(st.booleans()) else ""
    if '"' not in label:
        label = ""
    body.lines.append(f"for i in 0..{body.draw(st.integers(1, 4))} {{ {extra}{name} = {name} -> {label}{layer} }}")
    body.wires.append(replace(wire, name=name))


def _list(body: _Body) -> None:
    wire = body.pick()
    name = body.fresh("ls")
    count = body.draw(st.integers(2, 6))
    body.lines.append(f"{name} = [conv({wire.channels}, 1) for i in 0..{count}]")
    out = body.fresh("v")
    body.lines.append(f"{out} = {wire.name}")
    body.lines.append(f"for layer in {name} {{ {out} = layer({out}) + {wire.name} }}")
    body.wires.append(replace(wire, name=out))


def _numbered(body: _Body) -> None:
    """A loop over labels with numbers: equal layers, or channels that grow by the same step in every pass."""
    wire = body.pick()
    name, stem = body.fresh("v"), body.fresh("n")
    count, first = body.draw(st.integers(2, 5)), body.draw(st.integers(0, 2))
    number = f"{{i + {first}}}" if first else "{i}"
    body.lines.append(f"{name} = {wire.name}")
    kernel = body.draw(st.sampled_from(["1", "3, padding=1"]))
    grown = wire.channels
    form = body.draw(st.integers(0, 5))
    if form == 0:
        text = f'{name} = {name} -> "{stem}_{number}": conv({wire.channels}, {kernel})'
    elif form == 1:
        text = f'y = {name} -> "{stem}_{number}": conv({wire.channels}, 1) -> "{stem}b{number}": batchnorm; '
        text += f"{name} = y * sigmoid(y) + {wire.name}"
    elif form == 2:
        text = f'{name} = concat([{name}, {name} -> "{stem}_{number}": conv(2, 3, padding=1) -> relu])'
        grown += 2 * count
    elif form == 3:
        text = f'{name} = {name} -> "{stem}_{number}": conv({wire.channels} + 2 * i + 2, 1)'
        grown += 2 * count
    elif form == 4:
        other = body.fresh("v")
        body.lines.append(f"{other} = {wire.name}")
        text = f'{name} = {name} + ({other} -> "{stem}.{{i}}": conv({wire.channels}, 1)); {other} = {name} * {other}'
    else:
        text = f"{name} = maximum({name} / 2, {wire.name} - {name})"
    body.lines.append(f"for i in 0..{count} {{ {text} }}")
    body.wires.append(replace(wire, name=name, channels=grown))


def _dense(body: _Body) -> None:
    """Layers over the concatenation of everything before them, several lengths of one block."""
    wire = body.pick()
    count = body.draw(st.integers(1, 6))
    stem = body.fresh("q")
    layers = f'["{stem}layer{{i + 1}}": (conv(4, 1) -> batchnorm -> relu) for i in 0..{count}]'
    body.bind(
        f"{wire.name} -> {body.fresh('z')}: growing({layers}) -> {body.fresh('w')}: conv({wire.channels}, 1)", wire
    )


def _weight(body: _Body) -> None:
    wire = body.pick()
    name = body.fresh("g")
    init = body.draw(st.sampled_from(["ones", "0.5", "normal(std=0.1)", "0.5, nonzero", "ones, frozen"]))
    kind = "weight" if "," in init else body.draw(st.sampled_from(["weight", "buffer"]))
    body.lines.append(f"{kind} {name}: [1, {wire.channels}, 1, 1] = {init}")
    body.bind(f"{name} * {wire.name}", wire)


def _coupled(body: _Body) -> None:
    wire = body.pick()
    half = wire.channels // 2
    a, b = body.fresh("s"), body.fresh("s")
    body.lines.append(f"{a}, {b} = {wire.name} -> halves")
    make = f"coupling({_keeping(body, half, 2)}, conv({half}, 3, padding=1))"
    body.lines.append(
        f"{a}, {b} = ({a}, {b}) -> {body.fresh('c')}: chain([{make} for _ in 0..{body.draw(st.integers(1, 4))}])"
    )
    body.bind(f"concat([{a}, {b}])", wire)


def _phase(body: _Body) -> None:
    wire = body.pick()
    name = body.fresh("v")
    body.lines.append(f"{name} = {wire.name}")
    other = f" else {{ {name} = {name} -> {body.fresh('e')}: relu }}" if body.draw(st.booleans()) else ""
    layer = _keeping(body, wire.channels, 1)
    body.lines.append(f"if training {{ {name} = {name} -> {body.fresh('t')}: {layer} }}{other}")
    body.wires.append(replace(wire, name=name))


def _call(body: _Body) -> None:
    if not body.blocks:
        return
    name = body.draw(st.sampled_from(sorted(body.blocks)))
    a = body.pick()
    inputs = [a, *(body.pick(like=a) for _ in range(body.blocks[name] - 1))]
    joined = ", ".join(w.name for w in inputs)
    width = body.draw(st.sampled_from(CHANNELS))
    body.bind(f"({joined}) -> {body.fresh('k')}: {name}({width})", a)


_STATEMENTS = (
    _flow, _flow, _widen, _shrink, _grow, _join, _join, _concat, _shared, _loop, _list, _numbered, _dense, _weight,
    _coupled, _phase, _call, _call,
)  # fmt: skip


@st.composite
def specs(draw: Callable[..., Any]) -> Spec:
    """A valid spec with one to three helper blocks and a design `net`."""
    blocks: dict[str, int] = {}
    texts: list[str] = []
    for number in range(draw(st.integers(0, 3))):
        inputs = draw(st.integers(1, 2))
        name = f"part{number}"
        texts.append(_helper(draw, name, inputs, dict(blocks)))
        blocks[name] = inputs
    return _design(draw, blocks, texts)


def _helper(draw: Callable[..., Any], name: str, inputs: int, blocks: dict[str, int]) -> str:
    """A block over any channels: it projects to `width`, works there, and projects back to its first input's type."""
    width = draw(st.sampled_from(CHANNELS))
    body = _Body(draw, blocks)
    for i in range(inputs):
        body.lines.append(f"h{i}_ = x{i} -> in{i}: conv(width, 1)")
    body.lines.append(f"r = h0_{' + h1_' if inputs == 2 else ''}")
    for _ in range(draw(st.integers(0, 2))):
        layer = draw(st.sampled_from(["conv(width, 3, padding=1)", "batchnorm", "relu", "gelu"]))
        body.lines.append(f"r = r -> {body.fresh('a')}: {layer}")
    if draw(st.booleans()):
        body.lines.append("if width != x0.channels { r = r -> fix: conv(x0.channels, 1) }")
    else:
        body.lines.append("r = r -> back: conv(x0.channels, 1)")
    skip = draw(st.sampled_from(["r", "r + x0", "(r + x0) -> relu"]))
    lines = "\n".join(f"    {line}" for line in body.lines)
    names = ", ".join(f"x{i}" for i in range(inputs))
    return f"block {name}(width: int = {width})({names}) {{\n{lines}\n    return {skip}\n}}\n"


def _design(draw: Callable[..., Any], blocks: dict[str, int], texts: list[str]) -> Spec:
    channels = tuple(draw(st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=2)))
    body = _Body(draw, blocks)
    body.wires = [Wire(f"x{i}_", c) for i, c in enumerate(channels)]
    for _ in range(draw(st.integers(1, 8))):
        draw(st.sampled_from(_STATEMENTS))(body)
    symbolic = draw(st.booleans())
    size = "H, W" if symbolic else f"{SIZE}, {SIZE}"
    names = ", ".join(f"x{i}_: [B, {c}, {size}]" for i, c in enumerate(channels))
    last = body.wires[-1]
    result = draw(
        st.sampled_from(["{a}", "{a}, {b}", "{a}, side={b}", "{a} -> pool: global_avgpool -> head: linear(3)"])
    )
    lines = "\n".join(f"    {line}" for line in body.lines)
    returned = result.format(a=last.name, b=body.pick().name)
    design = f"block net()({names}) {{\n{lines}\n    return {returned}\n}}\n"
    uses = "use std.schemes: residual, parallel, dense\nuse std.reversible: coupling\n\n"
    uses += "block growing(_ layers: [module])(x) {\n"
    uses += "    for layer in layers { x = concat([x, layer(x)], 1) }\n    return x\n}\n\n"
    return Spec(uses + "\n".join(texts) + "\n" + design, channels)
