"""Networks to measure: those of specs/, and what torch and the interpreter say of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

import archlang
from archlang.certify.measure import flat, macs_by_module
from archlang.elaborate import load
from archlang.elaborate.entry import stands_alone, used_blocks
from archlang.inputs import random_inputs
from archlang.interpret import Interpreter
from archlang.interpret.initial import initial_state
from archlang.interpret.interpreter import _Run
from archlang.ir.graph import Program
from archlang.loading import instantiate
from archlang.syntax.source import read_file

SPECS = Path(__file__).parents[2] / "specs"
FILES = sorted(SPECS.glob("*.arch"))

torch.set_num_threads(1)

__all__ = ["FILES", "compiled", "entries", "macs_on_meta", "parameters", "peak"]


@cache
def entries() -> list[tuple[str, str]]:
    """(file, block) of every design in specs/ that needs no parameters."""
    found = []
    for path in FILES:
        module = load(read_file(str(path), 10**7))
        used = used_blocks(module)
        found += [(path.name, b.name) for b in module.blocks.values() if b.name not in used and stands_alone(module, b)]
    return found


@cache
def compiled(file: str, entry: str | None = None) -> archlang.Compiled:
    return archlang.compile(SPECS / file, entry)


def parameters(module: nn.Module) -> tuple[int, int, int]:
    """All, trainable ones, and numbers in buffers."""
    tensors = list(module.parameters())
    trainable = sum(p.numel() for p in tensors if p.requires_grad)
    return sum(p.numel() for p in tensors), trainable, sum(b.numel() for b in module.buffers())


def macs_on_meta(program: archlang.Compiled, sizes: dict[str, int]) -> int:
    """Half of the FLOPs that torch counts, on a device where it sees through attention."""
    with torch.device("meta"):
        module = instantiate(program)
    return macs_by_module(module, random_inputs(program.program, sizes, "meta"))[""]


class _Recorder(_Run):
    """The interpreter's run, with every step's tensors written down."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.events: list[tuple[list[Any], list[Any]]] = []

    def op(self, frame: Any, node: Any, attrs: Any, path: Any, ins: list[Any]) -> Any:
        outs = super().op(frame, node, attrs, path, ins)
        self.events.append((list(ins), list(outs)))
        return outs

    def node(self, frame: Any, index: int, node: Any) -> Any:
        outs = super().node(frame, index, node)
        if node.op == "weight":
            self.events.append(([], list(outs)))
        return outs


def peak(program: Program, inputs: list[Any]) -> int:
    """The most bytes alive at one time in an evaluation, by brute force over every step of the interpreter."""
    torch.manual_seed(0)
    state = initial_state(program)
    interpreter = Interpreter(program)
    run = _Recorder(interpreter, state, False)
    root = program.root
    from archlang.interpret.bind import solve

    env = solve([v.type for port in root.inputs for v in port.values], [tuple(x.shape) for x in inputs])
    with torch.no_grad():
        results = flat([r for r in run.graph(root, env, "", {}, inputs) if r is not None])

    def key(tensor: Any) -> int:
        return int(tensor.untyped_storage().data_ptr())

    own = {key(t) for t in state.values()}
    tensors = [*inputs, *(t for ins, outs in run.events for t in (*ins, *outs))]
    size = {key(t): t.untyped_storage().nbytes() for t in tensors}
    births: dict[int, int] = {key(x): -1 for x in inputs}
    deaths: dict[int, int] = {}
    for time, (ins, outs) in enumerate(run.events):
        for tensor in (*ins, *outs):
            births.setdefault(key(tensor), time)
            deaths[key(tensor)] = time
    for tensor in (*results, *inputs):
        deaths[key(tensor)] = len(run.events)
    alive = [k for k in births if k not in own]
    return max(sum(size[k] for k in alive if births[k] <= t <= deaths[k]) for t in range(-1, len(run.events)))
