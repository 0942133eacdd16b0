"""The search itself: the cheapest way to train a course within a budget of memory.

It is a shortest path with a limited resource over the states of a course. Along the arcs go *labels*: what a plan up to
a state keeps, and what it cost; of each state, those of which none is both smaller and cheaper.

A price for a byte turns the limit into costs, and the problem into a plain shortest path, whose length less what the
whole budget costs at that price is a bound from below (Handler and Zang (1980), "A dual algorithm for the constrained
shortest path problem"). The best price gives every state a bound of what it still takes to the end: labels that cannot
lead to a better plan than the best one known are dropped, and so are those that another state's label is as good as,
whatever comes. The rest is followed exactly, up to `FOLLOWED` labels over all places; beyond that, of labels of nearly
the same size the most promising one. On a chain, that is the dynamic program of Beaumont et al. (2019), "Optimal
checkpointing for heterogeneous chains" (without checkpoints inside of checkpoints).
"""

from __future__ import annotations

from math import inf
from operator import attrgetter, itemgetter

from archlang.budget.course import Choice, Course, Plan, measure
from archlang.budget.states import Label, State, States, choices_of, front_of, thinned
from archlang.records import replace

__all__ = ["Search"]

FOLLOWED = 32_768
FIRST = 512  # labels of the search for a plan to compare with
UNBOUNDED = 1 << 62
ROUNDED = 1 + 1e-9  # bounds are floats


class Search:
    """Plans of a course, for any budget. followed: so many labels at a time, over all places."""

    def __init__(self, course: Course, followed: int = FOLLOWED) -> None:
        self.course = course
        self.followed = followed
        self.states = States(course)
        self.places = self.states.places
        self._thinned = False

    def within(self, memory: int) -> Plan | None:
        """The plan of the least cost that is found of those that need at most `memory` bytes, and of equal ones one
        that keeps the least. None: there is no plan."""
        if not self._open(memory):
            return None
        price, bound = self._price(memory)
        # where states are left out, all that is followed may end at one of them
        best = self._cheapest(memory, price, inf, FIRST) or measure(self.course, self._smallest())
        known: float = inf
        while best.cost < known:
            known, self._thinned = best.cost, False
            found = self._cheapest(memory, price, known, self.followed)
            best = min(best, found or best, key=attrgetter("cost", "kept"))
        bound = min(best.cost, bound) if self._thinned else best.cost
        return replace(best, bound=bound if self.states.all else 0)

    def stored(self) -> Plan:
        """The cheapest plan, whatever it needs."""
        self._open(UNBOUNDED)
        found = self._cheapest(UNBOUNDED, 0.0, inf, FIRST)
        assert found is not None  # to store is always a choice
        return found

    def least(self) -> int:
        """The least memory that a plan needs. Raises ValueError where there is none."""
        low, high = 0, UNBOUNDED
        while low < high:
            middle = (low + high) // 2
            if self._open(middle):
                high = measure(self.course, self._smallest()).peak
            else:
                low = middle + 1
        if high == UNBOUNDED:
            raise ValueError("no choices cover all parts")
        return high

    # -- what there is room for ----------------------------------------------------------------------------------------
    def _open(self, memory: int) -> bool:
        """Finds the arcs that a budget has room for, and whether there is a plan within it: of all ways to a state,
        none has more room left than the one that keeps the least."""
        for states in self.places:
            for state in states:
                state.low, state.open = inf, []
        self.places[0][0].low = 0
        for states in self.places:
            for state in states:
                room = memory - state.low
                if state.low < inf:
                    state.open = [arc for arc in state.arcs if arc[2] <= room]
                for target, more, _, _, _ in state.open:
                    target.low = min(target.low, state.low + more)
        return any(state.low < inf for state in self.places[-1])

    def _smallest(self) -> list[Choice]:
        """A way to the end on which the least is kept."""
        back: dict[State, tuple[State, Choice]] = {}
        for states in self.places:
            for state in states:
                for target, more, _, _, choice in state.open:
                    if state.low + more == target.low:
                        back.setdefault(target, (state, choice))
        state = min(self.places[-1], key=attrgetter("low"))
        found: list[Choice] = []
        while state in back:
            state, choice = back[state]
            found.append(choice)
        return found[::-1]

    # -- bounds --------------------------------------------------------------------------------------------------------
    def _price(self, memory: int) -> tuple[float, int]:
        """The price of a byte whose bound is the highest, and that bound; states have their values at that price."""
        small, large = measure(self.course, self._smallest()), self._valued(0.0)
        price = 0.0
        while large.kept > memory and large.cost < small.cost:
            price = (small.cost - large.cost) / (large.kept - small.kept)
            found = self._valued(price)
            if (found.kept, found.cost) in ((small.kept, small.cost), (large.kept, large.cost)):
                break
            small, large = (found, large) if found.kept <= memory else (small, found)
        bound = self.places[0][0].value - price * memory
        return price, max(0, int(bound / ROUNDED))

    def _valued(self, price: float) -> Plan:
        """Gives the states their values, and the plan that is the cheapest with bytes at a price."""
        for state in self.places[-1]:
            state.value = 0.0
        for states in reversed(self.places[:-1]):
            for state in states:
                state.value = min((cost + price * more + to.value for to, more, _, cost, _ in state.open), default=inf)
        state = self.places[0][0]
        found: list[Choice] = []
        while state.open:
            state, *_, choice = min(state.open, key=lambda arc: arc[3] + price * arc[1] + arc[0].value)
            found.append(choice)
        return measure(self.course, found)

    # -- labels --------------------------------------------------------------------------------------------------------
    def _cheapest(self, memory: int, price: float, known: float, limit: int) -> Plan | None:
        """The best of the plans that are followed. known: the cost of a plan; of others none needs to be found."""
        self.places[0][0].labels = [(0, 0, None, None)]
        for states in self.places[:-1]:
            there = [state for state in states if state.labels]
            self._compared(there)
            some = limit // len(self.places) // max(1, len(there))
            for state in there:
                self._follow(state, memory, price, known, max(4, some))
        labels = [label for state in self.places[-1] for label in state.labels]
        for state in self.places[-1]:
            state.labels = []
        best = min(labels, key=itemgetter(1, 0), default=None)
        return None if best is None else measure(self.course, choices_of(best))

    def _follow(self, state: State, memory: int, price: float, known: float, limit: int) -> None:
        """Extends the labels of a state by its arcs."""
        front, state.labels = state.labels, []
        if len(front) > limit:
            self._thinned = True
            front = thinned(front, limit, lambda label: label[1] + price * label[0])
        for target, more, held, cost, choice in state.open:
            most = (known - target.value + price * memory) * ROUNDED if known < inf else inf
            found, room = target.labels, memory - held
            for label in front:
                if label[0] > room:
                    break
                kept, paid = label[0] + more, label[1] + cost
                if paid + price * kept <= most:
                    found.append((kept, paid, label, choice))

    def _compared(self, states: list[State]) -> None:
        """Leaves the labels of each state that none of this state, or of another, is as good as. What one state has
        beyond another, the other can still keep when someone needs it: at most that is between them, whatever comes."""
        sizes = self.course.sizes
        for state in states:
            state.labels = front_of(state.labels)
        for state in states:
            for other in states:
                mine, others = state.labels, other.labels
                if other is state or not mine or not others or others[-1][1] > mine[0][1]:
                    continue
                between = sum(sizes[t] for t in state.there - other.there)
                if others[0][0] + between <= mine[-1][0]:
                    state.labels = _beyond(mine, others, between)


def _beyond(labels: list[Label], others: list[Label], between: int) -> list[Label]:
    """The labels that cost less than any of the others that is smaller by so many bytes; both smallest first."""
    found: list[Label] = []
    at, least = 0, inf
    for label in labels:
        while at < len(others) and others[at][0] + between <= label[0]:
            least = others[at][1]
            at += 1
        if label[1] < least:
            found.append(label)
    return found
