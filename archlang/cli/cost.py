"""Shows what a network costs: parameters, operations, memory, receptive field, depth. Runs nothing, needs no torch."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from archlang.cli.arguments import Parser, add_design, choice, design, limits, split_assignment
from archlang.cli.guard import UsageError, show

if TYPE_CHECKING:
    from archlang.elaborate import Elaborated

AT_HELP = "sizes of the input (repeatable): --at B=32,H=224,W=224; sizes left out stay symbols"


def configure(parser: Parser) -> None:
    add_design(parser)
    parser.add_argument("--at", action="append", default=[], metavar="NAME=N,...", help=AT_HELP)
    text = "order the blocks by macs, params or memory (default: as in the network)"
    parser.add_argument("--sort", type=choice("macs", "params", "memory"), metavar="FIGURE", help=text)
    parser.add_argument("--depth", type=_depth, default=2, metavar="N", help="levels of blocks to show (default: 2)")
    parser.add_argument("--format", type=choice("text", "json"), default="text", metavar="FORM", help="text or json")


def run(args: argparse.Namespace) -> int:
    from archlang.analyze import cost
    from archlang.analyze.report import as_dict, as_text
    from archlang.elaborate import elaborate

    given = _given(args.at)
    module, entry, values = design(args)
    done = elaborate(module, entry, values, limits(args))
    _check(done, given)
    figures = cost(done.program, given)
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


def _given(options: list[str]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for text in ",".join(options).split(",") if options else []:
        name, value = split_assignment(text, "--at")
        if not value.isdecimal() or int(value) < 1:
            raise UsageError("ARC0906", f"`--at {text}`: `{value}` is not a whole number above 0")
        sizes[name] = int(value)
    return sizes


def _check(done: Elaborated, given: dict[str, int]) -> None:
    """Refuses sizes that the inputs do not have, and those that do not fit."""
    from archlang.inputs import violated
    from archlang.report.diagnostic import ArchError, Diagnostic
    from archlang.report.suggest import did_you_mean

    root = done.program.root
    for name in given:
        if name not in root.symbols:
            listed = ", ".join(f"`{s}`" for s in root.symbols)
            note = f"its free sizes are {listed}" if listed else "it has no free sizes"
            message = f"the input of `{done.entry}` has no size `{name}`"
            raise UsageError("ARC0908", message, did_you_mean(name, root.symbols), [note])
    broken = violated(root, given)
    if broken is not None:
        at = ", ".join(f"{name}={n}" for name, n in given.items())
        reason = f"needs {broken}" + (f" ({broken.reason})" if broken.reason else "")
        raise ArchError(Diagnostic("ARC0922", f"`{done.entry}` cannot run at {at}", broken.span, reason))
