"""Shows how training can do with less memory: what is stored, evaluated again or undone, and what that costs."""

from __future__ import annotations

import argparse
import sys

from archlang.cli.arguments import Parser, add_design, add_training, choice, design, limits, positive
from archlang.cli.guard import show
from archlang.cli.memory import AT_HELP, add_memory, amount, budget_of, fitted
from archlang.cli.sizes import add_sizes


def configure(parser: Parser) -> None:
    add_design(parser)
    add_sizes(parser, AT_HELP)
    add_memory(parser, "show the plan that holds at most so much (4GiB, 512MiB); without it, the curve of all plans")
    add_training(parser, overlap=True)
    text = "plans on the curve (default: 12)"
    parser.add_argument("--points", type=positive, default=12, metavar="N", help=text)
    parser.add_argument("--format", type=choice("text", "json"), default="text", metavar="FORM", help="text or json")


def run(args: argparse.Namespace) -> int:
    from archlang.budget import report
    from archlang.elaborate import elaborate

    memory = None if args.memory is None else amount(args.memory)
    module, entry, values = design(args)
    done = elaborate(module, entry, values, limits(args))
    budget = budget_of(done.program, done.entry, args)
    fit = None if memory is None else fitted(budget, memory, done.entry)
    if done.warnings:
        show(done.warnings)
    fits = budget.curve(args.points) if fit is None else []
    if args.format == "json":
        import json

        found = {"entry": done.entry, "spec": args.spec, **report.curve_dict(budget, fits)}
        if fit is not None:
            found["plan"] = report.plan_dict(budget, fit)
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    at = ", ".join(f"{name}={size}" for name, size in budget.sizes.items())
    title = f"{done.entry} ({args.spec})" + (f" at {at}" if at else "")
    text = report.curve_text(budget, fits, title) if fit is None else report.plan_text(budget, fit, title)
    sys.stdout.write(text)
    return 0
