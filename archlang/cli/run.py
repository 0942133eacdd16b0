"""Builds a spec's network and runs it on random input: shapes, parameters and time. Needs torch."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from archlang.cli.arguments import Parser, add_design, design, limits, positive
from archlang.cli.guard import UsageError, show
from archlang.cli.sizes import add_sizes, check_sizes, given_sizes, needed

if TYPE_CHECKING:
    from archlang.api import Compiled

AT_HELP = "a size of the input (repeatable): --at B=1,H=224"


def configure(parser: Parser) -> None:
    add_design(parser)
    add_sizes(parser, AT_HELP)
    parser.add_argument("--train", action="store_true", help="run in training mode (default: evaluation)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of weights and input (default: 0)")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="torch's name of a device (default: cpu)")
    parser.add_argument(
        "--repeat", type=positive, default=3, metavar="N", help="timed runs, of which the median counts"
    )


def run(args: argparse.Namespace) -> int:
    from archlang.api import compile_module
    from archlang.loading import require_torch

    given = given_sizes(args.at)
    module, entry, values = design(args)
    compiled = compile_module(module, entry, values, limits(args))
    if compiled.diagnostics:
        show(compiled.diagnostics)
    sizes = _sizes(compiled, given)
    require_torch("`archc run`")
    _run(compiled, sizes, args)
    return 0


def _sizes(compiled: Compiled, given: Mapping[str, int]) -> dict[str, int]:
    """The given sizes and fitting ones for the rest."""
    from archlang.inputs import NoSizes, choose_sizes
    from archlang.report.diagnostic import ArchError, Diagnostic

    root = compiled.program.root
    check_sizes(root, compiled.entry, given)
    try:
        return choose_sizes(root, given)
    except NoSizes as error:
        span = error.constraint.span if error.constraint else None
        label = needed(error.constraint) if error.constraint else ""
        message = f"no input sizes were found that fit `{compiled.entry}`"
        raise ArchError(Diagnostic("ARC0921", message, span, label, help="give sizes with --at")) from None


def _run(compiled: Compiled, sizes: Mapping[str, int], args: argparse.Namespace) -> None:
    import torch

    from archlang.inputs import random_inputs
    from archlang.loading import instantiate

    torch.manual_seed(args.seed)
    try:
        device = str(torch.device(args.device))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            "ARC0901", f"torch cannot use the device `{args.device}`: {str(error).splitlines()[0]}"
        ) from None
    model = instantiate(compiled).to(device).train(args.train)
    inputs = random_inputs(compiled.program, sizes, device)
    times: list[float] = []
    with torch.set_grad_enabled(args.train):
        output = model(*inputs)
        for _ in range(args.repeat):
            start = time.perf_counter()
            output = model(*inputs)
            if device != "cpu":
                torch.accelerator.synchronize()
            times.append(time.perf_counter() - start)
    _print(compiled, inputs, output, model, sizes)
    mode = "training" if args.train else "evaluation"
    median = sorted(times)[len(times) // 2]
    print(f"  time        {_seconds(median)} a forward pass (median of {len(times)}, {device}, {mode})")


def _print(compiled: Compiled, inputs: list[Any], output: Any, model: Any, sizes: Mapping[str, int]) -> None:
    at = " at " + ", ".join(f"{name}={n}" for name, n in sizes.items()) if sizes else ""
    print(f"{compiled.entry} ({compiled.spec}){at}")
    for port, value in zip(compiled.program.root.inputs, inputs, strict=True):
        print(f"  input       {port.name}: {describe(value)}")
    fields = getattr(output, "_fields", None)
    if isinstance(output, dict):
        fields, output = tuple(output), tuple(output.values())
    items = output if isinstance(output, tuple) else (output,)
    for i, value in enumerate(items):
        print(f"  output      {f'{fields[i]}: ' if fields else ''}{describe(value)}")
    parameters = sum(p.numel() for p in model.parameters())
    buffers = sum(b.numel() for b in model.buffers())
    size = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    print(f"  parameters  {parameters:,} (and {buffers:,} in buffers; {size / 2**20:,.1f} MiB)")


def describe(value: Any) -> str:
    """`float32[2, 1000]`; lists in brackets."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(describe, value)) + "]"
    if hasattr(value, "shape"):
        return f"{str(value.dtype).removeprefix('torch.')}[{', '.join(map(str, value.shape))}]"
    return repr(value)


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.2f} ms"
