"""Blocks of one form become one block: where their numbers differ, it has parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from itertools import permutations
from typing import Any, Union

from archlang.records import dataclass, field
from archlang.unparse.draft import Draft
from archlang.unparse.marks import Called, Index, Initial, Mark, Marked, Number, Width, found, put_in
from archlang.unparse.names import free_name

__all__ = ["Families", "Family"]

Values = tuple[Union[int, float], ...]  # a number, of each member
Column = tuple[str, Values]  # before them, of numbers that may be equal by chance, what they are
WIDE = 8  # numbers above are widths: two that go together are so on purpose


@dataclass(slots=True)
class Family:
    """Blocks that differ in numbers only. names: of the parameters; columns: their values, by member."""

    name: str
    members: list[Draft] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)

    def expression(self, column: Column) -> str:
        """A number of each member as it is written in the block."""
        found = _expression(column, [*zip(self.names, self.columns, strict=True)])
        assert found is not None
        return found


@dataclass(slots=True)
class _Place:
    """Where a number stands: its value in each member, and what a parameter for it may be called."""

    values: Values
    hints: tuple[str, ...]

    @property
    def column(self) -> Column:
        return "" if _wide(self.values) else self.hints[0], self.values


class Families:
    """All families, those that one calls before it, and which member of which one each graph is, by id."""

    def __init__(self) -> None:
        self.all: list[Family] = []
        self.number: dict[int, int] = {}
        self.member: dict[int, int] = {}

    def text(self, family: Family, initials: Mapping[str, str]) -> str:
        """The block, when those that it calls are done. initials: the names that initialisers have."""
        rows = [*zip(*(draft.found for draft in family.members), strict=True)]
        places = [self._places(row) for row in rows]
        first = family.members[0]
        _parameters(family, [place for found in places for place in found], {*first.taken, *initials.values()})
        texts = {
            id(row[0]): self._written(family, row, found, initials) for row, found in zip(rows, places, strict=True)
        }
        kinds = ["int" if all(isinstance(v, int) for v in column) else "float" for _, column in family.columns]
        declared = [f"{name}: {kind}" for name, kind in zip(family.names, kinds, strict=True)]
        return first.text(family.name, declared, lambda mark: texts[id(mark)])

    def alike(self, *texts: Marked) -> bool:
        """Whether two texts come to the same: the same numbers in them, and in all blocks that they call."""
        x, y = (put_in(text, marks, lambda mark: mark.form) for text, marks in texts)
        pending = [*zip(*(found(*marked) for marked in texts), strict=True)] if x == y else []
        seen: set[tuple[int, int]] = set()
        same = x == y
        while pending and same:
            a, b = pending.pop()
            if isinstance(a, Called) and isinstance(b, Called) and (a.graph, b.graph) not in seen:
                seen.add((a.graph, b.graph))
                drafts = [self._called(mark).members[self.member[mark.graph]] for mark in (a, b)]
                same = self.number[a.graph] == self.number[b.graph]
                pending += zip(*(draft.found for draft in drafts), strict=True) if same else ()
            elif isinstance(a, (Number, Index)):
                same = isinstance(b, (Number, Index)) and a.value == b.value
        return same

    def _called(self, mark: Called) -> Family:
        return self.all[self.number[mark.graph]]

    def _places(self, row: Sequence[Mark]) -> list[_Place]:
        """The numbers that stand at a mark, which is given for each member."""
        first = row[0]
        if isinstance(first, (Number, Index)):
            return [_Place(tuple(mark.value for mark in row if isinstance(mark, (Number, Index))), first.hints)]
        if not isinstance(first, Called):
            return []
        family = self._called(first)
        members = [self.member[mark.graph] for mark in row if isinstance(mark, Called)]
        pairs = zip(family.names, family.columns, strict=True)
        return [_Place(tuple(values[i] for i in members), (name,)) for name, (_, values) in pairs]

    def _written(
        self, family: Family, row: Sequence[Mark], places: Sequence[_Place], initials: Mapping[str, str]
    ) -> str:
        first = row[0]
        if isinstance(first, Width):
            return str(first.value) if len({*row}) == 1 else "_"
        if isinstance(first, Initial):
            return initials.get(first.text, first.text)
        texts = [family.expression(place.column) for place in places]
        if isinstance(first, Index):
            return texts[0] if texts[0].isdecimal() else f"{{{texts[0]}}}"
        if isinstance(first, Number):
            if first.default is not None and {*places[0].values} == {first.default}:
                return ""
            return first.lead + (f"({texts[0]})" if first.atom and " " in texts[0] else texts[0])
        called = self._called(first)
        named = [text if i == 0 else f"{called.names[i]}={text}" for i, text in enumerate(texts)]
        arguments = ", ".join([*first.lent, *named])
        return called.name if first.bare and not arguments else f"{called.name}({arguments})"


def _parameters(family: Family, places: Sequence[_Place], taken: Set[str]) -> None:
    """Gives a family the parameters that its places need: none for what the others give."""
    hints: dict[Column, tuple[str, ...]] = {}
    for place in places:
        if len(set(place.values)) > 1:
            hints.setdefault(place.column, place.hints)
    multiples = {c for c in hints if any(_factor(c[1], other) is not None for _, other in hints)}
    bases: list[Column] = []
    for column in [*(c for c in hints if c not in multiples), *multiples]:
        if _expression(column, [("", base) for base in bases]) is None:
            bases.append(column)
    wanted = [hints[column][0] for column in bases]
    for column in sorted(bases, key=[*hints].index):
        first, *others = hints[column]
        found = _declared(family, column[1]) or (others[0] if others and wanted.count(first) > 1 else first)
        family.names.append(free_name(found, {*taken, *family.names}))
        family.columns.append(column)


def _expression(column: Column, params: Sequence[tuple[str, Column]]) -> str | None:
    """A number of each member by parameters; None where they do not give it."""
    values = column[1]
    if len(set(values)) == 1:
        return repr(values[0])
    for name, other in params:
        if column == other:
            return name
    for name, (_, base) in params:
        factor = _factor(values, base)
        if factor is not None:
            return f"{factor} * {name}"
    for (a, (_, x)), (b, (_, y)) in permutations(params, 2):
        steps = _steps(values, x, y)
        if steps is not None:
            return f"{a} + {steps} * {b}" if steps > 1 else f"{a} + {b}"
    return None


def _wide(*columns: Values) -> bool:
    return all(isinstance(v, int) and v > WIDE for values in columns for v in values)


def _factor(values: Values, base: Values) -> int | None:
    """The number > 1 by which widths are those of `base`, if there is one."""
    if values == base or not _wide(values, base):
        return None
    factor = int(values[0] // base[0])
    return factor if factor > 1 and all(v == factor * b for v, b in zip(values, base, strict=True)) else None


def _steps(values: Values, first: Values, by: Values) -> int | None:
    """The number > 0 of steps `by` from the widths `first` on to these, if there is one."""
    if len(values) < 3 or not _wide(values, first, by):
        return None
    steps = int((values[0] - first[0]) // by[0])
    return steps if steps > 0 and all(v == a + steps * b for v, a, b in zip(values, first, by, strict=True)) else None


def _declared(family: Family, column: Values) -> str | None:
    """The parameter of the block as it was written that has these values, or whose widths have shrunk to them."""
    params = [draft.graph.params for draft in family.members]
    found: str | None = None
    for name in params[0]:
        values: list[Any] = [one.get(name) for one in params]
        if name in family.names or not all(type(v) in (int, float) for v in values):
            continue
        if values == [*column]:
            return name
        shrunk = _wide(column, tuple(values)) and column[0] < values[0]
        if shrunk and all(v * values[0] == w * column[0] for v, w in zip(column, values, strict=True)):
            found = found or name
    return found
