"""Writes repetition as loops: numbered attributes, members of containers, and the forward's statements over them.

Rolled bodies of different lengths have one structure, so that they share a class, with the length as an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from archlang.codegen.body import (
    LAYER,
    Body,
    InitItem,
    Loop,
    Marked,
    RollInit,
    Rule,
    Select,
    SetAttr,
    Step,
    StepItem,
    TwoWay,
)
from archlang.codegen.exprs import SELF, Call, Ctor, Get, Item, Kwarg, Leaf, Py, Raw, Rep, Roll, Seq, Slice, Var
from archlang.codegen.flow import reads, targets
from archlang.codegen.names import identifier
from archlang.codegen.passes import Passes, Place, Search, place, replaced
from archlang.codegen.printer import string
from archlang.codegen.progress import Alike, roll_neighbours

__all__ = ["roll"]

_NO_MODULES = frozenset({"nn.Parameter"})


def roll(body: Body, alike: Alike) -> Body:
    """The body with loops for what it repeats."""
    rolled = _Rolling(body, body, alike).run() if body.form != "sequential" else body
    methods = tuple(
        replace(m, body=_Rolling(m.body, body, alike).run()) if m.kind == "Tensor" else m for m in rolled.methods
    )
    inits = tuple(replace(i, value=_containers(i.value, alike)) if isinstance(i, SetAttr) else i for i in rolled.inits)
    if body.form == "sequential":
        base = roll_neighbours(tuple(_containers(b, alike) for b in body.base), alike, "depth")
    else:
        base = tuple(_members(b, alike) for b in body.base)
    return replace(rolled, inits=inits, base=base, methods=methods)


# -- containers --------------------------------------------------------------------------------------------------------
def _containers(e: Py, alike: Alike) -> Py:
    if not isinstance(e, Call) or not isinstance(e.func, Raw):
        return e
    if e.func.text == "nn.Sequential":
        return replace(e, args=roll_neighbours(tuple(_containers(a, alike) for a in e.args), alike, "depth"))
    return replace(e, args=tuple(_members(a, alike) for a in e.args)) if e.func.text == "nn.ModuleList" else e


def _members(e: Py, alike: Alike) -> Py:
    if not isinstance(e, Seq):
        return e
    return Seq(roll_neighbours(tuple(_containers(i, alike) for i in e.items), alike, "depth"), e.kind)


def _total(e: Py) -> int | None:
    """How many modules a list holds."""
    if isinstance(e, Call) and e.func == Raw("nn.ModuleList") and len(e.args) == 1:
        return _total(e.args[0])
    if isinstance(e, Rep):
        return e.count.value if isinstance(e.count, Leaf) else None
    if isinstance(e, Seq):
        counts = [_total(i) if isinstance(i, Rep) else 1 for i in e.items]
        return None if None in counts else sum(c for c in counts if c is not None)
    return None


# -- loops -------------------------------------------------------------------------------------------------------------
@dataclass
class _Rolling:
    body: Body
    around: Body  # the class's: the body itself, or that of which it is a method
    alike: Alike

    def run(self) -> Body:
        self.inits = list(self.body.inits)
        self.rules = list(self.body.rules)
        self.names = list(self.body.names)
        self.totals = {i.name: _total(i.value) for i in self.around.inits if isinstance(i, SetAttr)}
        if self.around.form == "list":
            self.totals[""] = _total(self.around.base[0])
        steps = self.body.steps
        search = Search(steps, {v for o in self.body.outputs for v in o.values}, self.alike)
        found: list[StepItem] = []
        at = 0
        while at < len(steps):
            loop, taken = self._first(search.at(at))
            found.append(steps[at] if loop is None else loop)
            at += taken
        changed = replace(
            self.body, inits=tuple(self.inits), rules=tuple(self.rules), steps=tuple(found), names=tuple(self.names)
        )
        return changed if changed.steps == steps else _renumbered(changed)

    def _first(self, candidates: list[Passes]) -> tuple[Loop | None, int]:
        for passes in candidates:
            loop = self._loop(passes)
            if loop is not None:
                return loop, passes.end - passes.start
        return None, 1

    def _loop(self, passes: Passes) -> Loop | None:
        attributes = [p for p in passes.moving if p.kind == "attribute"]
        lists = [p for p in passes.moving if p.kind == "list"]
        if any(self.totals.get(p.name) is None for p in lists):
            return None
        side_by_side = all(len(numbers) == 1 for numbers in passes.moving.values())
        alone = len(attributes) == 1 and not lists and len(self.inits) == passes.count and side_by_side
        by_number = bool(passes.moving) and not alone and (bool(attributes) or not side_by_side)
        if (by_number and self._uses_i()) or (attributes and not self._attributes(passes, attributes)):
            return None
        heads: tuple[Py, ...] = ()
        if alone:
            heads = (Call(Get(SELF, "children")),)
        elif not by_number:
            heads = tuple(self._slice(p, min(passes.moving[p]), passes.count) for p in lists)
        references = {p: Var(LAYER.index - k) for k, p in enumerate(passes.moving)} if heads else {}
        return self._written(passes, references, heads)

    def _uses_i(self) -> bool:
        """Whether something else in the forward may be called `i`."""
        names = [*self.body.names, *(p.port.name for p in self.body.ports), *(s.slot for s in self.body.lent)]
        names += [s.symbol.lower() for s in self.body.sizes]
        names += [s.label for s in self.body.steps if not isinstance(s, Select)]
        return any(identifier(n).strip("_0123456789") == "i" for n in names)

    def _slice(self, where: Place, first: int, count: int) -> Py:
        whole: Py = Get(SELF, where.name) if where.name else SELF
        total = self.totals[where.name]
        if first == 0 and count == total:
            return whole
        upper = None if first + count == total else Leaf(first + count, "stop")
        if not where.name:  # a slice of a subclass would call the subclass's constructor
            whole = Call(Raw("list"), (SELF,))
        return Item(whole, (Slice(Leaf(first) if first else None, upper),))

    def _written(self, passes: Passes, references: dict[Place, Var], heads: tuple[Py, ...]) -> Loop:
        steps = self.body.steps
        last = [s for s in steps[passes.end - passes.period : passes.end] if isinstance(s, Step)]

        def rule(e: Any) -> Any:
            if isinstance(e, Var):
                return Var(passes.before[e.index]) if e.index in passes.before else e
            here = place(e)
            if here is None or here[0] not in passes.moving:
                return None
            where, number = here
            first = number - passes.count + 1
            if where in references:
                return references[where]
            index = f"i + {first}" if first else "i"
            if where.kind == "list":
                return replace(e, items=(Raw(index),))
            return Call(Get(SELF, "get_submodule"), (Raw("f" + string(f"{where.name}{{{index}}}")),))

        inner = tuple(replace(s, value=replaced(s.value, rule)) for s in last)
        growing: list[int] = []
        for j, step in enumerate(last):
            same = [targets(s) for s in steps[passes.start + j : passes.end : passes.period]]
            for v, column in zip(targets(step), zip(*same, strict=True), strict=True):
                if len({self.body.types[u] for u in column}) > 1:
                    growing.append(v)
                if len({self.names[u] for u in column}) > 1:
                    self.names[v] = ""
        count = Leaf(0 if heads else passes.count, self._hint(passes))
        first = last[0]
        labels = tuple(_element(p) for p in passes.moving)
        streams = passes.streams
        return Loop(streams, streams, passes.initial, Raw("..."), count, phase=first.phase, span=first.span,
                    inner=inner, heads=heads, labels=labels, growing=tuple(growing))  # fmt: skip

    @staticmethod
    def _hint(passes: Passes) -> str:
        return "layers" if any(p.kind == "attribute" for p in passes.moving) else "depth"

    # -- attributes --------------------------------------------------------------------------------------------------
    def _attributes(self, passes: Passes, places: list[Place]) -> bool:
        """Rolls the constructor's part of a loop over attributes; False, and nothing done, where that cannot be."""
        if any(len(passes.moving[p]) > 1 for p in places):
            return False
        firsts = {p.name: min(passes.moving[p]) for p in places}
        names = {f"{stem}{first + k}" for stem, first in firsts.items() for k in range(passes.count)}
        at = [i for i, item in enumerate(self.inits) if isinstance(item, SetAttr) and item.name in names]
        items = [i for i in self.inits if isinstance(i, SetAttr) and i.name in names]
        if len(items) != len(names) or at != list(range(at[0], at[0] + len(at))) or not all(map(_is_module, items)):
            return False
        order = [next(((s, n) for s, n in firsts.items() if f"{s}{n}" == i.name), None) for i in items[: len(firsts)]]
        stems = tuple(o for o in order if o is not None)
        expected = [f"{stem}{first + k}" for k in range(passes.count) for stem, first in stems]
        if len(stems) != len(firsts) or [i.name for i in items] != expected:
            return False
        columns = [tuple(i.value for i in items[j :: len(stems)]) for j in range(len(stems))]
        others: list[Any] = [i for i in self.inits if i not in items]
        others += [s for i, s in enumerate(self.body.steps) if not passes.start <= i < passes.end]
        others += [m.body.steps for m in self.body.methods]
        if not all(self.alike.progress(c) for c in columns) or names & set(_attributes_in(tuple(others))):
            return False
        rules = self._marked(stems, passes.count)
        if rules is None:
            return False
        count = Leaf(passes.count, "layers")
        made: InitItem = RollInit(stems, tuple(Roll(c, count) for c in columns))
        self.inits[at[0] : at[0] + len(at)] = [made]
        self.rules = rules
        return True

    def _marked(self, stems: Sequence[tuple[str, int]], count: int) -> list[Rule] | None:
        """The rules, with one for all numbers; None where they differ between them."""
        rules = self.rules
        for stem, first in stems:
            names = [f"{stem}{first + k}" for k in range(count)]
            mine = [[r for r in rules if r.path[0] == name] for name in names]
            rests = [[(r.path[1:], r.code, r.kind) for r in own] for own in mine]
            if any(not self.alike.equal([tuple(rests[0]), tuple(r)]) for r in rests[1:]):
                return None
            mark = Marked(first, Leaf(count, "layers"), stem)
            new = {id(r): replace(r, path=(mark, *r.path[1:]), direct=None) for r in mine[0]}
            rules = [new.get(id(r), r) for r in rules if r.path[0] not in names[1:]]
        return rules


def _is_module(item: SetAttr) -> bool:
    if item.buffer:
        return False
    call = isinstance(item.value, Call) and isinstance(item.value.func, Raw)
    return isinstance(item.value, Ctor) or (call and item.value.func.text not in _NO_MODULES)  # type: ignore[union-attr]


def _attributes_in(e: Any) -> list[str]:
    found: list[str] = []
    stack = [e]
    while stack:
        top = stack.pop()
        if isinstance(top, tuple):
            stack.extend(top)
        elif isinstance(top, Get) and top.value == SELF:
            found.append(top.name)
        elif is_dataclass(top) and not isinstance(top, (type, Ctor, Kwarg)):
            stack.extend(getattr(top, f.name) for f in fields(top) if not f.metadata.get("meta") and f.name != "graph")
        elif isinstance(top, Kwarg):
            stack.append(top.value)
    return found


def _element(where: Place) -> str:
    """What one of several modules is called: `layers` -> `layer`."""
    name = where.name
    return name[:-1] if where.kind == "list" and name.endswith("s") and len(name) > 2 else "layer"


# -- numbers -----------------------------------------------------------------------------------------------------------
def _renumbered(body: Body) -> Body:
    """Without the values of the passes that are no longer written."""
    used: set[int] = {v for p in body.ports for v in p.values} | {s.value for s in body.sizes}
    used |= {v for o in body.outputs for v in o.values}
    for step in body.steps:
        used |= {v for v in reads(step) if v >= 0} | set(targets(step))
        if isinstance(step, Loop):
            used |= {v for s in step.inner for v in (*targets(s), *reads(s)) if v >= 0}
    order = sorted(used)
    new = {v: i for i, v in enumerate(order)}

    def number(t: Any) -> Any:
        return tuple(number(part) for part in t) if isinstance(t, tuple) else new[t]

    def item(s: StepItem) -> StepItem:
        def rule(e: Any) -> Any:
            return Var(new.get(e.index, e.index)) if isinstance(e, Var) else None

        if isinstance(s, Step):
            return replace(s, target=number(s.target), value=replaced(s.value, rule))
        if isinstance(s, Loop):
            inner = tuple(item(i) for i in s.inner)
            return replace(s, target=number(s.target), streams=number(s.streams), initial=number(s.initial),
                           value=replaced(s.value, rule), inner=inner, growing=number(s.growing))  # type: ignore[arg-type]  # fmt: skip
        if isinstance(s, TwoWay):
            return replace(s, train=number(s.train), evaluation=number(s.evaluation), value=replaced(s.value, rule))
        return replace(s, target=new[s.target], train=new[s.train], evaluation=new[s.evaluation])

    return replace(
        body,
        ports=tuple(replace(p, values=number(p.values)) for p in body.ports),
        sizes=tuple(replace(s, value=new[s.value]) for s in body.sizes),
        steps=tuple(item(s) for s in body.steps),
        outputs=tuple(replace(o, values=number(o.values)) for o in body.outputs),
        names=tuple(body.names[v] for v in order),
        types=tuple(body.types[v] for v in order),
    )
