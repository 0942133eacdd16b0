"""Compares the parameter names and shapes that a spec makes with those in a checkpoint (safetensors or torch)."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from archlang.cli.arguments import Parser, add_design, choice, design, limits
from archlang.cli.guard import show
from archlang.cli.weights import reading
from archlang.report.diagnostic import Diagnostic, Span

if TYPE_CHECKING:
    from archlang.ir.walk import Entry
    from archlang.keys.checkpoint import Checkpoint
    from archlang.keys.compare import Comparison

T = TypeVar("T")
SHOWN = 8


def configure(parser: Parser) -> None:
    add_design(parser)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a .safetensors file, its index, or a torch file")
    parser.add_argument("--prefix", default="", metavar="TEXT", help="take TEXT off the checkpoint's keys first")
    parser.add_argument("--all", action="store_true", help=f"list every key, not {SHOWN} for each place in the spec")
    parser.add_argument("--format", type=choice("text", "json"), default="text", metavar="FORM", help="text or json")


def run(args: argparse.Namespace) -> int:
    from archlang.elaborate import elaborate
    from archlang.ir.walk import parameters
    from archlang.keys.checkpoint import read
    from archlang.keys.compare import compare

    module, entry, values = design(args)
    with reading(args.checkpoint):
        checkpoint = read(args.checkpoint)
    entries = list(parameters(elaborate(module, entry, values, limits(args)).program))
    shapes = {key.removeprefix(args.prefix): shape for key, shape in checkpoint.shapes.items()}
    result = compare(entries, shapes)
    if args.format == "json":
        sys.stdout.writelines(json.dumps(row) + "\n" for row in _rows(result))
    else:
        _print(result, checkpoint, entries, args)
    return 0 if result.equal else 1


# -- text --------------------------------------------------------------------------------------------------------------
def _print(result: Comparison, checkpoint: Checkpoint, entries: Sequence[Entry], args: argparse.Namespace) -> None:
    limit = sys.maxsize if args.all else SHOWN
    show([*_missing(result, limit), *_unexpected(result, limit), *_misshaped(result, limit)], sys.stdout, count=False)
    for note in checkpoint.notes:
        print(f"note: {note}")
    if result.counters:
        print(f"note: {result.counters} `num_batches_tracked` are not in the checkpoint; torch sets them to 0")
    if not args.prefix:
        _suggest_prefix(entries, checkpoint)
    counts = [
        (len(result.missing), "missing"),
        (len(result.unexpected), "unexpected"),
        (len(result.misshaped), "of another shape"),
    ]
    found = ", ".join(f"{n} {what}" for n, what in counts if n)
    agree = "key agrees" if result.agreeing == 1 else "keys agree"
    print(f"{found}; {result.agreeing} {agree}" if found else f"all {result.agreeing} keys agree in name and shape")


def _suggest_prefix(entries: Sequence[Entry], checkpoint: Checkpoint) -> None:
    from archlang.keys.compare import removable_prefix

    prefix = removable_prefix(entries, checkpoint.shapes)
    if prefix:
        print(f"help: all keys of the checkpoint begin with `{prefix}`: try --prefix {prefix}")


def _missing(result: Comparison, limit: int) -> Iterator[Diagnostic]:
    for span, items in _by_span(result.missing, lambda item: item.entry.span):
        keys = [f"`{m.entry.key}` {_shape(m.entry.decl.shape)}" for m in items]
        near = [f"the checkpoint has `{m.nearest}`" if m.nearest else "" for m in items]
        what = keys[0] if len(keys) == 1 else f"{len(keys)} keys made here"
        yield Diagnostic("ARC0931", f"the checkpoint lacks {what}", span, notes=_listed(keys, near, limit))


def _unexpected(result: Comparison, limit: int) -> Iterator[Diagnostic]:
    for span, items in _by_span(result.unexpected, lambda item: item.nearest.span if item.nearest else None):
        keys = [f"`{u.key}` {_shape(u.shape)}" for u in items]
        near = [f"the spec makes `{e.key}` {_shape(e.decl.shape)}" if e else "" for e in (u.nearest for u in items)]
        what = f"{keys[0]}, which" if len(keys) == 1 else f"{len(keys)} keys that"
        label = "makes the nearest" if span else ""
        message = f"the checkpoint has {what} the spec does not make"
        yield Diagnostic("ARC0932", message, span, label, notes=_listed(keys, near, limit))


def _misshaped(result: Comparison, limit: int) -> Iterator[Diagnostic]:
    for span, items in _by_span(result.misshaped, lambda item: item[0].span):
        keys = [f"`{e.key}` is {_shape(e.decl.shape)} here, {_shape(shape)} in the checkpoint" for e, shape in items]
        message = keys[0] if len(keys) == 1 else f"{len(keys)} keys made here have another shape in the checkpoint"
        yield Diagnostic("ARC0933", message, span, notes=_listed(keys, [""] * len(keys), limit))


def _by_span(items: Iterable[T], where: Callable[[T], Span | None]) -> Iterator[tuple[Span | None, list[T]]]:
    """Keys that one place in the spec makes (in a loop, many) go together; in the order of the first of each."""
    groups: dict[tuple[str, int, int] | None, tuple[Span | None, list[T]]] = {}
    for item in items:
        span = where(item)
        key = (span.source.path, span.start, span.end) if span else None
        groups.setdefault(key, (span, []))[1].append(item)
    yield from groups.values()


def _listed(keys: Sequence[str], near: Sequence[str], limit: int) -> tuple[str, ...]:
    """A note for each key with what is near it; a single key has been named in the message."""
    if len(keys) == 1:
        return (near[0],) if near[0] else ()
    lines = [f"{key}; {other}" if other else key for key, other in zip(keys, near, strict=True)]
    more = [f"... and {len(lines) - limit} more (--all lists them)"] if len(lines) > limit else []
    return (*lines[:limit], *more)


def _shape(shape: Sequence[int]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


# -- JSON lines --------------------------------------------------------------------------------------------------------
def _rows(result: Comparison) -> Iterator[dict[str, Any]]:
    for m in result.missing:
        yield _row("missing", m.entry.key, m.entry, shape=m.entry.decl.shape, nearest=m.nearest)
    for u in result.unexpected:
        yield _row("unexpected", u.key, u.nearest, shape=u.shape, nearest=u.nearest.key if u.nearest else None)
    for e, shape in result.misshaped:
        yield _row("misshaped", e.key, e, shape=e.decl.shape, found=shape)
    yield {"kind": "summary", "agreeing": result.agreeing, "counters": result.counters, "equal": result.equal}


def _row(kind: str, key: str, entry: Entry | None, **more: Any) -> dict[str, Any]:
    span = entry.span if entry else None
    place = {"path": span.source.path, "line": span.line, "column": span.column} if span else None
    return {"kind": kind, "key": key, "span": place, **more}
