"""A program while transforms rewrite it: graphs of one instance alone, runs taken apart, what becomes of weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NoReturn

from archlang.elaborate import Fragments
from archlang.elaborate.errors import fail
from archlang.elaborate.finish import fold_runs
from archlang.ir.graph import CONTRACTIONS, Child, Constraint, Graph, Node, Output, Program, Value
from archlang.ir.paths import Paths, join
from archlang.ir.text import graph_text
from archlang.optimize.clone import copy_graph
from archlang.optimize.driver import pinned_paths
from archlang.optimize.edit import Editor, Fired
from archlang.optimize.passes.dead_code import dead_code
from archlang.optimize.tidy import is_sequence
from archlang.optimize.weights import DROP, Change
from archlang.records import dataclass
from archlang.report.diagnostic import Span
from archlang.report.suggest import did_you_mean
from archlang.reversible import refusal
from archlang.transform.proofs import Proofs
from archlang.transform.settle import follow, forgotten, members, merged, relieve

__all__ = ["Place", "Work", "fixed", "matches"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads: `path`, in terms of `graph`; above: the graphs on the way, with the paths that lead on.

    child: what stands there; None where the path is only what several paths begin with.
    """

    graph: Graph
    path: str
    child: Child | None
    above: tuple[tuple[Graph, str], ...]

    @property
    def prefix(self) -> str:
        """The path of the graph from the root."""
        found = ""
        for _, path in self.above:
            found = join(found, path)
        return found

    @property
    def nodes(self) -> list[Node]:
        """The nodes that run the child, in order."""
        return [node for node in self.graph.nodes if node.path == self.path]


class Work:
    """A program that is being transformed, its changes of weights (by id of a graph), and the spec that it comes from.

    sources: where a state of the result is made of several, what a key `*` of each is called in `changes`; none, where
    it is made of one.
    """

    def __init__(self, program: Program, fragments: Fragments) -> None:
        self.root = program.root
        self.given = program.given
        self.fragments = fragments
        self.changes: dict[int, list[Change]] = {}
        self.sources: tuple[str, ...] = ()
        self.proofs = Proofs()
        self.lost: list[str] = []  # blocks that were reversible
        self._names = {graph.name for graph in program.graphs}
        self._kept: list[Graph] = []  # a graph that is gone keeps its id, under which its changes are
        self._open: dict[int, Graph] = {}
        self._needy: dict[int, list[Constraint]] = {}  # id of a graph -> what it needs since the last `lift`

    @property
    def program(self) -> Program:
        return Program.of(self.root, self.given)

    # -- graphs ------------------------------------------------------------------------------------------------------
    def open(self, graph: Graph) -> None:
        """Makes a graph ready for changes: each member of a run by itself, the proof that it can be undone aside."""
        if id(graph) in self._open:
            return
        self._open[id(graph)] = graph
        self._kept.append(graph)
        self.proofs.keep(graph)
        graph.sequential = False
        self.unrolled(graph)

    def unrolled(self, graph: Graph) -> None:
        """Takes the runs of an opened graph apart."""
        graph.children = {
            path: one if child.count == 1 else Child(path, one.span, one.op, one.attrs, one.weights, one.graph)
            for child in graph.children.values()
            for one, path in ((child, p) for p in child.paths)
        }
        nodes = []
        for node in graph.nodes:
            for single in members(node):
                self.proofs.inherit(node, single)
                nodes.append(single)
        graph.nodes = nodes

    def is_open(self, graph: Graph) -> bool:
        """Whether the graph may have changed since transforms were last done."""
        return id(graph) in self._open

    def private(self, place: Place, span: Span) -> Graph:
        """The graph of the child at a place, as its own: no other instance runs it. Opened."""
        graph, child = place.graph, place.child
        assert child is not None and child.graph is not None
        callers = [n for n in graph.nodes if n.path == place.path]
        if any(place.path in n.modules.values() for n in graph.nodes):
            fixed(join(place.prefix, place.path), "is lent to a block that runs it", span)
        if any(n.op in CONTRACTIONS for n in callers):
            fixed(join(place.prefix, place.path), "is a branch that must contract", span)
        if any(n.callee is not child.graph for n in callers):
            fixed(join(place.prefix, place.path), "runs on inputs of several types", span)
        if self._users(child.graph) > 1:
            copy = copy_graph(child.graph)
            copy.name = self.name(copy.name)
            self.proofs.copied(child.graph, copy)
            self.changes[id(copy)] = list(self.changes.get(id(child.graph), ()))
            self._kept.append(copy)
            child.graph = copy
            for node in callers:
                node.callee = copy
        self.open(child.graph)
        return child.graph

    def _users(self, graph: Graph) -> int:
        """How many instances run a graph, wherever they stand."""
        users = (c for g in self.program.graphs for c in (*g.children.values(), *g.borrowed.values()))
        return sum(child.count for child in users if child.graph is graph)

    def refuse_special(self, node: Node, prefix: str, span: Span) -> None:
        """Diagnostic for a node that runs backwards, or whose branch must contract."""
        if node.inverted or node.log_det or node.op in CONTRACTIONS:
            fixed(join(prefix, node.path or node.op), "runs backwards, or is undone elsewhere", span)

    def name(self, base: str) -> str:
        """A graph name that no other graph has."""
        name, number = base, 1
        while name in self._names:
            number += 1
            name = f"{base}_{number}"
        self._names.add(name)
        return name

    def adopt(self, graph: Graph) -> None:
        """Gives graphs that were made elsewhere names of their own here."""
        mine = {id(g) for g in self.program.graphs}
        for other in Program.of(graph).graphs:
            if id(other) not in mine:
                other.name = self.name(other.name)
                self._kept.append(other)

    def instances(self) -> dict[int, int]:
        """How often each graph runs, by its id."""
        found = {id(graph): 0 for graph in self.program.graphs} | {id(self.root): 1}
        for graph in reversed(self.program.graphs):
            for node in graph.nodes:
                if node.callee is not None:
                    found[id(node.callee)] += found[id(graph)] * node.count
        return found

    def absorb(self, other: Work) -> None:
        """Takes over what becomes of weights of another program's graphs, which are this one's now."""
        self.changes[id(self.root)] = [*self.changes.get(id(self.root), ()), *other.changes.pop(id(other.root), ())]
        self.changes |= other.changes
        self.lost += other.lost
        self._kept += other._kept

    def become(self, program: Program, changes: dict[int, list[Change]]) -> None:
        """Goes on with another program, made of this one, and all that becomes of weights on the way to it."""
        self._kept += program.graphs
        self.root, self.given, self.changes = program.root, program.given, changes
        self._open.clear()
        self._names = set()
        for graph in program.graphs:
            graph.name = self.name(graph.name)

    # -- finding -----------------------------------------------------------------------------------------------------
    def find(self, path: str, span: Span) -> Place:
        """What stands under a path of the state dict; the graphs on the way are made private."""
        self.open(self.root)
        graph, rest = self.root, path
        above: tuple[tuple[Graph, str], ...] = ()
        while True:
            if rest in graph.children:
                return Place(graph, rest, graph.children[rest], above)
            inside = next((c for p, c in graph.children.items() if rest.startswith(f"{p}.")), None)
            if inside is None or inside.graph is None:
                break
            graph, above = self.private(Place(graph, inside.path, inside, above), span), (*above, (graph, inside.path))
            rest = rest.removeprefix(f"{inside.path}.")
        if any(p.startswith(f"{rest}.") for p in graph.children):
            return Place(graph, rest, None, above)
        self.unknown(path, span)

    def inside(self, path: str, span: Span) -> Place:
        """The graph of the block under a path, opened; the root for the empty path."""
        self.open(self.root)
        if not path:
            return Place(self.root, "", None, ())
        place = self.find(path, span)
        if place.child is None or place.child.graph is None:
            self.unknown(path, span)
        return Place(self.private(place, span), "", None, (*place.above, (place.graph, place.path)))

    def has(self, path: str) -> bool:
        """Whether a path names a layer, or what several paths begin with."""
        graph, rest = self.root, path
        while True:
            paths = Paths(graph)
            if paths.owned(rest) is not None or any(p.startswith(f"{rest}.") for p in graph.children):
                return True
            parts = rest.split(".")
            heads = (".".join(parts[:i]) for i in range(1, len(parts)))
            found = next(((h, c) for h in heads if (c := paths.owned(h)) is not None), None)
            if found is None or found[1].graph is None:
                return False
            graph, rest = found[1].graph, rest.removeprefix(f"{found[0]}.")

    def matching(self, pattern: str, span: Span) -> list[str]:
        """The paths that a pattern matches, none inside of another; a diagnostic where there are none."""
        found = [path for path in self.paths() if matches(pattern, path)]
        if not found:
            self.unknown(pattern, span)
        return [p for p in found if not any(p.startswith(f"{other}.") for other in found)]

    def paths(self, *, blocks: bool = False) -> list[str]:
        """The paths of all modules and blocks, and what several of them begin with; of instances of blocks alone."""
        found: dict[str, None] = {}
        stack = [("", self.root)]
        while stack:
            prefix, graph = stack.pop()
            for child in graph.children.values():
                for path in child.paths:
                    parts = path.split(".")
                    if child.graph is not None or not blocks:
                        heads = range(len(parts) - 1 if blocks else 0, len(parts))
                        found |= dict.fromkeys(join(prefix, ".".join(parts[: i + 1])) for i in heads)
                    if child.graph is not None:
                        stack.append((join(prefix, path), child.graph))
        return list(found)

    def unknown(self, path: str, span: Span) -> NoReturn:
        """Diagnostic for a path that leads nowhere."""
        known = self.paths()
        first = list(dict.fromkeys(p.partition(".")[0] for p in known))
        listed = ", ".join(f"`{p}`" for p in first[:12]) + (f" and {len(first) - 12} more" if len(first) > 12 else "")
        fail(
            "ARC0862",
            f"`{self.root.block}` has no layer `{path}`",
            span,
            "no such path",
            help=did_you_mean(path, known),
            notes=[f"at its top are {listed}" if first else "it has no layers"],
        )

    # -- rewriting ---------------------------------------------------------------------------------------------------
    def _share(self) -> None:
        """Folds runs, proves blocks again, and lets instances of graphs that have become equal run one graph again."""
        first: dict[tuple[str, str], Graph] = {}
        same: dict[int, Graph] = {}
        for graph in self.program.graphs:
            for child in (*graph.children.values(), *graph.borrowed.values()):
                child.graph = same.get(id(child.graph), child.graph)
            for node in graph.nodes:
                node.callee = same.get(id(node.callee), node.callee)
            if id(graph) not in self._open:
                continue
            fold_runs(graph)
            graph.sequential = is_sequence(graph)
            if not self.proofs.again(graph):
                self.lost.append(graph.block)
            changes = self.changes[id(graph)] = merged(self.changes.get(id(graph), []))
            text = graph_text(graph).replace(f" {graph.name}: ", " : ", 1)
            if graph is not self.root:
                same[id(graph)] = first.setdefault((text, repr(changes)), graph)
        self._names = {graph.name for graph in self.program.graphs}
        for graph in self.program.graphs:
            if graph.block not in self._names:
                self._names = self._names - {graph.name} | {graph.block}
                graph.name = graph.block

    def editor(self, graph: Graph) -> Editor:
        """An editor of an opened graph."""
        fired: list[Fired] = []
        return Editor(graph, False, pinned_paths(self.program).get(id(graph), set()), self.changes, fired)

    def need(self, graph: Graph, constraints: Sequence[Constraint]) -> None:
        """Adds what the graph needs of its symbols from now on."""
        known = {c.key for c in graph.constraints}
        new = [c for c in constraints if c.key not in known and not c.known]
        if new:
            graph.constraints += new
            self._needy.setdefault(id(graph), []).extend(new)

    def lift(self) -> None:
        """Restates what graphs need since `need` was called in the terms of their callers."""
        for graph in self.program.graphs:
            for node in graph.nodes:
                if node.callee is not None and id(node.callee) in self._needy:
                    self.need(graph, [c.at(node.sizes) for c in self._needy[id(node.callee)]])
        self._needy.clear()

    def give(self, place: Place, values: Sequence[Value], span: Span) -> None:
        """Makes values of a place's graph the network's results: of that graph, and of each above it."""
        place.graph.outputs = [Output((v,)) for v in values]
        for i in reversed(range(len(place.above))):
            graph, path = place.above[i]
            calls = [n for n in graph.nodes if n.path == path]
            prefix = Place(graph, path, None, place.above[:i]).prefix
            if len(calls) != 1:
                many = "is applied several times" if calls else "is lent to a block that runs it"
                fixed(join(prefix, path), many, span)
            (call,) = calls
            self.refuse_special(call, prefix, span)
            call.outputs = tuple(Value(v.type.at(call.sizes), v.name) for v in values)
            values = call.outputs
            graph.outputs = [Output((v,)) for v in values]

    def _clean(self) -> None:
        """Takes away what nothing reads in opened graphs."""
        for graph in reversed(self.program.graphs):
            if id(graph) in self._open:
                dead_code(self.editor(graph))
                follow(graph)

    def finish(self, span: Span) -> None:
        """Takes away what nothing reads, folds equal layers one after the other into runs again, and proves again what
        was reversible."""
        self._clean()
        named = False
        for graph in self.program.graphs:
            gone = forgotten(graph) if id(graph) in self._open else []
            if gone:
                self.changes.setdefault(id(graph), []).append(Change(DROP, drops=tuple(gone)))
                named = True
        if named:
            self._clean()
        changed = set(self._open)
        for graph in self.program.graphs:
            if id(graph) in changed or any(id(node.callee) in changed for node in graph.nodes):
                changed.add(id(graph))
                relieve(graph)
        self._share()
        self._open.clear()
        for graph in self.program.graphs:
            node = self.proofs.undone(graph)
            if node is not None and node.callee is not None:
                why = refusal(node.callee)
                notes = [f"of `{node.callee.block}`: {why.message}"] if why is not None else []
                message = f"`{node.path}` cannot be transformed so: it runs backwards elsewhere"
                fail("ARC0866", message, span, "it would no longer be reversible", notes=notes)


def matches(pattern: str, path: str) -> bool:
    """Whether a path is as the pattern says: `*` is any part of a name, `**` any number of names."""
    parts = (re.escape(p).replace(r"\*", "[^.]*") for p in pattern.split("**"))
    return re.fullmatch(".*".join(parts), path) is not None


def fixed(path: str, why: str, span: Span) -> NoReturn:
    """Diagnostic for a layer that has to stay as it is."""
    fail("ARC0866", f"`{path}` cannot be transformed: it {why}", span, "this layer")
