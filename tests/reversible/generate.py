"""Random reversible blocks: right ones, and wrong ones made from them by one mistake of a known kind."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

__all__ = ["MISTAKES", "right", "wrong"]

CONTEXT = 5
MISTAKES = {  # kind of mistake -> the codes with which it may be refused
    "self": {"ARC0604"},
    "self through a temporary": {"ARC0604"},
    "stale": {"ARC0605"},
    "stale view": {"ARC0605"},
    "overwritten": {"ARC0603"},
    "not invertible": {"ARC0603"},
    "dropped": {"ARC0606"},
    "returned twice": {"ARC0606"},
    "factor": {"ARC0607"},
    "wider": {"ARC0608"},
    "context": {"ARC0609"},
    "phase": {"ARC0610"},
    "loop meets itself": {"ARC0604"},
    "consumed twice": {"ARC0606"},
}


@dataclass
class Block:
    rng: random.Random
    streams: dict[str, int] = field(default_factory=dict)  # name -> width
    temporaries: dict[str, tuple[int, set[str]]] = field(default_factory=dict)  # name -> width, streams it reads
    modules: list[tuple[str, int]] = field(default_factory=list)  # named couplings and their widths
    lines: list[str] = field(default_factory=list)
    injective: bool = False
    count: int = 0

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def pick(self, *, beside: tuple[str, ...] = ()) -> str:
        return self.rng.choice([s for s in self.streams if s not in beside])

    def changed(self, *streams: str) -> None:
        """Temporaries that read these streams are no more."""
        self.temporaries = {n: t for n, t in self.temporaries.items() if not t[1] & set(streams)}

    # -- expressions -----------------------------------------------------------------------------------------------
    def source(self, avoid: tuple[str, ...]) -> tuple[str, set[str]]:
        """A wire to read, which does not depend on `avoid`, and the streams that it reads."""
        options: list[tuple[str, set[str]]] = [("c", set())]
        options += [(s, {s}) for s in self.streams if s not in avoid] * 2
        options += [(n, reads) for n, (_, reads) in self.temporaries.items() if not reads & set(avoid)] * 3
        return self.rng.choice(options)

    def branch(self, width: int, avoid: tuple[str, ...]) -> tuple[str, set[str]]:
        """An expression of the width, anything that need not be invertible."""
        wire, reads = self.source(avoid)
        label = self.name("f")
        layer = f"{label}: linear({width})"
        form = self.rng.randrange(6)
        if form == 0:
            return f"tanh({wire} -> {layer})", reads
        if form == 1:
            return f"({wire} -> {layer} -> relu)", reads
        if form == 2:
            other, more = self.source(avoid)
            return f"(concat([{wire}, {other}]) -> {layer})", reads | more
        if form == 3:
            other = f"{wire} -> {self.name('f')}: linear({width})"
            return f"(if training then ({wire} -> {layer}) else ({other}))", reads
        if form == 4:
            other, more = self.source(avoid)
            return f"(({wire} -> {layer}) * sigmoid({other} -> {self.name('f')}: linear({width})))", reads | more
        return f"({wire} -> {layer})", reads

    def factor(self, width: int, avoid: tuple[str, ...]) -> str:
        e, _ = self.branch(width, avoid)
        return self.rng.choice(
            [f"exp(tanh({e}))", f"(softplus({e}) + 0.5)", f"(sigmoid({e}) + 0.5)", "2", "-0.5", self.weight(width)]
        )

    def weight(self, width: int) -> str:
        name = self.name("w")
        self.lines.append(f"weight {name}: [{width}] = {self.rng.choice(['0.5', '-2.0', 'ones'])}, nonzero")
        return name

    # -- statements ------------------------------------------------------------------------------------------------
    def update(self) -> None:
        s = self.pick()
        e, _ = self.branch(self.streams[s], (s,))
        op = self.rng.choice("++-")
        self.lines.append(self.rng.choice([f"{s} {op}= {e}", f"{s} = {s} {op} {e}", f"{s} = {e} - {s}"]))
        self.changed(s)

    def affine(self) -> None:
        s = self.pick()
        k, (e, _) = self.factor(self.streams[s], (s,)), self.branch(self.streams[s], (s,))
        forms = [f"{s} = {k} * {s} + {e}", f"{s} = {e} + {s} * {k}", f"{s} *= {k}", f"{s} /= {k}"]
        self.lines.append(self.rng.choice([*forms, f"{s} = ({s} - {e}) / {k}"]))
        self.changed(s)

    def apply(self) -> None:
        s = self.pick()
        op = self.rng.choice(["flip(1)", "roll(1, 1)", "leaky_relu(0.5)", "identity", "flip(1) -> leaky_relu(0.8)"])
        self.lines.append(f"{s} = -{s}" if self.rng.random() < 0.2 else f"{s} = {s} -> {op}")
        self.changed(s)

    def split(self) -> None:
        s = self.pick()
        width = self.streams[s]
        if width < 2:
            return
        first = self.rng.randrange(1, width)
        a, b = self.name("s"), self.name("s")
        if self.rng.random() < 0.3:
            a = s
        self.lines.append(f"{a}, {b} = {s} -> split([{first}, {width - first}], dim=1)")
        del self.streams[s]
        self.streams |= {a: first, b: width - first}
        self.changed(s)

    def concat(self) -> None:
        if len(self.streams) < 3:
            return
        parts = self.rng.sample(sorted(self.streams), self.rng.choice([2, 2, 3]))
        name = self.rng.choice([parts[0], self.name("s")])
        self.lines.append(f"{name} = concat([{', '.join(parts)}])")
        width = sum(self.streams.pop(p) for p in parts)
        self.streams[name] = width
        self.changed(*parts)

    def swap(self) -> None:
        if len(self.streams) < 2:
            return
        a, b = self.rng.sample(sorted(self.streams), 2)
        self.lines.append(f"{a}, {b} = {b}, {a}")
        self.streams[a], self.streams[b] = self.streams[b], self.streams[a]
        self.changed(a, b)

    def coupling(self) -> None:
        pairs = [(a, b) for a in self.streams for b in self.streams if a != b and self.streams[a] == self.streams[b]]
        if not pairs:
            return
        a, b = self.rng.choice(pairs)
        width = self.streams[a]
        known = [name for name, of in self.modules if of == width]
        new = f"coupling(linear({width}) -> tanh, linear({width}))"
        if known and self.rng.random() < 0.6:
            module = self.rng.choice(known)
            flow = self.rng.choice([module, f"~{module}"])
        elif self.rng.random() < 0.5:
            module = self.name("m")
            self.lines.append(f"{module} = {new}")
            self.modules.append((module, width))
            flow = module
        else:
            flow = self.rng.choice([f"{self.name('m')}: {new}", f"{self.name('m')}: chain([{new} for _ in 0..4])"])
        self.lines.append(f"{a}, {b} = ({a}, {b}) -> {flow}")
        self.changed(a, b)

    def loop(self) -> None:
        s = self.pick()
        others = [o for o in self.streams if o != s]
        if not others:
            return
        label = self.name("f")
        width = self.streams[s]
        self.lines.append(f'for i in 0..3 {{ {s} += {self.rng.choice(others)} -> "{label}_{{i}}": linear({width}) }}')
        self.changed(s)

    def listed(self) -> None:
        """A list of streams, updated by indices."""
        if len(self.streams) < 2:
            return
        names = self.rng.sample(sorted(self.streams), min(len(self.streams), 3))
        widths = [self.streams[n] for n in names]
        v, label, n = self.name("v"), self.name("f"), len(names)
        self.lines += [
            f"{v} = [{', '.join(names)}]",
            f"for i in 0..{n} {{ for j in 0..{n} {{",
            f'    if i != j {{ {v}[i] += {v}[j] -> "{label}_{{i}}_{{j}}": linear({widths}[i]) }}',
            "} }",
            f"{', '.join(names)} = ({', '.join(f'{v}[{i}]' for i in range(n))})",
        ]
        self.changed(*names)

    def temporary(self) -> None:
        width = self.rng.randrange(1, 5)
        e, reads = self.branch(width, ())
        name = self.name("t")
        self.lines.append(f"{name} = {e}")
        self.temporaries[name] = (width, reads)

    def new(self) -> None:
        width = self.rng.randrange(1, 4)
        e, _ = self.branch(width, ())
        name = self.name("n")
        self.lines.append(f"new {name} = {e}")
        self.streams[name] = width
        self.injective = True

    # -- the whole -------------------------------------------------------------------------------------------------
    def statements(self, count: int) -> None:
        kinds = [self.update, self.affine, self.apply, self.split, self.concat, self.swap, self.coupling, self.loop]
        kinds += [self.update, self.temporary, self.temporary, self.listed]
        for _ in range(count):
            self.rng.choice(kinds)()
        if self.rng.random() < 0.15:
            self.new()

    def text(self, returned: list[str]) -> str:
        body = "\n".join(f"    {line}" for line in [*self.lines, f"return {', '.join(returned)}"])
        inputs = ", ".join(f"x{i}: [B, {w}]" for i, w in enumerate(self.widths))
        return f"use std.reversible: coupling\n\nreversible block net({inputs}; c: [B, {CONTEXT}]) {{\n{body}\n}}\n"

    widths: list[int] = field(default_factory=list)


def _start(seed: int) -> Block:
    rng = random.Random(seed)
    block = Block(rng)
    block.widths = [rng.randrange(2, 6) for _ in range(rng.randrange(2, 4))]
    block.streams = {f"x{i}": w for i, w in enumerate(block.widths)}
    return block


def right(seed: int) -> str:
    """A block that is reversible, and of which the inverse should be found."""
    block = _start(seed)
    block.statements(block.rng.randrange(1, 10))
    names = sorted(block.streams)
    block.rng.shuffle(names)
    return block.text(names)


def wrong(seed: int) -> tuple[str, set[str]]:
    """A block with one mistake, and the codes with which it may be refused."""
    block = _start(seed)
    rng = block.rng
    block.statements(rng.randrange(0, 6))
    kind = rng.choice(sorted(MISTAKES))
    s = block.pick()
    o = block.pick(beside=(s,)) if len(block.streams) > 1 else "c"
    w = block.streams[s]
    f, t = block.name("bad"), block.name("t")
    after: list[str] = []
    names = sorted(block.streams)
    if kind == "self":
        forms = [f"{s} += {s} -> {f}: linear({w})", f"{s} -= tanh({s})", f"{s} = {s} + relu({s})"]
        after = [rng.choice([*forms, f"{s} *= exp(tanh({s}))", f"{s} += (concat([{o}, {s}]) -> {f}: linear({w}))"])]
    elif kind == "self through a temporary":
        after = [f"{t} = {s} -> {f}: linear({w})", f"{s} += {t} * sigmoid({t})"]
    elif kind == "stale":
        after = [f"{t} = {s} -> {f}: linear({w})", f"{s} += c -> {f}a: linear({w})", f"new {t}n = {t}"]
        names.append(f"{t}n")
    elif kind == "stale view":
        after = [f"{t} = {s}[:, 0:1]", f"{s} = 2 * {s}", f"new {t}n = {t} -> {f}: linear(3)"]
        names.append(f"{t}n")
    elif kind == "overwritten":
        after = [f"{s} = {o} -> {f}: linear({w})"]
    elif kind == "not invertible":
        after = [f"{s} = {s} -> {rng.choice(['relu', f'{f}: linear({w})', 'abs', 'softmax(1)', 'dropout(0.1)'])}"]
    elif kind == "dropped":
        names.remove(s)
        after = [f"new {t} = c -> {f}: linear(2)"]
        names.append(t)
    elif kind == "returned twice":
        names.insert(rng.randrange(len(names) + 1), s)
    elif kind == "factor":
        k = rng.choice(["tanh({})", "({})", "relu({})", "(tanh({}) + 0.5)", "sin({})"])
        after = [f"{s} = {k.format(f'c -> {f}: linear({w})')} * {s}"]
    elif kind == "wider":
        after = [f"new {t} = c -> {f}: linear(1)", f"{t} += c"]
        names.append(t)
    elif kind == "context":
        after = [f"c += {o} -> {f}: linear({CONTEXT})"]
    elif kind == "phase":
        after = [f"if training {{ {s} += c -> {f}: linear({w}) }}"]
    elif kind == "loop meets itself":
        after = [
            f"new {t} = c -> {f}: linear({w})",
            f"{t}v = [{s}, {t}]",
            f'for i in 0..2 {{ {t}v[i] += {t}v[{rng.randrange(2)}] -> "{f}_{{i}}": linear({w}) }}',
            f"{s}, {t} = ({t}v[0], {t}v[1])",
        ]
        names.append(t)
    else:
        after = [f"{s} = concat([{s}, {s}])"]
    block.lines += after
    rng.shuffle(names)
    return block.text(names), MISTAKES[kind]
