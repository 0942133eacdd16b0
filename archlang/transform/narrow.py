"""The first channels of every layer: a narrower network inside of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archlang.elaborate.errors import fail
from archlang.groups import find
from archlang.ir.graph import Graph, Program
from archlang.ir.paths import join
from archlang.optimize.weights import Change, instances, within
from archlang.prune import Unprunable, by_ratio, shrink
from archlang.transform.base import Given, Parameter, transforms
from archlang.transform.sequence import counted
from archlang.transform.work import Work

__all__ = ["narrow"]

_Rows = Mapping[str, Sequence["Sequence[int] | None"]]  # of a tensor, what is kept of each dimension; None for all


@transforms("narrow", Parameter("share", "float"))
def narrow(work: Work, given: Given, share: float) -> str:
    """Keeps the first channels of every layer (a SortedNet's smaller widths: Valipour et al., 2023).

    share: of each group of channels that go together (docs/groups.md), rounded up; inputs and results stay as they are.
    Norms take their statistics over the channels that are kept.
    """
    if not 0 < share < 1:
        fail("ARC0861", f"a share lies between 0 and 1, and {share:g} does not", given.at("share"))
    program = work.program
    groups = find(program)
    kept = by_ratio(groups, 1 - share, through_norms=True)
    if not kept:
        message = f"no group of channels of `{work.root.block}` can be made smaller by so much"
        fail("ARC0872", message, given.span, "nothing to leave out", help="`archc groups` shows what ties them")
    try:
        small = shrink(program, groups, kept)
    except Unprunable as error:
        fail("ARC0872", f"`{work.root.block}` cannot be made narrower: {error}", given.span, "not for this network")
    rows = groups.arranged(kept.get)
    before = [within(change, at) for at, graph in instances(program) for change in work.changes.get(id(graph), ())]
    changes = _changes(small, rows)
    here = [_kept("", [key], rows) for key in groups.aliases if key in rows]
    changes[id(small.root)] = [*before, *(c for c in here if c is not None), *changes.get(id(small.root), ())]
    work.become(small, changes)
    total = sum(groups.groups[i].size for i in kept)
    left = sum(map(len, kept.values()))
    over = ", statistics of norms over those that are kept" if any(groups.groups[i].measured for i in kept) else ""
    return f"the first {left:,} of {total:,} channels in {counted(len(kept), 'group')}{over}: another function"


def _changes(program: Program, rows: _Rows) -> dict[int, list[Change]]:
    """What is kept of the tensors of each graph; where its instances keep different rows, the root says so instead."""
    found: dict[int, list[Change]] = {}
    several: set[int] = set()
    all_instances = list(instances(program))
    for prefix, graph in all_instances:
        own = _own(prefix, graph, rows)
        if found.setdefault(id(graph), own) != own:
            several.add(id(graph))
    root = found.get(id(program.root), [])
    for prefix, graph in all_instances:
        if id(graph) in several:
            root += [within(change, prefix) for change in _own(prefix, graph, rows)]
    return {key: changes for key, changes in found.items() if key not in several} | {id(program.root): root}


def _own(prefix: str, graph: Graph, rows: _Rows) -> list[Change]:
    """The changes of what one instance of a graph owns itself."""
    modules = [[path] for path, decl in graph.weights.items() if decl.persistent]
    for child in graph.children.values():
        names = [decl.name for decl in child.weights if decl.persistent]
        modules += [[join(path, name) for name in names] for path in child.paths if names]
    changes = (_kept(prefix, keys, rows) for keys in modules)
    return [change for change in changes if change is not None]


def _kept(prefix: str, keys: Sequence[str], rows: _Rows) -> Change | None:
    """What is kept of some tensors, as runs of rows from and to; None where that is all of them."""
    cut = [key for key in keys if any(row is not None for row in rows.get(join(prefix, key), ()))]
    kept = tuple(tuple(None if row is None else _runs(row) for row in rows[join(prefix, key)]) for key in cut)
    return Change("keep_rows", tuple(cut), tuple(cut), attrs={"rows": kept}) if cut else None


def _runs(row: Sequence[int]) -> tuple[tuple[int, int], ...]:
    runs: list[tuple[int, int]] = []
    for i in row:
        if runs and runs[-1][1] == i:
            runs[-1] = (runs[-1][0], i + 1)
        else:
            runs.append((i, i + 1))
    return tuple(runs)
