"""Finds mistakes in specs. Folders stand for every .arch file below them. Writes only reports, needs no torch."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from archlang.cli.arguments import Parser, add_limits, limits
from archlang.cli.files import find, load
from archlang.cli.reports import add_report, report
from archlang.report.diagnostic import ArchError, Diagnostic

if TYPE_CHECKING:
    from archlang.elaborate import Elaborated


def configure(parser: Parser) -> None:
    parser.add_argument(
        "paths", metavar="PATH", nargs="*", default=["."], help="files and folders (default: this folder)"
    )
    add_report(parser)
    parser.add_argument("--shapes", action="store_true", help="first print the valid sizes and every wire's shape")
    add_limits(parser)


def run(args: argparse.Namespace) -> int:
    from archlang.verify.check import check_file

    bounds = limits(args)
    found: list[Diagnostic] = []
    files = list(dict.fromkeys(find(args.paths)))
    for path in files:
        try:
            found += check_file(load(path, bounds), bounds, _show if args.shapes else None)
        except ArchError as error:
            found += error.diagnostics
        except RecursionError:  # one such file must not hide what is wrong with the others
            help = "split the expression or the blocks that nest deepest"
            found.append(Diagnostic("ARC0991", f"`{path}` nests too deeply to be processed", None, help=help))
    return report(found, files, args)


def _show(design: Elaborated) -> None:
    from archlang.verify.shapes import shapes_text

    print(shapes_text(design.program))
