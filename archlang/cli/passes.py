"""The arguments of commands that optimise: what the result is for, how far to go, which passes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from archlang.cli.arguments import Parser, choice
from archlang.cli.guard import UsageError
from archlang.records import dataclass
from archlang.report.suggest import did_you_mean

if TYPE_CHECKING:
    from archlang.ir.graph import Program
    from archlang.optimize import Optimized

__all__ = ["Aim", "add_passes", "aim", "given_weights", "optimised"]

LEVELS = ("0", "1", "2")


def add_passes(parser: Parser, level: str) -> None:
    """`--for`, `-O`, `--passes`, `--weights`; `level` is what -O is by default."""
    text = "train: a module for both modes; inference: one for evaluation only (default: inference where -O is 2)"
    parser.add_argument("--for", dest="purpose", type=choice("train", "inference"), metavar="PURPOSE", help=text)
    text = "0: as written; 1: what is exact; 2: what changes results by rounding, too" + f" (default: {level})"
    parser.add_argument("-O", dest="level", type=choice(*LEVELS), metavar="LEVEL", help=text)
    text = "only these passes, in this order; all: those of -O; docs/optimizer.md lists them"
    parser.add_argument("--passes", metavar="NAME,...", help=text)
    text = "a trained state (.safetensors or of torch), for passes that look at weights: split-low-rank=TOLERANCE"
    parser.add_argument("--weights", metavar="CHECKPOINT", help=text)
    parser.set_defaults(default_level=level)


@dataclass(frozen=True, slots=True)
class Aim:
    """What a command line asks of the optimiser. names: those of `--passes`; None: all passes of the level."""

    purpose: str
    level: str
    names: list[str] | None


def aim(args: argparse.Namespace) -> Aim:
    """What `--for`, `-O` and `--passes` say together."""
    level = args.level or ("2" if args.purpose or args.passes else args.default_level)
    purpose = args.purpose or ("inference" if level == "2" else "train")
    return Aim(purpose, level, None if args.passes is None else _names(args.passes, purpose))


def _names(text: str, purpose: str) -> list[str]:
    """The passes that `--passes` names."""
    from archlang.optimize import known_passes

    names = [name.strip() for name in text.split(",") if name.strip()]
    known = {name for name, p in known_passes().items() if purpose in p.purposes}
    for name in names:
        if name != "all" and name.partition("=")[0] not in known:
            listed = "there are " + ", ".join(f"`{n}`" for n in known_passes() if n in known)
            message = f"there is no pass `{name}` for {purpose}"
            raise UsageError("ARC0901", message, did_you_mean(name, known) or listed)
    return names


def given_weights(program: Program, checkpoint: str | None, aim: Aim) -> dict[str, Any] | None:
    """The state of `--weights`, which approximate passes look at, and the report of what they lose."""
    from archlang.optimize import known_passes

    if checkpoint is None:
        return None
    known = known_passes()
    named = [known[name.partition("=")[0]] for name in aim.names or () if name != "all"]
    if not any(p.equivalence == "approximate" for p in named):
        help = "those that do are named: `--passes all,split-low-rank=0.1`"
        raise UsageError("ARC0901", "no pass looks at `--weights`", help)
    from archlang.cli.weights import trained_state

    return trained_state(checkpoint, program)[0]


def optimised(
    program: Program,
    aim: Aim,
    watch: Callable[[str, int, Program], None] = lambda name, rewrites, program: None,
    trained: Mapping[str, Any] | None = None,
) -> Optimized:
    """The program after the passes that the command line asks for. trained: of `given_weights`."""
    from archlang.optimize import NeedsWeights, optimize

    level = int(aim.level)
    try:
        return optimize(program, purpose=aim.purpose, level=level, names=aim.names, watch=watch, trained=trained)
    except NeedsWeights as error:
        raise UsageError("ARC0901", str(error), "give them with `--weights CHECKPOINT`") from None
    except ValueError as error:
        raise UsageError("ARC0901", str(error)) from None
