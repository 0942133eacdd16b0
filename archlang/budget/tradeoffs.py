"""Ways to train a part of a network, before it is known how much memory there will be for it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from operator import itemgetter

from archlang.budget.course import Course, Plan, measure
from archlang.budget.states import Label, State, States, choices_of, thinned

__all__ = ["tradeoffs"]


def tradeoffs(course: Course, limit: int) -> list[Plan]:
    """Plans of which none is at least as good as another in what it keeps, its peak and its cost; about `limit` of
    them, the smallest and the cheapest among them. Plans that keep other tensors that last are not compared."""
    places = States(course).places
    places[0][0].labels = [(0, 0, None, None, 0)]
    for states in places[:-1]:
        there = [state for state in states if state.labels]
        some = max(8, 2 * limit // max(2, len(there)))
        for state in there:
            _follow(state, some)
    labels = [label for state in places[-1] for label in _front(state.labels, limit)]
    return [measure(course, choices_of(label)) for label in labels]


def _follow(state: State, limit: int) -> None:
    """Extends the labels of a state; the last figure of a label is its peak."""
    front = _front(state.labels, limit)
    for target, more, held, cost, choice in state.arcs:
        for label in front:
            peak = max(label[4], label[0] + held)
            target.labels.append((label[0] + more, label[1] + cost, label, choice, peak))


def _front(labels: list[Label], limit: int) -> list[Label]:
    """The labels that no other one is as good as in all figures, thinned out: the smallest, and the cheapest in each of
    `limit` intervals of sizes."""
    found: list[Label] = []
    sizes: list[int] = []  # of the cheaper labels, those of which none is smaller and has a smaller peak
    peaks: list[int] = []
    for label in sorted(labels, key=itemgetter(1, 0, 4)):
        at = bisect_right(sizes, label[0])
        if at and peaks[at - 1] <= label[4]:
            continue
        found.append(label)
        first = bisect_left(sizes, label[0])
        while at < len(sizes) and peaks[at] >= label[4]:
            at += 1
        sizes[first:at], peaks[first:at] = [label[0]], [label[4]]
    return thinned(sorted(found, key=itemgetter(0)) if len(found) > limit else found, limit, itemgetter(1, 4))
