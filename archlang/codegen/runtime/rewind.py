"""Back through a region: values are rebuilt, and the gradients taken along."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from archlang.codegen.runtime.again import Again
from archlang.codegen.runtime.steps import Step, alike, change, flat


class Rewind:
    """Steps back through a region: rebuilds values, and takes the gradients along."""

    def __init__(self, values: Any, gradients: Any, again: Any, graph: bool) -> None:
        self.values: dict[int, Any] = values
        self.gradients: dict[Any, Any] = gradients  # of streams, and of weights
        self.again: Again | None = again
        self.graph = graph  # whether autograd is to see what is done
        self.own: set[int] = set()

    def run(self, todo: list[Any]) -> None:
        """The steps, the last one first, with what `once` takes."""
        for item in todo:
            if self.graph or self.again is None:
                self.traced(*item)
            else:
                for _ in self.once(*item):
                    pass

    def give(self, key: Any, gradient: Any) -> None:
        if gradient is not None:
            before = self.gradients.get(key)
            self.gradients[key] = gradient if before is None else before + gradient

    def correct(self, step: Step, exact: list[Tensor]) -> None:
        """The reads as they were; where the graph matters, that of the rebuilt ones."""
        self.own.difference_update(step.reads if exact else ())
        for i, e in zip(step.reads, exact, strict=False):
            before = self.values[i]
            self.values[i] = before + (e - before).detach() if self.graph else e

    def once(self, number: int, step: Step, needs: Any, old: Any, exact: Any) -> Any:
        """fn is evaluated once: its result rebuilds x, then its graph has gradients.

        needs: whether x and the reads need one; old, exact: what was kept of both.
        """

        def leaves(streams: Any, needs: Any) -> list[Tensor]:
            pairs = zip(streams, needs, strict=True)
            return [self.values[i].detach().requires_grad_(n) for i, n in pairs]

        assert self.again is not None
        weights = [p for p in step.owner.parameters() if p.requires_grad]
        self.correct(step, exact)
        x, reads = [], leaves(step.reads, needs[len(step.x) :])
        with self.again.step(number, step.owner, False), torch.enable_grad():
            roots = reads if step.fn is None else flat(step.fn(*reads))
            extra = [root.detach() for root in roots]
            with torch.no_grad():
                undo = (lambda *_: old) if old else step.undo
                change(self.values, self.own, step.y, step.x, undo, extra)
            plain = step.do is torch.add and alike(self.values[step.x[0]], extra[0])
            if not plain:
                x = leaves(step.x, needs[: len(step.x)])
                roots = flat(step.do(*x, *roots))
        del extra
        yield
        gys = [self.gradients.pop(i, None) for i in step.y]
        if plain:
            self.give(step.x[0], gys[0])
        keys = [*step.x[: len(x)], *step.reads, *weights]
        sources = zip(keys, (*x, *reads, *weights), strict=True)
        wanted = {key: t for key, t in sources if t.requires_grad}
        pairs = zip(roots, gys, strict=True)
        live = [(root, g) for root, g in pairs if g is not None and root.requires_grad]
        if wanted and live:
            ends, given = zip(*live, strict=True)
            del roots
            found = torch.autograd.grad(
                ends, [*wanted.values()], given, allow_unused=True
            )
            for key, gradient in zip(wanted, found, strict=True):
                self.give(key, gradient)

    def traced(self, number: int, step: Step, needs: Any, old: Any, exact: Any) -> None:
        """The same, such that torch.compile and autograd can see through it."""
        owner, again, holder = step.owner, self.again, nn.ModuleList([step.owner])
        weights = {name: p for name, p in owner.named_parameters() if p.requires_grad}
        self.correct(step, exact)

        def run(fn: Any, weights: Any, given: list[Any]) -> list[Any]:
            holder.forward = lambda *given: fn(*given)
            with nullcontext() if again is None else again.step(number, owner, False):
                buffers = {name: b.clone() for name, b in owner.named_buffers()}
                used = {f"0.{n}": t for n, t in {**weights, **buffers}.items()}
                return flat(torch.func.functional_call(holder, used, tuple(given)))

        def whole(tensors: list[Any], weights: Any) -> list[Any]:
            left = iter(tensors)
            given = [next(left) if t.is_floating_point() else t for t in inputs]
            x, reads = given[: len(step.x)], given[len(step.x) :]
            extra = reads if step.fn is None else run(step.fn, weights, reads)
            return run(step.do, weights, [*x, *extra])

        reads = [self.values[i] for i in step.reads]
        extra = reads if step.fn is None else run(step.fn, weights, reads)
        undo = (lambda *_: old) if old else step.undo
        self.own.clear()
        change(self.values, set(), step.y, step.x, undo, extra)
        gys = [self.gradients.pop(i, None) for i in step.y]
        if all(g is None for g in gys):
            return
        keys = (*step.x, *step.reads)
        inputs = [self.values[i] for i in keys]
        moving = [t for t in inputs if t.is_floating_point()]
        results: Any
        results, back = torch.func.vjp(whole, moving, weights)  # type: ignore[misc]
        pairs = zip(results, gys, strict=True)
        of_inputs, of_weights = back(
            [torch.zeros_like(r) if g is None else g for r, g in pairs]
        )
        left = iter(of_inputs)
        for key, t in zip(keys, inputs, strict=True):
            self.give(key, next(left) if t.is_floating_point() else None)
        for name, weight in weights.items():
            self.give(weight, of_weights[name])


class Overlap(Rewind):
    """A step is rebuilt on one stream while another takes gradients of the last one.

    Nothing changes in place, and nothing that both streams use is freed before the one
    that made it has waited for the other.
    """

    beside: ClassVar[dict[Any, Any]] = {}  # always these: memory is cached by stream

    def run(self, todo: list[Any]) -> None:
        devices = self.again.devices if self.again and not self.graph else []
        module = streamed(devices)
        if module is None:
            super().run(todo)
            return
        caller = module.current_stream(devices[0])
        if caller not in self.beside:
            self.beside[caller] = module.Stream(devices[0])
        streams = (caller, self.beside[caller])
        try:
            self.alternate(todo, streams, module.stream)
        finally:
            caller.wait_stream(streams[1])
            streams[1].wait_stream(caller)  # for who happens to be on that stream, too
        for gradient in self.gradients.values():
            if gradient is not None:
                gradient.record_stream(caller)

    def alternate(self, todo: list[Any], streams: Any, on: Any) -> None:
        done = streams[0].record_event()  # the gradients of the step before
        rebuilt = None  # a step that has no gradients yet
        for place, item in enumerate((*todo, None)):
            here, other = streams[place % 2], streams[1 - place % 2]
            now = self.once(*item) if item else None
            if now:
                with on(here):
                    here.wait_stream(other)
                    held = [*self.values.values()]  # what was held before goes now
                    self.own.clear()
                    next(now)
            if rebuilt:
                with on(other):
                    other.wait_event(done)
                    next(rebuilt, None)
                    done = other.record_event()
            rebuilt = now
        del held


def streamed(devices: list[torch.device]) -> Any:
    """The module for streams, where there is one device and it has some."""
    if len(devices) != 1 or devices[0].type in ("cpu", "meta"):
        return None
    module = torch.get_device_module(devices[0])
    return module if hasattr(module, "Stream") else None
