"""Finds mistakes in specs. Folders stand for every .arch file below them. Writes nothing, needs no torch."""

from __future__ import annotations

import argparse
import sys

from archlang.cli.arguments import Parser, add_limits, choice, limits
from archlang.cli.files import find, load
from archlang.report.diagnostic import ArchError, Diagnostic, Severity


def configure(parser: Parser) -> None:
    parser.add_argument(
        "paths", metavar="PATH", nargs="*", default=["."], help="files and folders (default: this folder)"
    )
    parser.add_argument("--format", type=choice("text", "json"), default="text", metavar="FORM", help="text or json")
    add_limits(parser)


def run(args: argparse.Namespace) -> int:
    from archlang.elaborate import check

    bounds = limits(args)
    found: list[Diagnostic] = []
    files = list(dict.fromkeys(find(args.paths)))
    for path in files:
        try:
            found += check(load(path, bounds), bounds)
        except ArchError as error:
            found += error.diagnostics
        except RecursionError:  # one such file must not hide what is wrong with the others
            help = "split the expression or the blocks that nest deepest"
            found.append(Diagnostic("ARC0991", f"`{path}` nests too deeply to be processed", None, help=help))
    _print(found, args.format, len(files))
    return 1 if any(d.severity is Severity.ERROR for d in found) else 0


def _print(found: list[Diagnostic], form: str, files: int) -> None:
    if form == "json":
        from archlang.report.json import render_all

        sys.stdout.write(render_all(found, files=files))
        return
    from archlang.cli.guard import show

    if found:
        show(found, sys.stdout)
    else:
        print(f"{files} {'file' if files == 1 else 'files'}, no mistakes found")
