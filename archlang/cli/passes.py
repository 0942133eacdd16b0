"""The arguments of commands that optimise: what the result is for, how far to go, which passes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from archlang.cli.arguments import Parser, choice
from archlang.cli.guard import UsageError
from archlang.report.suggest import did_you_mean

if TYPE_CHECKING:
    from archlang.ir.graph import Program
    from archlang.optimize import Optimized

__all__ = ["add_passes", "aim", "optimised"]

LEVELS = ("0", "1", "2")


def add_passes(parser: Parser, level: str) -> None:
    """`--for`, `-O`, `--passes`; `level` is what -O is by default."""
    text = "train: a module for both modes; inference: one for evaluation only (default: inference where -O is 2)"
    parser.add_argument("--for", dest="purpose", type=choice("train", "inference"), metavar="PURPOSE", help=text)
    text = "0: as written; 1: what is exact; 2: what changes results by rounding, too" + f" (default: {level})"
    parser.add_argument("-O", dest="level", type=choice(*LEVELS), metavar="LEVEL", help=text)
    text = "only these passes, in this order; all: those of -O; docs/optimizer.md lists them"
    parser.add_argument("--passes", metavar="NAME,...", help=text)
    parser.set_defaults(default_level=level)


def aim(args: argparse.Namespace) -> tuple[str, str]:
    """What the result is for, and the level of `-O`."""
    level = args.level or ("2" if args.purpose or args.passes else args.default_level)
    return args.purpose or ("inference" if level == "2" else "train"), level


def optimised(
    program: Program,
    args: argparse.Namespace,
    watch: Callable[[str, int, Program], None] = lambda name, rewrites, program: None,
) -> Optimized:
    """The program after the passes that the command line asks for."""
    from archlang.optimize import known_passes, optimize

    purpose, level = aim(args)
    names = None
    if args.passes is not None:
        names = [name.strip() for name in args.passes.split(",") if name.strip()]
        known = {name for name, p in known_passes().items() if purpose in p.purposes}
        for name in names:
            if name != "all" and name.partition("=")[0] not in known:
                listed = "there are " + ", ".join(f"`{n}`" for n in known_passes() if n in known)
                message = f"there is no pass `{name}` for {purpose}"
                raise UsageError("ARC0901", message, did_you_mean(name, known) or listed)
    try:
        return optimize(program, purpose=purpose, level=int(level), names=names, watch=watch)
    except ValueError as error:
        raise UsageError("ARC0901", str(error)) from None
