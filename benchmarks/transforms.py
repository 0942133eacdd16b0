"""Tries each transform on the designs in specs/: the result must be well-formed, compile, and run as it is interpreted.

Usage: python benchmarks/transforms.py [SPEC ...] [--all] [--largest PARAMETERS] [--only TRANSFORM] [--compile]

Of each spec the smallest design, with --all every one. Calls are made of the layers that it has: the first chains,
a layer in the middle, each result, common ops. A line a design: for each transform how many calls did something, and
how many were refused by a diagnostic of transforms (ARC086x, ARC087x); everything else is a failure, which is shown.
A trained state carries over: it loads strictly, but for tensors that the report calls new. Whole members of `pack` give
what the networks give that are packed. With --compile nothing runs.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

import archlang
from archlang.elaborate import elaborate
from archlang.inputs import NoSizes, random_inputs
from archlang.interpret.module import InterpreterModule
from archlang.ir.graph import Program
from archlang.ir.walk import counts
from archlang.report.diagnostic import ArchError

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.groups import doubled, flat, small_sizes  # noqa: E402
from scripts.specs_table import chosen, entries  # noqa: E402

CHAINS = 2  # of a design, to which transforms of chains are applied
REFUSED = re.compile(r"ARC08[67]\d")


def paths(program: Program) -> list[tuple[str, bool]]:
    """The paths of all modules in order of declaration, and whether a block stands there."""
    found = []
    stack = [("", program.root)]
    while stack:
        prefix, graph = stack.pop()
        for child in graph.children.values():
            for path in child.paths:
                full = f"{prefix}.{path}" if prefix else path
                found.append((full, child.graph is not None))
                if child.graph is not None:
                    stack.append((full, child.graph))
    return found


def chains(program: Program) -> list[tuple[str, list[str]]]:
    """What paths of numbered modules begin with, and these paths; the shortest first."""
    numbered: dict[str, list[str]] = {}
    for path, _ in paths(program):
        stem, _, last = path.rpartition(".")
        if stem and last.isdigit():
            numbered.setdefault(stem, []).append(path)
    found = [(stem, inner) for stem, inner in numbered.items() if len(inner) > 1]
    return sorted(found, key=lambda pair: (pair[0].count("."), pair[0]))[:CHAINS]


def calls(program: Program, spec: str, entry: str) -> Iterator[str]:
    """Calls of every transform that the design has something for."""
    for stem, inner in chains(program):
        count = len(inner)
        yield f'word("{stem}", [1, 0])'
        yield f'word("{stem}", [0, 0, {count - 1}])'
        yield f'word("{stem}", {[*range(count)]})'
        yield f'prefix("{stem}", {count - 1})'
        yield f'shallow("{stem}")'
        yield f'pick("{inner[0]}", 0)'
        yield f'at("{inner[0]}")'
        yield f'stitch("{spec}:{entry}", "{inner[0]}", "{inner[-1]}")'
    layers = [path for path, block in paths(program) if not block]
    if layers:
        yield f'at("{layers[len(layers) // 2]}")'
        yield f'pick("{layers[len(layers) // 3]}", 0)'
        yield f'substitute("{layers[len(layers) // 2]}", identity)'
    results = [output for output in program.root.outputs if not output.training]
    for place in range(sum(len(output.values) for output in results) if len(results) > 1 else 1):
        yield f"only({place})"
    ops = {node.op for graph in program.graphs for node in graph.nodes}
    for old, new in (("relu", "gelu"), ("gelu", "relu"), ("silu", "mish"), ("batchnorm", "identity")):
        if old in ops:
            yield f"substitute({old}, {new})"
    yield "narrow(0.5)"
    yield "pack(2)"
    yield "pack(4, alpha=2, gamma=2, least=1)"


def tried(spec: str, entry: str, call: str, state: dict[str, torch.Tensor] | None) -> str:
    """Applies a call, and what came of it: "done", or the code of a diagnostic. Raises whatever else goes wrong.

    state: of the network as it was; without one, nothing runs.
    """
    try:
        made = archlang.apply(spec, call, entry=entry)
    except ArchError as error:
        (finding, *_) = error.diagnostics
        if REFUSED.fullmatch(finding.code) or call.startswith("substitute"):  # what the module itself cannot take
            return finding.code
        raise
    if state is None:
        compile(made.source, "made.py", "exec")
        return "done"
    count = max(len(made.result.sources), 1)
    module = made.build().eval()
    new = made.convert(*[state] * count)
    missing, unexpected = module.load_state_dict(new, strict=False)
    fresh = call.startswith(("substitute", "stitch")) or (call.startswith("pack") and "alpha" in call)
    assert not unexpected and (fresh or not missing), (missing[:3], unexpected[:3])
    interpreter = InterpreterModule(made.program).eval()
    interpreter.load_state_dict(module.state_dict())
    torch.manual_seed(0)
    try:
        inputs = random_inputs(made.program, small_sizes(made.program))
    except NoSizes as error:
        raise AssertionError(f"no sizes: {error}") from None
    with torch.no_grad():
        torch.manual_seed(1)
        results = flat(module(*inputs))
        torch.manual_seed(1)
        expected = flat(interpreter(*inputs))
    assert len(results) == len(expected)
    for a, b in zip(results, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)
    if call.startswith("pack") and count > 1:
        members(spec, entry, made)
    return "done"


def members(spec: str, entry: str, made: archlang.Applied) -> None:
    """Whole members of an ensemble are compared with the networks that were packed, in float64."""
    module = made.build().double().eval()
    torch.manual_seed(0)
    inputs = doubled(random_inputs(made.program, small_sizes(made.program)))

    def run(drawn: bool) -> tuple[list[torch.Tensor], list[list[torch.Tensor]]]:
        """What the packed network gives, and the members; drawn: whether vectors of weights are drawn anew."""
        nets = [archlang.build(spec, entry).double().eval() for _ in made.result.sources]
        for tensor in (t for net in nets for t in net.state_dict().values() if drawn):
            if tensor.is_floating_point() and tensor.dim() < 2:
                tensor.copy_(torch.rand_like(tensor) + 0.5)
        module.load_state_dict(made.convert(*(net.state_dict() for net in nets)), strict=True)
        found = []
        for net in (module, *nets):
            torch.manual_seed(1)
            found.append(flat(net(*inputs)))
        return found[0], found[1:]

    with torch.no_grad():
        results, expected = run(True)
        if not all(bool(one.isfinite().all()) for each in expected for one in each):
            results, expected = run(False)
    for result, *each in zip(results, *expected, strict=True):
        for i, one in enumerate(each):
            shared = result.dim() == one.dim()  # what all members share is given once
            mine = result if shared else result[:, i] if one.dim() else result[i]
            assert mine.shape == one.shape
            scale = float(one.abs().max().clamp(min=1e-30))
            assert float((mine - one).abs().max()) <= 1e-8 * scale, "another function"


def design(spec: str, entry: str, program: Program, only: str | None, runs: bool) -> bool:
    """Tries all calls on a design, and prints its line; whether all went well."""
    state = dict(archlang.build(spec, entry).state_dict()) if runs else None
    done: Counter[str] = Counter()
    refused: dict[str, Counter[str]] = {}
    well = True
    for call in calls(program, spec, entry):
        name = call.partition("(")[0]
        if only is not None and name != only:
            continue
        try:
            result = tried(spec, entry, call, state)
            done[name] += result == "done"
            if result != "done":
                refused.setdefault(name, Counter())[result] += 1
        except Exception as error:  # reported, and the next call is tried
            well = False
            text = f"{type(error).__name__}: {error}".replace("\n", " ")[:400]
            print(f"  FAILED {Path(spec).stem}.{entry}: {call}: {text}", flush=True)
    names = dict.fromkeys([*done, *refused])
    text = ", ".join(f"{name} {done[name]}{_codes(refused.get(name))}" for name in names)
    print(f"{Path(spec).stem}.{entry}: {text}", flush=True)
    return well


def _codes(refused: Counter[str] | None) -> str:
    return f" (not: {' '.join(f'{code} x{n}' for code, n in refused.items())})" if refused else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("specs", nargs="*")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--largest", type=int, default=12_000_000)
    parser.add_argument("--only")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    bad = tried_all = 0
    for path, spec in chosen(args.specs):
        found = [(entry, elaborate(spec.module, entry).program) for entry in entries(spec.module)]
        sized = sorted(((counts(program).parameters, entry, program) for entry, program in found), key=lambda s: s[:2])
        sized = [s for s in sized if s[0] <= args.largest]
        for _, entry, program in sized if args.all else sized[:1]:
            tried_all += 1
            bad += not design(str(path), entry, program, args.only, not args.compile)
    print(f"{tried_all - bad} of {tried_all} designs")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
