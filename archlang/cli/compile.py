"""Turns a block of a spec into a standalone PyTorch file, or shows the typed graph that it stands for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from archlang.cli.arguments import Parser, add_design, add_training, choice, design, limits
from archlang.cli.guard import UsageError, show
from archlang.cli.memory import AT_HELP, amount, budget_of, fitted
from archlang.cli.output import graph_text, keep, write
from archlang.cli.passes import add_passes, aim, given_weights, optimised
from archlang.cli.sizes import add_sizes

if TYPE_CHECKING:
    from archlang.elaborate import Elaborated
    from archlang.ir.graph import Program
    from archlang.optimize import Optimized

FORMS = ("py", "ir", "json", "arch")


def configure(parser: Parser) -> None:
    add_design(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write (default: standard output)")
    text = "py: PyTorch source; ir: the typed graph as text; json: as JSON; arch: as a spec (default: py)"
    parser.add_argument("--emit", type=choice(*FORMS), default="py", metavar="FORM", help=text)
    text = "let autograd keep the activations of reversible blocks, too, instead of rebuilding them"
    trained = parser.add_mutually_exclusive_group()
    trained.add_argument("--no-rebuild", action="store_true", help=text)
    text = "plan training so that it holds at most so much for the backward pass (4GiB, 512MiB), at the sizes of --at"
    trained.add_argument("--memory", metavar="AMOUNT", help=text)
    add_sizes(parser, AT_HELP)
    add_training(parser, overlap=True)
    text = "give the class a method `with_log_det`, which returns log|det J| of the network's map, too"
    parser.add_argument("--log-det", action="store_true", help=text)
    add_passes(parser, "0")
    text = "add a function `convert_state_dict` that makes the optimised module's state from the trained network's"
    parser.add_argument("--with-convert", action="store_true", help=text)


def run(args: argparse.Namespace) -> int:
    from archlang.elaborate import elaborate

    keep(args.spec, args.output)
    module, entry, values = design(args)
    done = elaborate(module, entry, values, limits(args))
    text = _emit(done, args)
    if done.warnings:
        show(done.warnings)
    write(text, args.output)
    return 0


def _emit(done: Elaborated, args: argparse.Namespace) -> str:
    """The whole output, before anything is written."""
    asked = aim(args)
    made = optimised(done.program, asked, trained=given_weights(done.program, args.weights, asked))
    if args.memory is not None and (args.emit != "py" or asked.purpose == "inference"):
        what = "a module for inference" if args.emit == "py" else f"`--emit {args.emit}`"
        raise UsageError("ARC0901", f"`--memory` plans the training of a module, and this is {what}")
    if args.emit != "py":
        return graph_text(made.program, args.emit)
    import os

    from archlang.codegen import generate
    from archlang.optimize import overwriting

    made = made if args.memory is not None else overwriting(made)
    program, changes, plan = _planned(made, done.entry, args)
    return generate(
        program,
        source_name=os.path.basename(args.spec),
        rebuild=not args.no_rebuild,
        overlap=args.overlap,
        dtype=args.dtype,
        log_det=args.log_det,
        changes=changes if args.with_convert else None,
        **plan,
    )


def _planned(made: Optimized, entry: str, args: argparse.Namespace) -> tuple[Program, Any, dict[str, Any]]:
    """The program as a budget of memory has it trained, its changes of weights, and what the generator must know."""
    if args.memory is None:
        if args.at:
            raise UsageError("ARC0901", "`--at` is for `--memory`", "say how much memory there is, as in --memory 4GiB")
        return made.program, made.changes, {}
    from archlang.budget.report import remark

    memory = amount(args.memory)
    budget = budget_of(made.program, entry, args)
    fit = fitted(budget, memory, entry)
    planned = budget.planned(fit)
    changes = {key: made.changes[old] for key, old in planned.origins.items() if old in made.changes}
    plan = {"header": remark(budget, fit, memory), "segments": planned.segments, "recorded": planned.origins}
    return planned.program, {**made.changes, **changes}, plan
