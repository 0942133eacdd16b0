"""The option `--at NAME=N,...`: input sizes as given on the command line, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from archlang.cli.arguments import Parser, split_assignment
from archlang.cli.guard import UsageError
from archlang.report.suggest import did_you_mean

if TYPE_CHECKING:
    from archlang.ir.graph import Constraint, Graph

__all__ = ["add_sizes", "check_sizes", "given_sizes", "needed"]


def add_sizes(parser: Parser, help: str) -> None:
    parser.add_argument("--at", action="append", default=[], metavar="NAME=N,...", help=help)


def given_sizes(options: list[str]) -> dict[str, int]:
    """The sizes that `--at` gives, by name."""
    sizes: dict[str, int] = {}
    for text in ",".join(options).split(",") if options else []:
        name, value = split_assignment(text, "--at")
        if not value.isdecimal() or int(value) < 1:
            raise UsageError("ARC0906", f"`--at {text}`: `{value}` is not a whole number above 0")
        sizes[name] = int(value)
    return sizes


def check_sizes(root: Graph, entry: str, given: Mapping[str, int]) -> None:
    """Refuses sizes that the inputs do not have, and those that do not fit."""
    from archlang.inputs import violated
    from archlang.report.diagnostic import ArchError, Diagnostic

    for name in given:
        if name not in root.symbols:
            listed = ", ".join(f"`{s}`" for s in root.symbols)
            note = f"its free sizes are {listed}" if listed else "it has no free sizes"
            message = f"the input of `{entry}` has no size `{name}`"
            raise UsageError("ARC0908", message, did_you_mean(name, root.symbols), [note])
    broken = violated(root, given)
    if broken is not None:
        at = ", ".join(f"{name}={n}" for name, n in given.items())
        raise ArchError(Diagnostic("ARC0922", f"`{entry}` cannot run at {at}", broken.span, needed(broken)))


def needed(constraint: Constraint) -> str:
    """What a constraint asks for, with its reason."""
    return f"needs {constraint}" + (f" ({constraint.reason})" if constraint.reason else "")
