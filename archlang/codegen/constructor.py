"""Prints a class's `__init__`: super call, stored arguments, modules, weights, and initialisation last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from archlang.codegen.body import Do, ForRange, InitItem, Marked, RollInit, Rule, SetAttr
from archlang.codegen.classes import Unit
from archlang.codegen.construct import HOLE
from archlang.codegen.exprs import SELF, Bin, Call, Get, Leaf, Map, Py, Raw, Rep, Seq
from archlang.codegen.flow import substitute
from archlang.codegen.printer import WIDTH, Printer, string
from archlang.codegen.sweeps import Sweep

__all__ = ["buffers", "print_constructor", "signature"]


def buffers(unit: Unit) -> list[str]:
    """Class-level annotations: mypy does not see what register_buffer adds."""
    assert unit.body is not None
    return [f"{i.name}: Tensor" for i in unit.body.inits if isinstance(i, SetAttr) and i.buffer]


def print_constructor(unit: Unit, stored: list[str], swept: Sequence[Sweep] = ()) -> list[str]:
    """Lines of `__init__`, indented as in a class; none where nn.Module's own will do."""
    return _Constructor(unit).run(stored, swept)


def signature(name: str, parameters: list[str], result: str, indent: int) -> list[str]:
    """`def name(parameters) -> result:`, one parameter a line where it does not fit."""
    pad = " " * indent
    flat = f"{pad}def {name}({', '.join(parameters)}) -> {result}:"
    if len(flat) <= WIDTH or not parameters:
        return [flat]
    return [f"{pad}def {name}(", *(f"{pad}    {p}," for p in parameters), f"{pad}) -> {result}:"]


class _Constructor:
    def __init__(self, unit: Unit) -> None:
        assert unit.body is not None and unit.arguments is not None
        self.body, self.arguments = unit.body, unit.arguments
        self.printer = Printer(argument=lambda leaf: self.arguments.text(leaf, lambda name: name))

    def run(self, stored: list[str], swept: Sequence[Sweep]) -> list[str]:
        pad = " " * 8
        body = self.body
        if not (body.inits or body.base or body.rules or stored or swept):
            return []
        parameters = ["self", *(a.parameter for a in self.arguments.all)]
        out = signature("__init__", parameters, "None", 4)
        sequential = body.form == "sequential"
        base = _neighbours(body.base) if sequential else tuple(_listed(b) for b in body.base)
        out += self.printer.statement(Call(Get(Call(Raw("super")), "__init__"), base), 8)
        out += [f"{pad}self.{name} = {name}" for name in stored]
        for item in body.inits:
            out += self._item(item)
        return [*out, *self._rules(), *self._sweeps(swept)]

    def _item(self, item: InitItem) -> list[str]:
        if isinstance(item, SetAttr):
            return self.printer.statement(folded(item.value), 8, "" if item.buffer else f"self.{item.name} = ")
        if isinstance(item, Do):
            return self.printer.statement(item.value, 8)
        if isinstance(item, RollInit):
            return self._rolled(item)
        assert isinstance(item, ForRange)
        return [
            f"{' ' * 8}for i in range({self._range(item.start, item.count)}):",
            *self.printer.statement(item.value, 12),
        ]

    def _rolled(self, item: RollInit) -> list[str]:
        """Numbered attributes: `self.add_module(f"layer{i + 1}", Layer(64 + 32 * i))` in a loop."""
        out: list[str] = []
        for (stem, first), value in zip(item.stems, item.values, strict=True):
            assert isinstance(value, Rep)  # since the members of the class were joined
            if not out:
                out.append(f"{' ' * 8}for i in range({self.printer.text(value.count)}):")
            number = f"i + {first}" if first else "i"
            name = Raw("f" + string(f"{stem}{{{number}}}"))
            out += self.printer.statement(Call(Get(SELF, "add_module"), (name, folded(value.element))), 12)
        return out

    def _range(self, start: int, count: Py) -> str:
        if not start:
            return self.printer.text(count)
        stop = Leaf(start + count.value) if isinstance(count, Leaf) else Bin("+", Leaf(start), count)
        return f"{start}, {self.printer.text(stop)}"

    # -- initialisation ----------------------------------------------------------------------------------------------
    def _rules(self) -> list[str]:
        """Weights that share a rule in one loop over their names."""
        groups: list[tuple[Py, str, list[Rule]]] = []
        places: dict[tuple[Py, str], int] = {}
        for rule in self.body.rules:
            key = (rule.code, rule.kind)
            if key not in places:
                places[key] = len(groups)
                groups.append((rule.code, rule.kind, []))
            groups[places[key]][2].append(rule)
        out: list[str] = []
        for code, kind, rules in groups:
            plain = [r for r in rules if all(isinstance(p, str) for p in r.path)]
            out += self._plain(code, kind, plain)
            for rule in rules:
                if rule not in plain:
                    out += self._marked(code, rule)
        return out

    def _sweeps(self, swept: Sequence[Sweep]) -> list[str]:
        """One loop over all modules, one arm per torch class."""
        arms: dict[str, list[Sweep]] = {}
        for sweep in swept:
            arms.setdefault(sweep.torch_class, []).append(sweep)
        out = [f"{' ' * 8}for m in self.modules():"] if arms else []
        for i, (torch_class, items) in enumerate(arms.items()):
            test = f"{' ' * 12}{'elif' if i else 'if'} isinstance(m, {torch_class})"
            alone = i + 1 == len(arms) and len(items) == 1 and items[0].optional  # linters want one condition there
            out.append(f"{test} and m.{items[0].weight} is not None:" if alone else f"{test}:")
            for item in items:
                nested = item.optional and not alone
                if nested:
                    out.append(f"{' ' * 16}if m.{item.weight} is not None:")
                code = substitute(item.code, HOLE.index, Get(Raw("m"), item.weight))
                out += self.printer.statement(code, 20 if nested else 16)
        return out

    def _plain(self, code: Py, kind: str, rules: list[Rule]) -> list[str]:
        if not rules:
            return []
        names = [".".join(str(p) for p in r.path) for r in rules]
        if len(rules) == 1:
            target = rules[0].direct or _weight(kind, Raw(string(names[0])))
            return self.printer.statement(substitute(code, HOLE.index, target), 8)
        listed = Seq(tuple(Raw(string(n)) for n in names))
        loop = self.printer.statement(listed, 8, "for name in ", ":")
        return [*loop, *self.printer.statement(substitute(code, HOLE.index, _weight(kind, Raw("name"))), 12)]

    def _marked(self, code: Py, rule: Rule) -> list[str]:
        """A weight in every member of a run, or of runs in runs."""
        out: list[str] = []
        parts: list[str] = []
        indent = 8
        letters = iter("ijkmnpqrstuvw")
        for part in rule.path:
            if isinstance(part, Marked):
                letter = next(letters)
                out.append(f"{' ' * indent}for {letter} in range({self._range(part.start, part.count)}):")
                indent += 4
                parts.append(f"{part.stem}{{{letter}}}")
            else:
                parts.append(part.replace("{", "{{").replace("}", "}}"))
        name = Raw("f" + string(".".join(parts)))
        return [*out, *self.printer.statement(substitute(code, HOLE.index, _weight(rule.kind, name)), indent)]


def _weight(kind: str, name: Py) -> Py:
    return Call(Get(SELF, "get_buffer" if kind == "buffer" else "get_parameter"), (name,))


def folded(e: Py) -> Py:
    """Three or more equal neighbours in a container as one: `*(Block(8) for _ in range(3))`."""
    if not isinstance(e, Call) or not isinstance(e.func, Raw):
        return e
    if e.func.text == "nn.Sequential":
        return replace(e, args=_neighbours(e.args))
    if e.func.text == "nn.ModuleDict":
        items = tuple((k, folded(v)) for m in e.args if isinstance(m, Map) for k, v in m.items)
        return replace(e, args=(Map(items),))
    if e.func.text == "nn.ModuleList":
        return replace(e, args=tuple(_listed(a) for a in e.args))
    return e


def _listed(e: Py) -> Py:
    if not isinstance(e, Seq):
        return e
    items = _neighbours(e.items)
    alone = items[0] if len(items) == 1 else None
    return replace(alone, star=False) if isinstance(alone, Rep) else Seq(items, "list")


def _neighbours(items: tuple[Py, ...]) -> tuple[Py, ...]:
    found: list[Py] = []
    for _, group in groupby((folded(i) for i in items), key=repr):
        many = list(group)
        found += [Rep(many[0], Leaf(len(many)))] if len(many) > 2 and isinstance(many[0], Call) else many
    return tuple(found)
