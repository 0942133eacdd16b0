"""Shows what a network costs: parameters, operations, memory, receptive field, depth. Runs nothing, needs no torch."""

from __future__ import annotations

import argparse
import sys

from archlang.cli.arguments import Parser, add_design, add_training, choice, design, limits
from archlang.cli.guard import show
from archlang.cli.sizes import add_sizes, check_sizes, given_sizes

AT_HELP = "sizes of the input (repeatable): --at B=32,H=224,W=224; sizes left out stay symbols"


def configure(parser: Parser) -> None:
    add_design(parser)
    add_sizes(parser, AT_HELP)
    add_training(parser, overlap=False)
    text = "order the blocks by macs, params or memory (default: as in the network)"
    parser.add_argument("--sort", type=choice("macs", "params", "memory"), metavar="FIGURE", help=text)
    parser.add_argument("--depth", type=_depth, default=2, metavar="N", help="levels of blocks to show (default: 2)")
    parser.add_argument("--format", type=choice("text", "json"), default="text", metavar="FORM", help="text or json")


def run(args: argparse.Namespace) -> int:
    from archlang.analyze import cost
    from archlang.analyze.report import as_dict, as_text
    from archlang.elaborate import elaborate

    given = given_sizes(args.at)
    module, entry, values = design(args)
    done = elaborate(module, entry, values, limits(args))
    check_sizes(done.program.root, done.entry, given)
    figures = cost(done.program, given, dtype=args.dtype)
    if done.warnings:
        show(done.warnings)
    if args.format == "json":
        import json

        found = {"entry": done.entry, "spec": args.spec, **as_dict(figures, args.depth, args.sort)}
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        sys.stdout.write(as_text(figures, f"{done.entry} ({args.spec})", args.depth, args.sort))
    return 0


def _depth(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"`{text}` is not a number of levels")
    return int(text)
