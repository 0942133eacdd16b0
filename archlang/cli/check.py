"""Finds mistakes in specs. Folders stand for every .arch file below them. Writes only reports, needs no torch."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from archlang.cli.arguments import Parser, add_limits, limits
from archlang.cli.files import find, load
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
    add_limits(parser)


def run(args: argparse.Namespace) -> int:
    found: list[Diagnostic] = []
    files = list(dict.fromkeys(find(args.paths)))
    known = Results(f"max_bytes={args.max_bytes}", args.cache and not args.shapes and not args.proof)
    for path in files:
        remembered = known.get(path)
        found += remembered if remembered is not None else _check(path, args, known)
    return report(found, files, args)


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
