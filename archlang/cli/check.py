"""Finds mistakes in specs. Folders stand for every .arch file below them. Writes only reports, needs no torch."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from archlang.cli.arguments import Parser, add_limits, limits, positive
from archlang.cli.files import find, load
from archlang.cli.parallel import mapped
from archlang.cli.reports import add_report, report
from archlang.cli.results import Results
from archlang.report.diagnostic import ArchError, Diagnostic

if TYPE_CHECKING:
    from archlang.elaborate import Elaborated


def configure(parser: Parser) -> None:
    parser.add_argument(
        "paths", metavar="PATH", nargs="*", default=["."], help="files and folders (default: this folder)"
    )
    add_report(parser)
    parser.add_argument("--shapes", action="store_true", help="first print the valid sizes and every wire's shape")
    parser.add_argument("--proof", action="store_true", help="first print why each reversible block can be undone")
    parser.add_argument("--no-cache", dest="cache", action="store_false", help="check unchanged files, too")
    text = "check in N processes (default: as many as there are processors, where it pays)"
    parser.add_argument("--jobs", type=positive, metavar="N", help=text)
    add_limits(parser)


def run(args: argparse.Namespace) -> int:
    files = list(dict.fromkeys(find(args.paths)))
    shows = args.shapes or args.proof
    known = Results(f"max_bytes={args.max_bytes}", args.cache and not shows)
    found = {path: known.get(path) for path in files}
    new = [path for path in files if found[path] is None]
    new, jobs = (new, 1) if shows else (_longest_first(new), args.jobs)
    found.update(zip(new, mapped(lambda path: _check(path, args, known), new, jobs), strict=True))
    return report([finding for path in files for finding in found[path] or ()], files, args)


def _longest_first(paths: list[str]) -> list[str]:
    """The order that keeps several processes busy to the end. The shortest comes first of all: it is done before they
    are started, so that what all import is there."""
    size = {path: os.path.getsize(path) if os.path.exists(path) else 0 for path in paths}
    order = sorted(paths, key=size.__getitem__, reverse=True)
    return order[-1:] + order[:-1]


def _check(path: str, args: argparse.Namespace, known: Results) -> list[Diagnostic]:
    from archlang.elaborate.loader import Files
    from archlang.verify.check import check_file

    bounds, files = limits(args), Files()
    try:
        found = check_file(load(path, bounds, files), bounds, lambda design: _show(design, args))
    except ArchError as error:
        found = error.diagnostics
    except RecursionError:  # one such file must not hide what is wrong with the others
        help = "split the expression or the blocks that nest deepest"
        return [Diagnostic("ARC0991", f"`{path}` nests too deeply to be processed", None, help=help)]
    known.put(path, files, found)
    return found


def _show(design: Elaborated, args: argparse.Namespace) -> None:
    if args.shapes:
        from archlang.verify.shapes import shapes_text

        print(shapes_text(design.program))
    if args.proof:
        from archlang.reversible.derivation import proof_text

        print(proof_text(design.program))
