"""The search for the cheapest plan, beside all plans that there are."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from archlang.budget.course import Choice, Course, Plan, chain, measure, moments
from archlang.budget.search import Search
from archlang.budget.tradeoffs import tradeoffs
from archlang.records import replace
from tests.budget.brute import Chain, Plans, differs, random_chain


def every(course: Course, start: int = 0) -> Iterator[list[Choice]]:
    """All plans from a place on."""
    if start == course.parts:
        yield []
    for choice in course.choices:
        if choice.start == start:
            for rest in every(course, choice.stop):
                yield [choice, *rest]


def figures(course: Course, choices: list[Choice]) -> tuple[int, int, int]:
    """Cost, peak and what is kept, by running the backward pass: written from the definition, not from the search."""
    held = [(set(c.keeps), c.inner) for c in choices]

    def bytes_of(part: list[tuple[set[int], int]]) -> int:
        return sum(course.sizes[t] for t in set().union(*(k for k, _ in part))) + sum(i for _, i in part)

    kept = bytes_of(held)
    peak = kept
    while held:  # the last choice's backward pass runs, then what only it kept is gone
        choice = choices[len(held) - 1]
        peak = max(peak, bytes_of(held) + choice.extra)
        held.pop()
        peak = max(peak, *(bytes_of([*held, (set(keeps), more)]) for keeps, more in choice.moments), 0)
    return sum(c.cost for c in choices), peak, kept


def random_course(rng: random.Random, n: int) -> Course:
    """Choices that keep tensors from anywhere, as on a graph with connections across."""
    sizes = [rng.randrange(1, 30) for _ in range(6)]
    choices = []
    for start in range(n):
        for stop in {start + 1, *(rng.randrange(start + 1, n + 1) for _ in range(2))}:
            keeps = frozenset(rng.sample(range(6), rng.randrange(4)))
            choice = Choice(start, stop, keeps, *(rng.randrange(30) for _ in range(3)))
            moments = [(frozenset(t for t in keeps if rng.random() < 0.5), rng.randrange(60)) for _ in range(2)]
            choices.append(replace(choice, moments=tuple(moments[: rng.randrange(3)])))
    return Course(n, sizes, choices)


def compare(course: Course, rng: random.Random, budgets: int) -> None:
    plans, search = [figures(course, plan) for plan in every(course)], Search(course)
    assert search.least() == min(peak for _, peak, _ in plans)
    assert search.within(search.least() - 1) is None
    peaks = [peak for _, peak, _ in plans]
    for memory in (search.least(), max(peaks), *(rng.choice(peaks) for _ in range(budgets))):
        found = search.within(memory)
        assert found is not None
        best = min((cost, kept) for cost, peak, kept in plans if peak <= memory)
        assert (found.cost, found.kept) == best
        assert found.bound == found.cost
        assert figures(course, list(found.choices)) == (found.cost, found.peak, found.kept)
        assert found.peak <= memory


@pytest.mark.parametrize("undone", [False, True])
@pytest.mark.parametrize("n", range(1, 13))
def test_chains_equal_brute_force(n: int, undone: bool) -> None:
    """benchmarks/planner_brute.py compares many more."""
    rng = random.Random(n)
    assert not differs(random_chain(rng, n, undone), rng, 6)


def test_brute_force_sees_all_plans() -> None:
    """Of the segments of a chain, as their numbers say: one part has three ways, several have two."""
    of = Chain([1] * 6, [1] * 7, [1] * 6, [1] * 6)
    counts = [1, 3]
    while len(counts) < 7:
        counts.append(4 * counts[-1] - counts[-2])
    assert len(Plans(of).key) == counts[6]
    course = chain(*of)
    plans = [figures(course, plan) for plan in every(course)]
    most = Plans(of).most
    assert sorted(zip(Plans(of).key, Plans(of).peak, strict=True)) == sorted((c * most + k, p) for c, p, k in plans)


@pytest.mark.parametrize("seed", range(20))
def test_shared_tensors_equal_brute_force(seed: int) -> None:
    rng = random.Random(seed)
    compare(random_course(rng, rng.randrange(1, 9)), rng, 5)


@pytest.mark.parametrize("seed", range(10))
def test_tradeoffs_are_the_front_of_all_plans(seed: int) -> None:
    rng = random.Random(seed)
    course = chain(*random_chain(rng, rng.randrange(1, 7), undone=True))
    plans = {figures(course, plan) for plan in every(course)}
    best = {p for p in plans if not any(q != p and all(a <= b for a, b in zip(q, p, strict=True)) for q in plans)}
    assert {(p.cost, p.peak, p.kept) for p in tradeoffs(course, 10_000)} >= best
    assert {(p.cost, p.peak, p.kept) for p in tradeoffs(course, 10_000)} <= plans


def test_a_uniform_chain_is_cut_into_equal_segments() -> None:
    """Of 16 equal parts with tensors of their own size, four segments of four need the least."""
    search = Search(chain([0] * 16, [1] * 17, [1] * 16))
    assert search.least() <= 4 + 3
    whole = search.within(16)
    assert whole is not None and (whole.cost, whole.kept) == (0, 16)


def test_a_long_chain_is_planned_within_its_budget() -> None:
    """With more plans than are followed, what is found still keeps to the budget, and costs less with more memory."""
    rng = random.Random(0)
    course = chain(*random_chain(rng, 60, undone=False))
    search = Search(course, followed=40)
    costs = []
    for memory in (search.least(), 2 * search.least(), 4 * search.least()):
        found = search.within(memory)
        assert found is not None and found.peak <= memory
        assert replace(measure(course, found.choices), bound=found.bound) == found
        best = Search(course).within(memory)
        assert best is not None and found.bound <= best.cost <= found.cost
        costs.append(found.cost)
    assert costs == sorted(costs, reverse=True)


def test_where_states_are_left_out_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    course = random_course(random.Random(1), 30)
    search = Search(course)
    memory = search.least() + 40
    best = search.within(memory)
    monkeypatch.setattr("archlang.budget.states.STATES", 5)
    found = Search(course).within(memory)
    assert best is not None and found is not None
    assert found.peak <= memory and found.cost >= best.cost == best.bound
    assert found.bound == 0


def test_what_cannot_be_covered_has_no_plan() -> None:
    gap = Course(2, [1], [Choice(0, 1, frozenset({0}), 0, 0, 0)])
    assert Search(gap).within(100) is None
    with pytest.raises(ValueError, match="cover"):
        Search(gap).least()
    assert tradeoffs(gap, 10) == []
    assert Search(Course(0, [], [])).within(0) == Plan((), 0, 0, 0)


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_as_a_choice_holds_what_the_plan_holds(seed: int) -> None:
    """Whichever of its tensors are there before, and wherever it stands."""
    rng = random.Random(seed)
    inner, before = random_course(rng, 4), random_course(rng, 2)
    sizes = before.sizes
    course = replace(inner, sizes=sizes, lasting=frozenset(rng.sample(range(6), 3)))
    own = {t: 6 + t for t in range(6) if t not in course.lasting}  # its other tensors are no one else's
    for plan in list(every(course))[:30]:
        found = measure(course, plan)
        rest = found.kept - sum(sizes[t] for t in found.tensors)
        choice = Choice(2, 3, found.tensors, rest, found.peak - found.kept, found.cost, None, moments(course, plan))
        apart = [
            replace(
                c,
                start=c.start + 2,
                stop=c.stop + 2,
                keeps=frozenset(own.get(t, t) for t in c.keeps),
                moments=tuple((frozenset(own.get(t, t) for t in k), held) for k, held in c.moments),
            )
            for c in plan
        ]
        first = next(every(before))
        flat = Course(6, [*sizes, *sizes], [])
        whole = Course(3, sizes, [])
        assert figures(flat, [*first, *apart]) == figures(whole, [*first, choice])
