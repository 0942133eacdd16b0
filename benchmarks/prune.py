"""Prunes the designs in specs/ by half, and compares what the smaller specs compute with the masked networks (float64).

Usage: python benchmarks/prune.py [SPEC ...] [--largest PARAMETERS] [--ratio SHARE] [--through-norms]
       python benchmarks/prune.py [SPEC ...] --check [--verify] [--ratio SHARE] [--through-norms]

A line a design: parameters before and after, and the largest relative difference of an output. The masked network has
zeros in all weights of the channels that are left out. With --through-norms groups shrink that norms take statistics
over: those of the masked network skip the channels that are zero.

With --check nothing runs: of every size, the smaller specs must pass `archc check` and compile. With --verify, those of
the smallest design of each file are also built, on the meta device, and `archc verify --numeric` must agree with them.
A line has, beside the parameters, the lines of the smaller spec.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import archlang
from archlang.cli import main as archc
from archlang.elaborate import elaborate
from archlang.groups import Groups, find
from archlang.groups.apply import arrange
from archlang.inputs import random_inputs
from archlang.interpret import Interpreter
from archlang.interpret.initial import initial_state
from archlang.ir.graph import Program
from archlang.ir.walk import counts
from archlang.ops.base import registry
from archlang.prune import by_ratio, shrink
from archlang.report.diagnostic import ArchError
from archlang.unparse import to_arch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.groups import doubled, flat, random_state, small_sizes  # noqa: E402
from scripts.specs_table import chosen, entries  # noqa: E402


def masked(state: dict[str, Any], groups: Groups, kept: dict[int, list[int]], consumers: bool) -> dict[str, Any]:
    """The state with zeros at indices that are left out: in what reads them, else in all that has them."""
    made = dict(state)
    for number, indices in kept.items():
        group, stay = groups.groups[number], set(indices)
        for member in group.members:
            if (consumers and member.dim == 0) or member.key.endswith("running_var"):
                continue
            gone = [p for i in range(group.size) if i not in stay for p in member.places(i)]
            made[member.key] = made[member.key].index_fill(member.dim, torch.tensor(gone), 0.0)
    return made


def normed(op: str, x: torch.Tensor, weights: Mapping[str, Any], attrs: Mapping[str, Any]) -> torch.Tensor:
    """A norm whose statistics skip channels that are zero: those whose weight is, or all of whose values."""
    many = len(attrs["normalized_shape"]) if "normalized_shape" in attrs else 1
    last = x if "normalized_shape" in attrs else x.movedim(1, -1)
    weight, bias = weights.get("weight"), weights.get("bias")
    alive = last.reshape(-1, *last.shape[last.dim() - many :]).abs().sum(0) > 0 if weight is None else weight != 0
    groups = attrs.get("num_groups", 1)
    dims: tuple[int, ...] = tuple(range(last.dim() - many, last.dim()))
    if op == "groupnorm":  # [B, ..., groups, C]: over all but the batch and the groups
        last, alive = last.unflatten(-1, (groups, -1)), alive.unflatten(0, (groups, -1))
        dims = (*range(1, last.dim() - 2), last.dim() - 1)
    mask = alive.to(x.dtype).expand(last.shape)
    number = mask.sum(dims, keepdim=True)
    mean = 0 if op == "rmsnorm" else (last * mask).sum(dims, keepdim=True) / number
    centred = (last - mean) * mask
    eps = attrs["eps"] if attrs["eps"] is not None else torch.finfo(x.dtype).eps
    y = centred / ((centred**2).sum(dims, keepdim=True) / number + eps).sqrt()
    y = y.flatten(-2) if op == "groupnorm" else y
    y = y if weight is None else y * weight
    y = y if bias is None else y + bias
    return y if "normalized_shape" in attrs else y.movedim(-1, 1)


@contextmanager
def norms_skip_zeros() -> Iterator[None]:
    """While it lasts, the interpreter's norms take their statistics over channels that are not zero."""
    ops = [registry()[name] for name in ("layernorm", "rmsnorm", "layernorm2d", "groupnorm")]
    before = [type(op).run for op in ops]

    def run(self: Any, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Mapping[str, Any], training: bool) -> Any:
        return normed(self.name, ins[0], weights, attrs)

    for op in ops:
        type(op).run = run  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for op, old in zip(ops, before, strict=True):
            type(op).run = old  # type: ignore[method-assign]


def difference(program: Program, ratio: float, through_norms: bool = False) -> tuple[Program, float]:
    """The pruned program, from its spec, and how far its outputs are from the masked network's."""
    groups = find(program)
    torch.manual_seed(0)
    inputs = doubled(random_inputs(program, small_sizes(program)))
    worst = float("inf")
    for state in (random_state(program), initial_state(program, torch.float64)):
        kept = by_ratio(groups, ratio, state, through_norms=through_norms)
        small = archlang.compile(
            to_arch(shrink(program, groups, kept))
        ).program  # checked, and made into PyTorch source
        with torch.no_grad():
            torch.manual_seed(1)
            zeros = masked(state, groups, kept, consumers=False)
            with norms_skip_zeros() if through_norms else nullcontext():
                full = flat(Interpreter(program).run(inputs, zeros))
            torch.manual_seed(1)
            less = flat(Interpreter(small).run(inputs, arrange(state, groups.arranged(kept.get))))
        if all(bool(y.isfinite().all()) for y in full):
            gaps = [
                float((a - b).abs().max() / a.abs().max().clamp(min=1e-30)) for a, b in zip(full, less, strict=True)
            ]
            return small, max(gaps)
    return small, worst


def checked(program: Program, ratio: float, through_norms: bool, verify: bool = False) -> tuple[Program, int]:
    """The pruned program, from its spec, which `archc check` accepts (`archc verify --numeric`, too); and its lines."""
    groups = find(program)
    kept = by_ratio(groups, ratio, through_norms=through_norms)
    text = to_arch(shrink(program, groups, kept))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "small.arch"
        path.write_text(text, encoding="utf-8")
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            status = archc(["check", "--no-cache", str(path)])
            if status == 0 and verify:
                status = archc(["verify", "--numeric", "--sizes", "3", str(path)])
    assert status == 0, said.getvalue()
    return archlang.compile(text).program, text.count("\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("specs", nargs="*")
    parser.add_argument("--largest", type=int, default=10_000_000)
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--through-norms", action="store_true")
    parser.add_argument("--smallest", type=int, default=0)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--verify", action="store_true")
    args = parser.parse_args()
    bad = tried = 0
    for path, spec in chosen(args.specs):
        designs = [(entry, elaborate(spec.module, entry).program) for entry in entries(spec.module)]
        if args.verify:
            designs = [min(designs, key=lambda design: counts(design[1]).parameters)]
        for entry, program in designs:
            before = counts(program).parameters
            if not args.check and not args.smallest <= before <= args.largest:
                continue
            tried += 1
            try:
                if args.check:
                    small, lines = checked(program, args.ratio, args.through_norms, args.verify)
                    said = f"{lines} lines"
                else:
                    small, worst = difference(program, args.ratio, args.through_norms)
                    bad += worst > 1e-9
                    said = f"difference {worst:.1e}"
                said = f"{before:,} -> {counts(small).parameters:,} parameters; {said}"
            except ArchError as error:
                bad += 1
                said = f"{error.diagnostics[0].code} {error.diagnostics[0].message}"
            except Exception as error:  # reported, and the next design is tried
                bad += 1
                said = f"{type(error).__name__}: {error}"[:300]
            print(f"{path.stem}.{entry}: {said}", flush=True)
    print(f"{tried - bad} of {tried}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
