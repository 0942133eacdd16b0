"""Shows what the optimiser does with a network: which passes fire where, what is gained, and lost. Needs torch for
`--weights` alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from archlang.cli.arguments import Parser, add_design, choice, design, limits
from archlang.cli.guard import show
from archlang.cli.passes import add_passes, aim, given_weights, optimised
from archlang.cli.sizes import add_sizes, check_sizes, given_sizes
from archlang.records import dataclass
from archlang.report.table import table

if TYPE_CHECKING:
    from archlang.analyze.branches import Branch, Fork
    from archlang.ir.graph import Program
    from archlang.optimize import Optimized
    from archlang.optimize.weights import Loss

AT_HELP = "sizes of the input, for MACs and memory (repeatable): --at B=1,H=224,W=224"
WORTH = 0.01  # of all MACs, a place where branches meet is shown
EXPLAIN_HELP = "say of every rewrite where it was made, and why; and which branches could run side by side"
COLUMNS = ("pass", "rewrites", "nodes", "parameters", "MACs", "peak bytes")


@dataclass(frozen=True, slots=True)
class _Stage:
    """The program's figures after a pass. nodes: what a forward pass carries out; peak: bytes in inference."""

    name: str
    rewrites: int
    nodes: int
    parameters: int
    macs: int
    peak: int


def configure(parser: Parser) -> None:
    add_design(parser)
    add_passes(parser, "2")
    add_sizes(parser, AT_HELP)
    parser.add_argument("--explain", action="store_true", help=EXPLAIN_HELP)
    parser.add_argument("--format", type=choice("text", "json"), default="text", metavar="FORM", help="text or json")


def run(args: argparse.Namespace) -> int:
    from archlang.elaborate import elaborate
    from archlang.inputs import choose_sizes

    given = given_sizes(args.at)
    module, entry, values = design(args)
    done = elaborate(module, entry, values, limits(args))
    check_sizes(done.program.root, done.entry, given)
    if done.warnings:
        show(done.warnings)
    sizes = choose_sizes(done.program.root, given)
    stages = [_stage("as written", 0, done.program, sizes)]
    asked = aim(args)
    trained = given_weights(done.program, args.weights, asked)
    result = optimised(done.program, asked, lambda name, n, now: stages.append(_stage(name, n, now, sizes)), trained)
    losses = result.losses(trained) if trained is not None else None
    if args.format == "json":
        import json

        data = _as_dict(result, stages, sizes, done.entry, args.spec, losses)
        sys.stdout.write(json.dumps(data | (_forks_dict(result.program, sizes) if args.explain else {})) + "\n")
    else:
        at = ", ".join(f"{name}={n}" for name, n in sizes.items())
        sys.stdout.write(f"{done.entry} ({args.spec})" + (f" at {at}" if at else "") + "\n\n" + _table(stages))
        sys.stdout.write("\n" + _lost(losses) if losses else "")
        sys.stdout.write("\n" + _explained(result) if args.explain and result.fired else "")
        sys.stdout.write(_side_by_side(result.program, sizes) if args.explain else "")
    return 0


def _stage(name: str, rewrites: int, program: Program, sizes: Mapping[str, int]) -> _Stage:
    from archlang.analyze import cost
    from archlang.ir.walk import executed

    figures = cost(program, sizes)
    macs, peak = figures.macs, figures.peak.known
    assert isinstance(macs, int) and peak is not None  # all sizes are numbers
    return _Stage(name, rewrites, executed(program), figures.parameters.parameters, macs, peak)


def _table(stages: list[_Stage]) -> str:
    return _lines([COLUMNS, *((s.name, *(f"{n:,}" for n in _numbers(s))) for s in stages)])


def _lines(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(table(rows)) + "\n"


def _lost(losses: Sequence[Loss]) -> str:
    """What approximate passes lose, by weight."""
    rows = [("lost", "rank", "error")]
    for loss in losses:
        rows.append((loss.key, "" if loss.rank is None else f"{loss.rank} of {loss.full}", f"{loss.error:.4f}"))
    return _lines(rows)


def _numbers(stage: _Stage) -> tuple[int, ...]:
    return stage.rewrites, stage.nodes, stage.parameters, stage.macs, stage.peak


def _explained(result: Optimized) -> str:
    """A line for each rewrite: the pass, what it did, in which graph, and where that stands in the spec."""
    lines = []
    for fired in result.fired:
        where = f" ({fired.span.source.path}:{fired.span.line})" if fired.span is not None else ""
        lines.append(f"{fired.name}: {fired.note}, in `{fired.graph}`{where}")
    return "\n".join(lines) + "\n"


def _side_by_side(program: Program, sizes: Mapping[str, int]) -> str:
    """Where branches meet that could run side by side: which, on how many streams, and what that is worth."""
    from archlang.analyze import cost
    from archlang.analyze.branches import forks

    found = sorted(forks(program, sizes), key=lambda fork: -fork.saved)
    if not found:
        return ""
    figures = cost(program, sizes)
    longest, total = figures.critical.known, figures.macs
    assert longest is not None and isinstance(total, int)  # all sizes are numbers
    worth = [fork for fork in found if fork.saved >= total * WORTH]
    lines = [
        f"\n{longest / total:.0%} of {total:,} MACs are on the longest way, whatever runs side by side.",
        "Branches that could, by the share of all MACs that is off the way then:",
        *(line for fork in worth for line in _fork(fork, total)),
    ]
    if len(worth) < len(found):
        rest = len(found) - len(worth)
        lines.append(f"{rest} place{'s' * (rest > 1)} more, of less than {WORTH:.0%} each")
    return "\n".join(lines) + "\n"


def _fork(fork: Fork, total: int) -> Iterator[str]:
    """The place, and a line for each branch: its MACs, and the layers in it."""
    span = fork.join.span if fork.join is not None else fork.graph.span
    where = f" ({span.source.path}:{span.line})" if span is not None else ""
    meet = f"`{fork.join.op}` in" if fork.join is not None else "results of"
    graph = f"`{fork.path}`" if fork.path else "the network"
    like = f" and {fork.runs - 1} like it" if fork.runs > 1 else ""
    yield f"{fork.saved / total:.0%} on {fork.streams} streams: {meet} {graph}{like}{where}"
    width = len(f"{fork.longest:,}")
    for branch in fork.branches:
        yield f"    {branch.macs:>{width},}  {_layers(branch)}"


def _layers(branch: Branch) -> str:
    """The layers of a branch, by paths from the graph that they stand in; its ops where it has none."""
    names = _paths(branch) or list(dict.fromkeys(f"({node.op})" for node in branch.nodes))
    return ", ".join(names) if len(names) < 4 else f"{names[0]} ... {names[-1]}, {len(names)} layers"


def _paths(branch: Branch) -> list[str]:
    return list(dict.fromkeys(path for node in branch.nodes for path in node.paths))


def _forks_dict(program: Program, sizes: Mapping[str, int]) -> dict[str, object]:
    """The same as data, of all places: layers by paths from `path`, MACs of one run, but those saved of all."""
    from archlang.analyze import cost
    from archlang.analyze.branches import forks

    found = [
        {
            "path": fork.path,
            "runs": fork.runs,
            "join": None if fork.join is None else fork.join.op,
            "streams": fork.streams,
            "macs_saved": fork.saved,
            "branches": [{"macs": branch.macs, "layers": _paths(branch)} for branch in fork.branches],
        }
        for fork in forks(program, sizes)
    ]
    return {"longest_way_macs": cost(program, sizes).critical.known, "side_by_side": found}


def _as_dict(
    result: Optimized,
    stages: list[_Stage],
    sizes: Mapping[str, int],
    entry: str,
    spec: str,
    losses: Sequence[Loss] | None,
) -> dict[str, object]:
    keys = ("rewrites", "nodes", "parameters", "macs", "peak_bytes")
    return {
        "entry": entry,
        "spec": spec,
        "sizes": dict(sizes),
        "stages": [{"pass": s.name, **dict(zip(keys, _numbers(s), strict=True))} for s in stages],
        "rewrites": [
            {"pass": f.name, "note": f.note, "graph": f.graph, "line": None if f.span is None else f.span.line}
            for f in result.fired
        ],
        **({} if losses is None else {"losses": [_loss(loss) for loss in losses]}),
    }


def _loss(loss: Loss) -> dict[str, object]:
    return {"key": loss.key, "error": loss.error, "rank": loss.rank, "full_rank": loss.full}
