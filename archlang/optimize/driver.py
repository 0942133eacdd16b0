"""Runs passes over all graphs of a program, callees first, until none finds anything more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from archlang.ir.graph import CONTRACTIONS, Graph, Program
from archlang.ir.paths import join, split_index
from archlang.optimize.base import Pass, known_passes
from archlang.optimize.callers import Callers
from archlang.optimize.clone import clone
from archlang.optimize.edit import Editor, Fired
from archlang.optimize.specialise import specialise
from archlang.optimize.tidy import tidy
from archlang.optimize.weights import Change, Loss, Trained, convert
from archlang.records import dataclass

__all__ = ["NeedsWeights", "Optimized", "optimize", "pinned_paths"]

_ROUNDS = 1000  # far more than any program needs: a pass that undoes another's work would run for ever


class NeedsWeights(ValueError):
    """A pass looks at trained weights, and none are given."""


@dataclass(frozen=True, slots=True)
class Optimized:
    """A program after its passes. changes: what becomes of weights, by id of a graph; fired: what passes did.

    deployed: it is for evaluation alone.
    """

    program: Program
    changes: Mapping[int, list[Change]]
    fired: tuple[Fired, ...]
    deployed: bool = False

    def convert(self, trained: Mapping[str, Any]) -> dict[str, Any]:
        """This program's state from the state of the program that it was made of. Needs torch."""
        return convert(self.program, self.changes, trained)

    def errors(self, trained: Mapping[str, Any]) -> dict[str, float]:
        """What approximate passes lose, by key: see `Loss`. Needs torch."""
        return {loss.key: loss.error for loss in self.losses(trained)}

    def losses(self, trained: Mapping[str, Any]) -> list[Loss]:
        """What approximate passes lose of a trained network. Needs torch."""
        found: list[Loss] = []
        convert(self.program, self.changes, trained, found)
        return found


def optimize(
    program: Program,
    *,
    purpose: str = "inference",
    level: int = 2,
    names: Sequence[str] | None = None,
    watch: Callable[[str, int, Program], None] = lambda name, rewrites, program: None,
    trained: Mapping[str, Any] | None = None,
) -> Optimized:
    """A program that does the same in fewer steps; the given one stays as it is.

    purpose: "inference" is for a module in evaluation mode, "train" keeps both modes; level: 0 nothing, 1 what is exact
    and keeps every weight's place, 2 all but what is approximate; names: only these passes, of any level, in this
    order, as "name=8" where they take a number, and "all" for those of the level; watch: called with a pass's name, how
    much it rewrote, and the program after it; trained: the network's state, for passes that look at weights (which
    need torch). Raises KeyError for a pass that does not exist or does not serve the purpose, or a tensor that the
    state lacks, ValueError for a number that is missing or not asked for, NeedsWeights.
    """
    chosen = _chosen(purpose, level, names)
    if trained is None and any(one.within and number < 1 for one, number in chosen):
        raise NeedsWeights("a tolerance needs the trained weights: their singular values say which rank it takes")
    program = clone(program)
    if not chosen:
        return Optimized(program, {}, ())
    course = _Course(program, purpose == "train", all(one.equivalence == "exact" for one, _ in chosen), trained)
    if purpose == "inference":
        specialise(program, course.frozen)
    usual, late = ([c for c in chosen if c[0].late == turn] for turn in (False, True))
    for _ in range(_ROUNDS):
        found = [course.run(one, number, watch) for one, number in usual]
        if not any(found) and not any(course.run(one, number, watch) for one, number in late):
            break
    else:
        raise RuntimeError("passes undo each other's work")
    for graph in course.program.graphs:
        if id(graph) not in course.frozen:
            tidy(course.editor(graph))
    return Optimized(course.program, course.changes, tuple(course.fired), purpose == "inference")


class _Course:
    """A program while passes rewrite it. frozen: graphs that stay as they are, by id."""

    def __init__(self, program: Program, training: bool, exact: bool, trained: Mapping[str, Any] | None) -> None:
        self.program = program
        self.frozen = _frozen(program)
        self.changes: dict[int, list[Change]] = {}
        self.fired: list[Fired] = []
        self._training, self._exact, self._trained = training, exact, trained
        self._pinned = pinned_paths(program)
        self._editors: dict[int, Editor] = {}

    def editor(self, graph: Graph) -> Editor:
        """What rewrites a graph, new where anything has changed."""
        found = self._editors.get(id(graph))
        if found is None:
            pinned = self._pinned.get(id(graph), set())
            found = Editor(graph, self._training, pinned, self.changes, self.fired)
            self._editors[id(graph)] = found
        return found

    def run(self, one: Pass, number: float, watch: Callable[[str, int, Program], None]) -> bool:
        """Runs a pass over all graphs once; whether it found anything."""
        count, program = len(self.fired), self.program
        callers = Callers(program, self.frozen)
        looks = self._trained is not None and one.within
        trained = Trained(program, self.changes, self._trained or {}) if looks else None
        for graph in program.graphs:
            if id(graph) in self.frozen:
                continue
            edit, before = self.editor(graph), len(self.fired)
            root = graph is program.root
            edit.begin(one.name, root=root, exact=self._exact, callers=callers, number=number, trained=trained)
            one.run(edit)
            if len(self.fired) > before:  # perhaps other graphs have changed, too
                self._editors.clear()
        found = len(self.fired) - count
        if found:
            self.program = Program.of(program.root, program.given)
            watch(one.name, found, self.program)
        return found > 0


def _frozen(program: Program) -> set[int]:
    """Graphs that no pass rewrites: whose inverse has to match, or that share one state."""
    found = {id(g) for g in program.graphs if g.proof is not None} | _shared_states(program)
    special = (n for g in program.graphs for n in g.nodes if n.op in CONTRACTIONS or n.inverted or n.log_det)
    return found | {id(n.callee) for n in special}


def _chosen(purpose: str, level: int, names: Sequence[str] | None) -> list[tuple[Pass, float]]:
    known = {name: p for name, p in known_passes().items() if purpose in p.purposes}
    usual: list[tuple[Pass, float]] = [
        (p, 0) for p in known.values() if p.level <= level and p.equivalence != "approximate"
    ]
    if names is None:
        return usual
    return [one for name in names for one in (usual if name == "all" else [_named(known, name)])]


def _named(known: Mapping[str, Pass], text: str) -> tuple[Pass, float]:
    """`name`, `name=8` or `name=0.1`."""
    name, given, number = text.partition("=")
    one = known[name]
    if not given and not one.takes:
        return one, 0
    if one.takes and number.isdecimal() and int(number) > 0:
        return one, int(number)
    with suppress(ValueError):
        if one.within and 0 < float(number) < 1:
            return one, float(number)
    forms = [f"a {one.takes}: `{name}=8`"] * bool(one.takes) + [f"a {one.within}: `{name}=0.1`"] * bool(one.within)
    raise ValueError(f"`{name}` takes {', or '.join(forms) or 'no number'}")


def _shared_states(program: Program) -> set[int]:
    """Graphs that run on one instance's state with another graph (one module, inputs of two types)."""
    found: set[int] = set()
    for graph in program.graphs:
        for node in graph.nodes:
            child = graph.children.get(node.path or "")
            if node.callee is not None and child is not None and child.graph is not node.callee:
                found |= {id(node.callee), id(child.graph)}
    return found


def pinned_paths(program: Program) -> dict[int, set[str]]:
    """For each graph, the paths that a graph above it knows by a second name; "" for all that is inside."""
    found: dict[int, set[str]] = {}
    for graph in program.graphs:
        for name, target in graph.aliases.items():
            for path in (name, target):
                _pin(graph, path, found)
    return found


def _pin(graph: Graph, path: str, found: dict[int, set[str]]) -> None:
    """Follows a path down through the children that it leads into; where it ends at one, all of that."""
    while path:
        found.setdefault(id(graph), set()).add(path)
        inner = _into(graph, path)
        if inner is None:
            return
        graph, path = inner
    stack = [graph]
    while stack:
        graph = stack.pop()
        pins = found.setdefault(id(graph), set())
        if "" not in pins:
            pins.add("")
            stack.extend(child.graph for child in graph.children.values() if child.graph is not None)


def _into(graph: Graph, path: str) -> tuple[Graph, str] | None:
    """The graph of the child that a path leads into, and the rest of the path, "" where it ends there."""
    for child in graph.children.values():
        if child.graph is None:
            continue
        if f"{path}.".startswith(f"{child.path}."):
            return child.graph, path.removeprefix(child.path).removeprefix(".")
        first = split_index(child.path) if child.count > 1 else None
        if first is not None:
            stem = join(first[0], "")
            head, _, rest = path.removeprefix(stem).partition(".")
            if path.startswith(stem) and head.isdecimal() and first[1] <= int(head) < first[1] + child.count:
                return child.graph, rest
    return None
