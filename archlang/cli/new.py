"""Starts a spec from a connection scheme of the standard library: a small network that checks and compiles as it is."""

from __future__ import annotations

import argparse
import os
import sys

from archlang.cli.arguments import Parser
from archlang.cli.guard import UsageError
from archlang.cli.output import write
from archlang.cli.starters import Starter, starters, text
from archlang.report.suggest import did_you_mean


def configure(parser: Parser) -> None:
    parser.add_argument("scheme", metavar="SCHEME", nargs="?", help="a scheme of --list")
    parser.add_argument("--list", action="store_true", help="show the schemes, with what their docs say first")
    parser.add_argument("-o", "--output", metavar="FILE", help="a new file (default: standard output)")


def run(args: argparse.Namespace) -> int:
    known = starters()
    if args.list:
        width = max(len(starter.name) for starter in known)
        sys.stdout.write("".join(f"{s.name:<{width}}  {s.title(116 - width)}\n" for s in known))
        return 0
    if args.scheme is None:
        raise UsageError("ARC0901", "`archc new` needs a scheme", "`archc new --list` shows them")
    found = text(_named(args.scheme, known))
    if args.output not in (None, "-") and os.path.lexists(args.output):
        raise UsageError("ARC0915", f"`{args.output}` is there already", "name a file that is not, or remove it first")
    write(found, args.output)
    return 0


def _named(name: str, known: list[Starter]) -> Starter:
    for starter in known:
        if starter.name == name:
            return starter
    hint = did_you_mean(name, [s.name for s in known]) or "`archc new --list` shows the schemes"
    raise UsageError("ARC0914", f"there is no scheme `{name}`", hint)
