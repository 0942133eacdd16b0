"""Turns a block of a spec into a standalone PyTorch file, or shows the typed graph that it stands for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from archlang.cli.arguments import Parser, add_design, choice, design, limits
from archlang.cli.guard import show
from archlang.cli.output import keep, write

if TYPE_CHECKING:
    from archlang.elaborate import Elaborated

FORMS = ("py", "ir", "json")


def configure(parser: Parser) -> None:
    add_design(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write (default: standard output)")
    text = "py: PyTorch source; ir: the typed graph as text; json: as JSON (default: py)"
    parser.add_argument("--emit", type=choice(*FORMS), default="py", metavar="FORM", help=text)
    text = "let autograd keep the activations of reversible blocks, too, instead of rebuilding them"
    parser.add_argument("--no-rebuild", action="store_true", help=text)
    text = "give the class a method `with_log_det`, which returns log|det J| of the network's map, too"
    parser.add_argument("--log-det", action="store_true", help=text)


def run(args: argparse.Namespace) -> int:
    from archlang.elaborate import elaborate

    keep(args.spec, args.output)
    module, entry, values = design(args)
    done = elaborate(module, entry, values, limits(args))
    text = _emit(done, args.emit, args.spec, not args.no_rebuild, args.log_det)
    if done.warnings:
        show(done.warnings)
    write(text, args.output)
    return 0


def _emit(done: Elaborated, form: str, spec: str, rebuild: bool, log_det: bool) -> str:
    """The whole output, before anything is written."""
    if form == "ir":
        from archlang.ir.text import to_text

        text = to_text(done.program)
    elif form == "json":
        from archlang.ir.serialize import to_json

        text = to_json(done.program)
    else:
        import os

        from archlang.codegen import generate

        text = generate(done.program, source_name=os.path.basename(spec), rebuild=rebuild, log_det=log_det)
    return text if text.endswith("\n") else text + "\n"
