"""Writes a smaller spec: without a share of the channels of each group, or without those that a file names."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from archlang.cli.arguments import Parser, add_design, choice, design, limits
from archlang.cli.files import must_read
from archlang.cli.guard import UsageError, show
from archlang.cli.output import keep, write, write_atomically
from archlang.cli.weights import trained_state

if TYPE_CHECKING:
    from archlang.groups import Groups
    from archlang.ir.graph import Program
    from archlang.report.diagnostic import Diagnostic


def configure(parser: Parser) -> None:
    add_design(parser)
    which = parser.add_mutually_exclusive_group(required=True)
    text = "leave this share of each group out, rounded down: 0.5 or 50%%"
    which.add_argument("--ratio", type=_share, metavar="SHARE", help=text)
    text = "a JSON object: for the name of a group (`archc groups`) a share, or a list of the indices to leave out"
    which.add_argument("--groups", metavar="FILE", help=text)
    text = "a trained state (.safetensors or of torch): the smallest weights go, OUT.safetensors or OUT.pt is written"
    parser.add_argument("--weights", metavar="CHECKPOINT", help=text)
    text = "what a channel's weights count by, with --weights: l1 or l2 (default: l2)"
    parser.add_argument("--norm", type=choice("l1", "l2"), default="l2", metavar="NORM", help=text)
    text = "prune groups that norms take statistics over, too: these are then those of the channels that are kept"
    parser.add_argument("--through-norms", action="store_true", help=text)
    text = "where to write the spec (default: standard output); beside it, OUT.json says which indices are kept"
    parser.add_argument("-o", "--output", metavar="OUT.arch", help=text)


def run(args: argparse.Namespace) -> int:
    from archlang.elaborate import elaborate
    from archlang.groups import find

    args.output = None if args.output == "-" else args.output  # standard output, beside which nothing stands
    if args.weights is not None and args.output is None:
        raise UsageError("ARC0901", "`--weights` writes a file beside the spec: say where, with `-o`")
    _keep_inputs(args)
    module, entry, values = design(args)
    done = elaborate(module, entry, values, limits(args))
    state, safetensors = trained_state(args.weights, done.program) if args.weights is not None else (None, False)
    groups = find(done.program)
    kept = _chosen(groups, args, state)
    small = _shrunk(done.program, groups, kept)
    text = _spec(small, done.program, groups, kept, f"{done.entry} ({args.spec})")
    rows = groups.arranged(kept.get)
    show([*done.warnings, *_nothing(groups, kept)])
    write(text, args.output)
    if args.output is not None:
        stem = os.path.splitext(args.output)[0]
        write(_slices(groups, kept, rows), f"{stem}.json")
        written = [args.output, f"{stem}.json"]
        if state is not None:
            written.append(_write_state(state, rows, stem, safetensors))
        print(_summary(small, done.program, groups, kept))
        print(f"written: {', '.join(written)}")
    return 0


def _keep_inputs(args: argparse.Namespace) -> None:
    """UsageError where one of the outputs would overwrite what is read, or another output."""
    keep(args.spec, args.output)
    if args.output is None:
        return
    stem, ending = os.path.splitext(args.output)
    beside = [f"{stem}.json"] + ([f"{stem}.pt", f"{stem}.safetensors"] if args.weights is not None else [])
    if args.output in beside:
        raise UsageError("ARC0901", f"`{ending}` ends what is written beside the spec", f"`-o {stem}.arch`")
    for path in beside:
        keep(args.spec, path)
    for source, what in ((args.weights, "the checkpoint"), (args.groups, "the table of groups")):
        for path in (args.output, *beside) if source is not None else ():
            keep(source, path, what)


def _summary(small: Program, program: Program, groups: Groups, kept: Mapping[int, list[int]]) -> str:
    from archlang.ir.walk import counts

    before, after = counts(program).parameters, counts(small).parameters
    share = f" ({after / before:.1%})" if before else ""
    of = f"{len(kept):,} group{'s' * (len(kept) != 1)}"
    return f"{after:,} of {before:,} parameters{share}; {_channels(groups, kept)} out of {of}"


def _dropped(groups: Groups, kept: Mapping[int, list[int]]) -> int:
    return sum(groups.groups[i].size - len(indices) for i, indices in kept.items())


def _channels(groups: Groups, kept: Mapping[int, list[int]]) -> str:
    dropped = _dropped(groups, kept)
    return f"{dropped:,} channel{'s' * (dropped != 1)}"


def _nothing(groups: Groups, kept: Mapping[int, list[int]]) -> list[Diagnostic]:
    """A warning where everything is kept."""
    from archlang.report.diagnostic import Diagnostic, Severity

    if _dropped(groups, kept):
        return []
    wide = [group for group in groups if group.size > 1]
    if any(group.prunable for group in wide):
        message, help = "nothing is left out: of no group is the share a whole channel", "take a larger share"
    else:
        message = "nothing is left out: no group can be pruned"
        more = sum(group.shrinkable for group in wide)
        help = f"`--through-norms` prunes {more:,} more" if more else "`archc groups` says why of each"
    return [Diagnostic("ARC0812", message, None, help=help, severity=Severity.WARNING)]


def _share(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"`{text}` is no share between 0 and 1")
    return value


def _chosen(groups: Groups, args: argparse.Namespace, state: Mapping[str, Any] | None) -> dict[int, list[int]]:
    from archlang.prune import by_ratio, by_table

    power = 1 if args.norm == "l1" else 2
    if args.ratio is not None:
        return by_ratio(groups, args.ratio, state, power, through_norms=args.through_norms)
    must_read(args.groups)
    try:
        with open(args.groups, encoding="utf-8") as file:
            table = json.load(file)
    except ValueError:
        raise _no_table(args.groups, "it is no JSON") from None
    if not isinstance(table, dict):
        raise _no_table(args.groups, "it is no object")
    for name, wanted in table.items():
        share = isinstance(wanted, float) and 0 < wanted < 1
        if not share and not (isinstance(wanted, list) and all(type(i) is int for i in wanted)):
            raise _no_table(args.groups, f"for `{name}` it has neither a share between 0 and 1 nor a list of indices")
    return by_table(groups, table, state, power, through_norms=args.through_norms)


def _no_table(path: str, why: str) -> UsageError:
    return UsageError("ARC0814", f"`{path}` names no groups: {why}", 'it looks like {"conv1.weight[0]": [0, 5]}')


def _shrunk(program: Program, groups: Groups, kept: dict[int, list[int]]) -> Program:
    from archlang.prune import Unprunable, shrink
    from archlang.report.diagnostic import ArchError, Diagnostic

    try:
        return shrink(program, groups, kept)
    except Unprunable as error:
        raise ArchError(Diagnostic("ARC0812", str(error), None, help="leave its group out")) from None


def _spec(small: Program, program: Program, groups: Groups, kept: dict[int, list[int]], title: str) -> str:
    from archlang.ir.walk import counts
    from archlang.unparse import to_arch

    before, after = counts(program).parameters, counts(small).parameters
    head = f"## {title} without {_channels(groups, kept)}: {after:,} of {before:,} parameters.\n\n"
    return head + to_arch(small)


def _slices(groups: Groups, kept: dict[int, list[int]], rows: Mapping[str, list[list[int] | None]]) -> str:
    """JSON, a line for each: what is left out of a group; the rows that are kept of a tensor, by dimension."""
    gone = {groups.groups[i].name: sorted({*range(groups.groups[i].size)} - {*indices}) for i, indices in kept.items()}
    tensors = {
        key: {dim: picked for dim, picked in enumerate(dims) if picked is not None}
        for key, dims in rows.items()
        if any(picked is not None for picked in dims)
    }
    return f'{{"dropped": {_by_line(gone)},\n"kept": {_by_line(tensors)}}}\n'


def _by_line(table: Mapping[str, Any]) -> str:
    rows = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in table.items())
    return f"{{\n{rows}\n}}" if rows else "{}"


# -- trained states ----------------------------------------------------------------------------------------------------
def _write_state(state: Mapping[str, Any], rows: Mapping[str, Any], stem: str, safetensors: bool) -> str:
    """Writes the sliced state beside the spec; where."""
    from archlang.groups.apply import arrange
    from archlang.keys.tensors import tensor_bytes

    path = f"{stem}.safetensors" if safetensors else f"{stem}.pt"
    write_atomically(path, tensor_bytes(arrange(state, rows), safetensors))
    return path
