"""Shows which indices of which weights go together: the channels that can be reordered, or pruned, as one. No torch."""

from __future__ import annotations

import argparse
import sys

from archlang.cli.arguments import Parser, add_design, choice, design, limits
from archlang.cli.guard import show


def configure(parser: Parser) -> None:
    add_design(parser)
    parser.add_argument("--all", action="store_true", help="list every place, not the first of each group")
    parser.add_argument("--format", type=choice("text", "json"), default="text", metavar="FORM", help="text or json")


def run(args: argparse.Namespace) -> int:
    from archlang.elaborate import elaborate
    from archlang.groups import find
    from archlang.groups.report import as_dict, as_text

    module, entry, values = design(args)
    done = elaborate(module, entry, values, limits(args))
    groups = find(done.program)
    if done.warnings:
        show(done.warnings)
    if args.format == "json":
        import json

        found = {"entry": done.entry, "spec": args.spec, "groups": as_dict(groups)}
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        sys.stdout.write(as_text(groups, f"{done.entry} ({args.spec})", args.all))
    return 0
