"""Shows what changed between two specs: structure, types, state-dict keys, operations and memory.

OLD and NEW are files, or REV:FILE for a file of a git revision; `--git REV1..REV2 FILE` compares two revisions of one
file, `--git REV FILE` a revision with the file as it is. Exit status: 0 equal, 1 different, 2 cannot be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from archlang.cli.arguments import Parser, add_limits, choice, limits, parameter_values, unknown_entry
from archlang.cli.guard import UsageError, show
from archlang.cli.output import keep, write
from archlang.cli.sizes import add_sizes, given_sizes
from archlang.report.diagnostic import ArchError, Diagnostic

if TYPE_CHECKING:
    from archlang.compare.changes import SpecDiff
    from archlang.elaborate import Limits, LoadedModule

FORMATS = ("text", "json", "markdown")


def configure(parser: Parser) -> None:
    parser.add_argument("specs", metavar="SPEC", nargs="+", help="OLD and NEW, or one FILE with --git")
    parser.add_argument("--git", metavar="REV1..REV2", help="compare revisions of one file")
    parser.add_argument("-e", "--entry", metavar="BLOCK", help="the block to compare (default: every design)")
    text = "set a parameter of the block on both sides (repeatable)"
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=text)
    text = "sizes to give figures for: --at B=1,H=224 (default: fitting ones)"
    add_sizes(parser, text)
    parser.add_argument("--all", action="store_true", help="text: show every change, not the first of each kind")
    parser.add_argument("--format", type=choice(*FORMATS), default="text", metavar="FORM", help=", ".join(FORMATS))
    parser.add_argument("--output", metavar="FILE", help="where to write (default: standard output)")
    add_limits(parser)


def run(args: argparse.Namespace) -> int:
    if args.set and args.entry is None:
        raise UsageError("ARC0901", "`--set` needs `--entry BLOCK`: it sets a parameter of that block")
    old, new = _sides(args)
    with tempfile.TemporaryDirectory(prefix="archc-diff-") as folder:
        try:
            diff = _compare(old, new, Path(folder), args)
        except ArchError as error:  # not 1, which says that the specs differ
            show(_renamed(error, {str(Path(folder) / side): rev for side, (rev, _) in (("0", old), ("1", new)) if rev}))
            return 2
    write(_form(diff, args), args.output)
    return 0 if diff.equal else 1


Side = tuple[str | None, str]  # a revision (None: as the files are) and a path


def _sides(args: argparse.Namespace) -> tuple[Side, Side]:
    if args.git is None:
        if len(args.specs) != 2:
            raise UsageError("ARC0901", "`archc diff` compares two specs: OLD and NEW, or one FILE with --git")
        old, new = (_side(text) for text in args.specs)
        return old, new
    if len(args.specs) != 1:
        raise UsageError("ARC0901", "`--git` compares revisions of one file; name that file and no other")
    first, dots, second = args.git.partition("..")
    if second.startswith("."):
        raise UsageError("ARC0901", f"`--git {args.git}`: two points, not three")
    return (first or "HEAD", args.specs[0]), ((second or "HEAD") if dots else None, args.specs[0])


def _side(text: str) -> Side:
    """`REV:FILE`, unless there is a file of that name."""
    revision, colon, path = text.partition(":")
    if os.path.exists(text) or not colon or not revision or not path or os.path.isabs(text):
        return None, text
    return revision, path


def _compare(old: Side, new: Side, folder: Path, args: argparse.Namespace) -> SpecDiff:
    from archlang.compare.designs import compare_specs

    bounds = limits(args)
    modules = _load(old, folder / "0", args, bounds), _load(new, folder / "1", args, bounds)
    for (_, path), module in zip((old, new), modules, strict=True):
        if args.entry is not None and args.entry not in module.blocks:
            raise unknown_entry(args.entry, path, module)
    values = parameter_values(args.set, [module.blocks[args.entry] for module in modules]) if args.set else {}
    names = _name(old), _name(new)
    return compare_specs(*modules, names, args.entry, values, given_sizes(args.at), bounds)


def _load(side: Side, folder: Path, args: argparse.Namespace, bounds: Limits) -> LoadedModule:
    from archlang.cli.files import load

    revision, path = side
    if revision is not None:
        from archlang.cli.revisions import Revision

        folder.mkdir()
        path = Revision(revision, folder).file(path)
    keep(path, args.output)
    return load(path, bounds)


def _name(side: Side) -> str:
    return f"{side[0]}:{side[1]}" if side[0] is not None else side[1]


def _renamed(error: ArchError, folders: Mapping[str, str]) -> list[Diagnostic]:
    """The findings, with files of a revision called REV:FILE."""
    for diagnostic in error.diagnostics:
        for span in (diagnostic.span, *(label.span for label in diagnostic.related)):
            for folder, revision in folders.items():
                if span is not None and span.source.path.startswith(folder + os.sep):
                    span.source.path = f"{revision}:{span.source.path[len(folder) + 1 :]}"
    return error.diagnostics


def _form(diff: SpecDiff, args: argparse.Namespace) -> str:
    from archlang.compare.text import as_markdown, as_text

    if args.format == "json":
        designs = [{**asdict(d), "equal": d.equal} for d in diff.designs]
        return json.dumps({**asdict(diff), "equal": diff.equal, "designs": designs}) + "\n"
    return as_markdown(diff) if args.format == "markdown" else as_text(diff, show_all=args.all)
