"""Plans as text and as data: the curve of memory and work, the parts of one plan, the remark in a generated file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from archlang.analyze.report import amount_of, short
from archlang.budget.budget import Budget, Fit, layout_of
from archlang.budget.course import Choice
from archlang.budget.sheet import macs_of
from archlang.budget.units import What
from archlang.report.table import table

__all__ = ["curve_dict", "curve_text", "name_of", "plan_dict", "plan_text", "remark"]

_WORDS = {"again": "evaluated again", "undo": "undone", "way": "stored"}


def remark(budget: Budget, fit: Fit, memory: int) -> str:
    """What a generated file says of its plan."""
    at = ", ".join(f"{name}={size}" for name, size in budget.sizes.items())
    where = f"{amount_of(memory)} at {at}" if at else amount_of(memory)
    return (
        f"Planned for training within {where}: at most {amount_of(fit.peak)} are held for the backward pass, "
        f"{amount_of(fit.kept)} of it from the forward pass; {_again(budget, fit)} are computed again. With all "
        f"stored, {amount_of(budget.stored.peak)} would be held."
    )


def _again(budget: Budget, fit: Fit) -> str:
    return f"{short(fit.again)} of {short(budget.macs)} MACs ({_percent(budget, fit.again)})"


def _percent(budget: Budget, macs: int) -> str:
    return f"{100 * macs / max(1, budget.macs):.1f} %"


def _bound(fit: Fit) -> str:
    """How far from the best plan it can be, where that is known."""
    if fit.bound == fit.again > 0:
        return ", no such plan has fewer"
    return f", no such plan has fewer than {short(fit.bound)}" if fit.bound else ""


# -- the curve ---------------------------------------------------------------------------------------------------------
def curve_text(budget: Budget, fits: Sequence[Fit], title: str) -> str:
    """The plans for growing budgets, a line each."""
    rows = [["memory", "of it kept", "MACs again", "of a forward pass", ""]]
    for fit in fits:
        word = "all stored" if not fit.again and not budget.schedule(fit) else ""
        share = _percent(budget, fit.again)
        rows.append([amount_of(fit.peak), amount_of(fit.kept), short(fit.again), share, word])
    return f"{title}\n\n{_lines(rows, left={4})}{_uncounted(budget)}"


def curve_dict(budget: Budget, fits: Sequence[Fit]) -> dict[str, Any]:
    points = [{"peak": fit.peak, "kept": fit.kept, "macs_again": fit.again} for fit in fits]
    return {"sizes": budget.sizes, "macs": budget.macs, "curve": points, "not_counted": list(budget.uncounted)}


# -- one plan ----------------------------------------------------------------------------------------------------------
def plan_text(budget: Budget, fit: Fit, title: str) -> str:
    """A plan, part by part; equal parts in a row in one line."""
    facts = [
        ("held at most", amount_of(fit.peak)),
        ("kept", f"{amount_of(fit.kept)} at the end of the forward pass"),
        ("computed again", _again(budget, fit) + _bound(fit)),
        ("all stored", amount_of(budget.stored.peak)),
        ("at least", amount_of(budget.least.peak)),
    ]
    lines = "".join(f"  {name:<16}{value}\n" for name, value in facts)
    rows = [["part", "", "kept", "rebuilt", "MACs again"]]
    rows += [[r.part, r.how, amount_of(r.kept), amount_of(r.rebuilt), short(r.again)] for r in _rows(fit)]
    return f"{title}\n\n{lines}\n{_lines(rows, left={0, 1})}{_uncounted(budget)}"


def plan_dict(budget: Budget, fit: Fit) -> dict[str, Any]:
    parts = [
        {"part": r.part, "how": r.how, "kept": r.kept, "rebuilt": r.rebuilt, "macs_again": r.again} for r in _rows(fit)
    ]
    figures = {"peak": fit.peak, "kept": fit.kept, "macs_again": fit.again, "macs_again_bound": fit.bound}
    return {**figures, "parts": parts}


class _Row:
    """A choice, or several equal ones in a row."""

    def __init__(self, name: str, how: str, kept: int, rebuilt: int, again: int) -> None:
        self.first, self.last, self.how = name, name, how
        self.kept, self.rebuilt, self.again = kept, rebuilt, again
        self.count = 1

    @property
    def part(self) -> str:
        return self.first if self.first == self.last else f"{self.first} .. {self.last}"

    def joins(self, other: _Row) -> bool:
        """Whether another row says the same of what comes next; the row then is about both."""
        mine = (self.how, self.rebuilt, self.again // self.count, _stem(self.first))
        if mine != (other.how, other.rebuilt, other.again, _stem(other.first)):
            return False
        self.last, self.count = other.last, self.count + 1
        self.kept, self.again = self.kept + other.kept, self.again + other.again
        return True


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _rows(fit: Fit) -> list[_Row]:
    found: list[_Row] = []
    sizes = layout_of(fit).course.sizes
    there: set[int] = set()
    for choice in fit.plan.choices:
        kept = choice.kept(sizes, there)
        there |= choice.keeps
        what: What = choice.what
        how = _WORDS[what.kind]
        if what.schedule:
            inside = "; ".join(_inner(what))
            how = f"{how}: {inside}" if what.kind == "again" else inside
        row = _Row(name_of(choice), how, kept, choice.extra, macs_of(choice.cost))
        if not found or not found[-1].joins(row):
            found.append(row)
    return found


def name_of(choice: Choice) -> str:
    """The paths of what a choice is about."""
    what: What = choice.what
    names = [what.level.prefix + what.level.units[i].name for i in (what.first, what.last - 1)]
    return names[0] if names[0] == names[1] else f"{names[0]} .. {names[1]}"


def _inner(what: What) -> Iterator[str]:
    """What is decided inside of a call."""
    callee = what.level.units[what.first].step.node.callee
    assert callee is not None
    for decision in what.schedule:
        nodes = callee.nodes[decision.start[0]], callee.nodes[decision.stop[0]]
        first, last = (node.path or node.op for node in nodes)
        part = first if first == last else f"{first} .. {last}"
        yield f"{part} in parts" if decision.kind == "inside" else f"{part} {_WORDS[decision.kind]}"


def _lines(rows: Sequence[Sequence[str]], left: set[int]) -> str:
    return "".join(f"{line}\n" for line in table(rows, left=left, indent="  "))


def _uncounted(budget: Budget) -> str:
    return f"\n  not counted: {', '.join(budget.uncounted)}\n" if budget.uncounted else ""
