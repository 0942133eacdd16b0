"""Statements before they are text: what is bound, where the flow starts, and its steps; and how they are laid out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Union

from archlang.records import dataclass, replace

__all__ = ["Line", "Listed", "Step", "laid_out"]

WIDTH = 110
OPERAND = 90  # as wide as an expression gets when operands are put into it


@dataclass(frozen=True, slots=True)
class Listed:
    """A step that is a composition written in place: `label: chain([a, b -> c])`; not chained, `label: (a -> b)`.

    items: the elements of the list, each a flow; the one flow, where it is no chain.
    """

    label: str
    items: tuple[tuple[Step, ...], ...]
    chained: bool

    @property
    def ends(self) -> tuple[str, str]:
        return (f"{self.label}chain([", "])") if self.chained else (f"{self.label}(", ")")

    def mapped(self, change: Callable[[str], str]) -> Listed:
        items = tuple(tuple(_changed(step, change) for step in item) for item in self.items)
        return Listed(change(self.label), items, self.chained)

    def __str__(self) -> str:
        start, end = self.ends
        return start + ", ".join(" -> ".join(map(str, item)) for item in self.items) + end

    def rows(self) -> list[str]:
        """Its text on several lines."""
        start, end = self.ends
        inner = _filled(self.items) if self.chained else _flow("", self.items[0])
        return [start, *(f"    {row}" for row in inner), end]


Step = Union[str, Listed]


@dataclass(slots=True)
class Line:
    """`targets = head -> steps`; in a phase, "train" or "eval", where that is not None. text: any other statement.

    operator: the head is an expression that a flow needs in parentheses. open: the next line may go on with its steps,
    because nothing else reads what this one gives. result: it is what the block returns, and has no name.
    """

    targets: tuple[str, ...] = ()
    head: str = ""
    steps: tuple[Step, ...] = ()
    phase: str | None = None
    text: str = ""
    operator: bool = False
    open: bool = False
    result: bool = False

    def mapped(self, change: Callable[[str], str]) -> Line:
        """With other texts."""
        steps = tuple(_changed(step, change) for step in self.steps)
        text, head = change(self.text), change(self.head)
        return Line(self.targets, head, steps, self.phase, text, self.operator, self.open, self.result)

    def continued(self, other: Line) -> Line | None:
        """Both as one; None where the other does not start with what this one gives."""
        if not self.open or self.phase != other.phase or not other.steps or (other.head,) != self.targets:
            return None
        head = f"({self.head})" if self.operator and not self.steps else self.head
        steps = (*self.steps, *other.steps)
        return Line(other.targets, head, steps, self.phase, open=other.open, result=other.result)

    def inside(self, other: Line) -> Line | None:
        """The other with this one in its place, as an operand that it alone reads; None where that reads badly."""
        if not self.open or self.phase != other.phase or not other.operator or not other.head or len(self.targets) != 1:
            return None
        found = re.search(rf"\b{re.escape(self.targets[0])}\b", other.head)
        if found is None or "(" in other.head[: found.start()]:
            return None
        flow = " -> ".join(map(str, ((self.head,) if self.head else ()) + self.steps))
        flow = f"({flow})" if self.steps or self.operator else flow
        head = f"{other.head[: found.start()]}{flow}{other.head[found.end() :]}"
        return replace(other, head=head) if len(head) <= OPERAND else None

    def rendered(self) -> list[str]:
        """Its text; a long flow stands on several lines."""
        if self.text:
            return self.text.split("\n")
        start = "return " if self.result else f"{', '.join(self.targets)} = "
        return _flow(start, ((self.head,) if self.head else ()) + self.steps)


def _changed(step: Step, change: Callable[[str], str]) -> Step:
    return change(step) if isinstance(step, str) else step.mapped(change)


def _flow(start: str, steps: Sequence[Step]) -> list[str]:
    """Steps one after the other: on one line where they fit, else with as much on each as fits."""
    whole = start + " -> ".join(map(str, steps))
    if len(whole) <= WIDTH or (len(steps) < 2 and not any(isinstance(step, Listed) for step in steps)):
        return [whole]
    rows = [start]
    for i, step in enumerate(steps):
        joint, text = " -> " if i else "", str(step)
        if len(rows[-1]) + len(joint) + len(text) <= WIDTH or (i == 0 and isinstance(step, str)):
            rows[-1] += joint + text
        elif isinstance(step, str) or len(text) + 8 <= WIDTH:
            rows.append(f"    -> {text}")
        else:
            first, *others = step.rows()
            if len(rows[-1]) + len(joint) + len(first) <= WIDTH:
                rows[-1] += joint + first
            else:
                rows.append(f"    -> {first}")
            rows += others
    return rows


def _filled(items: Sequence[Sequence[Step]]) -> list[str]:
    """The items of a list, as many on a line as fit; what needs several lines has them to itself."""
    if len(items) == 1:  # a comprehension has no comma after it
        return _flow("", items[0])
    rows: list[str] = []
    whole = False  # whether the last row takes more items
    for item in items:
        text = " -> ".join(map(str, item))
        if len(text) < WIDTH:
            if whole and len(rows[-1]) + len(text) + 2 < WIDTH:
                rows[-1] += f" {text},"
            else:
                rows.append(f"{text},")
            whole = True
        else:
            *first, last = _flow("", item)
            rows += [*first, f"{last},"]
            whole = False
    return rows


def laid_out(lines: Iterable[Line]) -> Iterator[str]:
    """The text of statements, with flows put together and phases in `if training`."""
    phase: str | None = None
    for line in _joined(lines):
        if line.phase != phase:
            if phase is not None:
                yield "}"
            if line.phase is not None:
                yield "if training {" if line.phase == "train" else "if not training {"
            phase = line.phase
        for row in line.rendered():
            yield f"    {row}" if phase else row
    if phase is not None:
        yield "}"


def _joined(lines: Iterable[Line]) -> Iterator[Line]:
    last: Line | None = None
    for line in lines:
        both = (last.continued(line) or last.inside(line)) if last is not None else None
        if both is None and last is not None:
            yield last
        last = both or line
    if last is not None:
        yield last
