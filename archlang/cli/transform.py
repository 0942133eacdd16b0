"""Rewrites a network as the user asks: layers skipped, side by side, cut off, replaced; the report says what became of
its function. Needs no torch."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from archlang.cli.arguments import Parser, add_design, choice, design, limits
from archlang.cli.guard import UsageError, show
from archlang.cli.output import graph_text, keep, write
from archlang.cli.sizes import add_sizes, check_sizes, given_sizes
from archlang.report.table import table

if TYPE_CHECKING:
    from archlang.ir.graph import Program
    from archlang.transform import Transformed

AT_HELP = "sizes of the input, for MACs (repeatable): --at B=1,H=224,W=224"
FORMS = ("py", "ir", "json", "arch")
COLUMNS = ("parameters", "MACs", "depth", "nodes")


def configure(parser: Parser) -> None:
    add_design(parser)
    text = "a transform, as in docs/transforms.md (repeatable, in order): --apply 'word(\"layer3\", [0, 2, 2, 1])'"
    parser.add_argument("--apply", action="append", default=[], metavar="CALL", help=text)
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write the network (default: only report)")
    text = "py: PyTorch source; ir: the typed graph as text; json: as JSON; arch: as a spec (default: py)"
    parser.add_argument("--emit", type=choice(*FORMS), metavar="FORM", help=text)
    text = "add a function `convert_state_dict` that makes the module's state from the trained network's"
    parser.add_argument("--with-convert", action="store_true", help=text)
    add_sizes(parser, AT_HELP)


def run(args: argparse.Namespace) -> int:
    from archlang.elaborate import Fragments, elaborate
    from archlang.inputs import choose_sizes
    from archlang.transform import known_transforms, transform

    keep(args.spec, args.output)
    if not args.apply:
        listed = "there are " + ", ".join(f"`{name}`" for name in known_transforms())
        raise UsageError("ARC0901", "no transform is asked for: give `--apply CALL`", listed)
    given = given_sizes(args.at)
    module, entry, values = design(args)
    done = elaborate(module, entry, values, limits(args))
    check_sizes(done.program.root, done.entry, given)
    result = transform(done.program, args.apply, Fragments(module, limits(args)))
    if done.warnings or result.warnings:
        show([*done.warnings, *result.warnings])
    report = _report(done.program, result, choose_sizes(done.program.root, given), f"{done.entry} ({args.spec})")
    if args.output is None and args.emit is None:
        sys.stdout.write(report)
        return 0
    text = _emit(result, args)
    (sys.stderr if args.output in (None, "-") else sys.stdout).write(report)
    write(text, args.output)
    return 0


def _report(before: Program, result: Transformed, sizes: Mapping[str, int], title: str) -> str:
    """Figures before and after each transform, then what each did to the function."""
    at = ", ".join(f"{name}={n}" for name, n in sizes.items())
    rows = [("", *COLUMNS), ("as written", *_figures(before, sizes))]
    rows += [(effect.call, *_figures(effect.program, sizes)) for effect in result.effects]
    lines = [f"{title} at {at}" if at else title, "", *table(rows)]
    return "\n".join([*lines, "", *(f"{effect.call}: {effect.text}" for effect in result.effects)]) + "\n"


def _figures(program: Program, sizes: Mapping[str, int]) -> tuple[str, ...]:
    from archlang.analyze import cost
    from archlang.ir.walk import executed

    known = {name: n for name, n in sizes.items() if name in program.root.symbols}
    figures = cost(program, known)
    return f"{figures.parameters.parameters:,}", f"{figures.macs:,}", str(figures.depth), f"{executed(program):,}"


def _emit(result: Transformed, args: argparse.Namespace) -> str:
    """The whole output, before anything is written."""
    if args.emit not in (None, "py"):
        return graph_text(result.program, args.emit)
    from archlang.codegen import generate

    changes = result.changes if args.with_convert else None
    name = os.path.basename(args.spec)
    return generate(result.program, source_name=name, changes=changes, sources=result.sources)
