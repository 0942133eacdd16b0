"""The option `--memory AMOUNT`: a budget for what training holds, and the plan that keeps to it."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from archlang.cli.arguments import Parser
from archlang.cli.guard import UsageError
from archlang.cli.sizes import check_sizes, given_sizes

if TYPE_CHECKING:
    from archlang.budget import Budget, Fit
    from archlang.ir.graph import Program

__all__ = ["add_memory", "amount", "budget_of", "fitted"]

_AMOUNT = re.compile(r"[0-9_]+(\.[0-9_]+)?(k|M|G|T|KiB|MiB|GiB)?")
AT_HELP = "sizes of the input (repeatable), all of them: --at B=32,H=224,W=224"


def add_memory(parser: Parser, help: str) -> None:
    parser.add_argument("--memory", metavar="AMOUNT", help=help)


def amount(text: str) -> int:
    """Bytes, from `4GiB`, `512MiB` or `2_000_000`."""
    from archlang.syntax.literals import number_value

    value = number_value(text) if _AMOUNT.fullmatch(text) else None
    if not isinstance(value, int) or value < 1:
        help = "write it as in claims: 4GiB, 512MiB, 2.5GiB, or 4G for 4,000,000,000 bytes"
        raise UsageError("ARC0832", f"`--memory {text}`: this is not an amount of memory", help)
    return value


def budget_of(program: Program, entry: str, args: argparse.Namespace) -> Budget:
    """What can be done about the memory of a design at the sizes of the command line."""
    from archlang.budget import Budget

    given = given_sizes(args.at)
    check_sizes(program.root, entry, given)
    missing = [name for name in program.root.symbols if name not in given]
    if missing:
        listed = ", ".join(f"`{name}`" for name in missing)
        example = ",".join(f"{name}=N" for name in program.root.symbols)
        message = f"a plan of memory needs all sizes of `{entry}`: there is no number for {listed}"
        raise UsageError("ARC0831", message, f"give them by --at {example}")
    return Budget(program, given, overlap=args.overlap, dtype=args.dtype)


def fitted(budget: Budget, memory: int, entry: str) -> Fit:
    """The plan within a budget. Raises ArchError (ARC0830) where there is none."""
    from archlang.analyze.report import amount_of
    from archlang.budget.report import name_of
    from archlang.report.diagnostic import ArchError, Diagnostic

    found = budget.within(memory)
    if found is not None:
        return found
    least = amount_of(budget.least.peak)
    choice, before = budget.held(budget.least)
    own = budget.least.peak - before
    notes = [
        f"at its peak, `{name_of(choice)}` holds {amount_of(own)}, and what comes before it {amount_of(before)}",
        f"with all stored, it holds {amount_of(budget.stored.peak)}",
    ]
    raise ArchError(
        Diagnostic(
            "ARC0830",
            f"training `{entry}` within {amount_of(memory)} is not possible: it holds {least} at least",
            budget.program.root.span,
            help="a smaller batch holds less",
            notes=tuple(notes),
        )
    )
