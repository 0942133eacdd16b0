"""Runs networks on tensors without data and compares shapes, sizes and figures with the predicted ones. Needs torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from archlang.cli.arguments import Parser, add_limits, add_training, choice, limits, positive, unknown_entry
from archlang.cli.files import find, load
from archlang.cli.guard import UsageError, show

if TYPE_CHECKING:
    from archlang.elaborate import Elaborated, Limits, LoadedModule

STATIC = "`archc check` decides the claims of a spec, without torch; `archc verify --numeric` runs its networks"


def configure(parser: Parser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="+", help="specs, and folders of them")
    text = "a block to build (repeatable; default: all that `archc check` builds)"
    parser.add_argument("-e", "--entry", action="append", default=[], metavar="BLOCK", help=text)
    text = "run the networks: required, since it is `archc check` that decides claims"
    parser.add_argument("--numeric", action="store_true", help=text)
    text = "input sizes to try in each phase, inside and just outside of the valid ones (default: 10)"
    parser.add_argument("--sizes", type=positive, default=10, metavar="N", help=text)
    add_training(parser, overlap=False)
    parser.add_argument("--format", type=choice("text", "json"), default="text", metavar="FORM", help="text or json")
    add_limits(parser)


def run(args: argparse.Namespace) -> int:
    from archlang.loading import require_torch

    if not args.numeric:
        raise UsageError("ARC0901", "`archc verify` needs `--numeric`", STATIC)
    bounds = limits(args)
    modules = [load(path, bounds) for path in dict.fromkeys(find(args.paths))]
    known = {name for module in modules for name in module.blocks}
    for entry in args.entry:
        if entry not in known:
            raise unknown_entry(entry, args.paths[0], modules[0])
    chosen = [(module, done) for module in modules for done in _designs(module, args.entry, bounds)]
    require_torch("`archc verify --numeric`")
    return _certify(chosen, args)


def _designs(module: LoadedModule, entries: list[str], bounds: Limits) -> Iterator[Elaborated]:
    """The chosen designs of a file, each once; ArchError for what does not elaborate."""
    from archlang.elaborate import designs, elaborate
    from archlang.report.diagnostic import ArchError

    if entries:
        yield from (elaborate(module, entry, limits=bounds) for entry in entries if entry in module.blocks)
        return
    seen: set[str] = set()
    for design in designs(module, bounds):
        if design.done is None:
            raise ArchError(design.findings)
        root = design.done.program.root
        key = repr((root.span, root.params, [v.type for v in root.entries]))
        if key not in seen:
            seen.add(key)
            yield design.done


def _certify(chosen: list[tuple[LoadedModule, Elaborated]], args: argparse.Namespace) -> int:
    from archlang.api import emit
    from archlang.certify.certificate import certify
    from archlang.certify.report import as_dict, as_text

    found = []
    for i, (module, done) in enumerate(chosen, 1):
        compiled = emit(done, module.source.path, args.dtype)
        _progress(f"{i} of {len(chosen)}: {done.entry}")
        certificate = certify(compiled, args.sizes, args.dtype)
        _progress("")
        found += certificate.found
        if args.format == "json":
            import json

            sys.stdout.write(json.dumps(as_dict(certificate)) + "\n")
        else:
            sys.stdout.write(("\n" if i > 1 else "") + as_text(certificate))
        sys.stdout.flush()
    if args.format == "json":
        from archlang.report.json import render_all

        sys.stdout.write(render_all(found, designs=len(chosen)))
    elif found:
        sys.stdout.write("\n")
        show(found, sys.stdout)
    return 1 if found else 0


def _progress(text: str) -> None:
    """Which design is at work, on a terminal; nothing in a pipe."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
