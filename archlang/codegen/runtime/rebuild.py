"""Training without stored activations: what files with reversible blocks carry along.

The generator copies what a file needs of the definitions in this folder. The compiler
does not import them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from archlang.codegen.runtime.again import Again
from archlang.codegen.runtime.rewind import Rewind
from archlang.codegen.runtime.steps import Plain, Step, Steps, flat, hooked


def rebuild(
    block: Any,
    *inputs: Any,
    replay: Sequence[Any] = (),
    every: int = 0,
    keep: int = 0,
    rewind: Any = None,
) -> tuple[Any, ...]:
    """What a reversible block returns, or a method that runs several.

    Autograd keeps nothing else: the backward pass computes from the results what was
    in between. replay: what a second evaluation must find as the first did, besides
    modes and autocast. every: after so many blocks the streams are kept, too, which
    stops rounding errors. keep: so many last blocks keep their graphs, and are not
    evaluated again. rewind: a class that goes back in another order than `Rewind`.
    """
    steps = Steps()
    results = flat(steps.run(block, *steps.numbers(inputs)))
    plain = not torch.is_grad_enabled() or hooked(steps.blocks)
    if plain or (replay and torch.compiler.is_compiling()):
        return tuple(flat(Plain().run(block, *inputs)))
    values = dict(enumerate(t for t in flat(inputs) if isinstance(t, Tensor)))
    regions: dict[int, list[Step]] = {}
    for step in steps.all:
        kept = step.block > steps.number - keep
        number = -1 if kept else step.block // every if every else 0
        regions.setdefault(number, []).append(step)
    for number, region in regions.items():
        if number >= 0:
            run_region(region, values, replay, rewind)
        else:
            for step in region:
                step.run(values, set())
    return tuple(values[i] for i in results)


def run_region(steps: list[Step], values: Any, replay: Any, rewind: Any) -> None:
    """Replaces the values of the streams by those after the steps."""
    used = {i for s in steps for i in (*s.x, *s.reads)}
    inputs = [i for i in values if i in used]
    outputs: dict[int, None] = {}
    for s in steps:
        for i in s.x:
            outputs.pop(i, None)
        outputs.update(dict.fromkeys(s.y))
    modules = list(dict.fromkeys(m for s in steps for m in s.owner.modules()))
    weights = dict.fromkeys(p for m in modules for p in m.parameters(recurse=False))
    tensors = [values[i] for i in inputs]
    compiling = torch.compiler.is_compiling()
    again = None if compiling else Again(modules, weights, tensors, replay)
    what = (steps, inputs, list(outputs), again, rewind or Rewind)
    results = Region.apply(what, *tensors, *weights)  # type: ignore[no-untyped-call]
    for i in {i for s in steps for i in s.x}:
        values.pop(i, None)
    values.update(zip(outputs, results, strict=True))


class Region(torch.autograd.Function):
    """Steps of which only the results are kept."""

    @staticmethod
    def forward(ctx: Any, what: Any, *tensors: Any) -> Any:
        steps, inputs, outputs, again, ctx.rewind = what
        values: dict[int, Any] = dict(zip(inputs, tensors, strict=False))
        own: set[int] = set()
        kept: list[Any] = []
        for number, step in enumerate(steps):
            x, reads = [values[i] for i in step.x], [values[i] for i in step.reads]
            with (
                nullcontext() if again is None else again.step(number, step.owner, True)
            ):
                step.run(values, own)
            now = [values[i].dtype for i in step.y]
            promoted = len(x) == len(now) and [t.dtype for t in x] != now
            lost = promoted or (step.jumps and step.fn is None)
            kept.append((x if lost else [], reads if step.jumps else []))
            own.difference_update(step.reads if step.jumps else ())
        ctx.steps, ctx.inputs, ctx.outputs, ctx.again = steps, inputs, outputs, again
        ctx.known = [*outputs, *(i for i in inputs if i in values and i not in outputs)]
        ctx.kept = [(len(x), len(reads)) for x, reads in kept]
        ctx.set_materialize_grads(False)
        read = [] if again is None else again.read
        known = [values[i] for i in ctx.known]
        ctx.save_for_backward(*tensors[len(inputs) :], *known, *flat(kept), *read)
        return tuple(values[i] for i in outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        wanted = ctx.needs_input_grad[1:]
        count = len(wanted) - len(ctx.inputs)
        saved = iter(ctx.saved_tensors)  # a checkpoint gives them once
        weights = [next(saved) for _ in range(count)]
        weights = weights if ctx.again is None else ctx.again.weights
        values = {i: next(saved) for i in ctx.known}
        needed = {i for i, need in zip(ctx.inputs, wanted, strict=False) if need}
        todo = []
        for number, step in enumerate(ctx.steps):
            needs = [i in needed for i in (*step.x, *step.reads)]
            if any(needs) or any(p.requires_grad for p in step.owner.parameters()):
                needed.update(step.y)
            x, exact = [[next(saved) for _ in range(n)] for n in ctx.kept[number]]
            todo.append((number, step, needs, x, exact))
        given = dict(zip(ctx.outputs, gradients, strict=True))
        # A weight's hooks are for its whole gradient, and not for parts of it.
        graph = torch.is_grad_enabled() or any(w._backward_hooks for w in weights)
        way = ctx.rewind(values, given, ctx.again, graph)
        with nullcontext() if ctx.again is None else ctx.again.backward():
            way.run(todo[::-1])
        return None, *[way.gradients.get(key) for key in (*ctx.inputs, *weights)]
