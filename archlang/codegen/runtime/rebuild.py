"""Training without stored activations: what files with reversible blocks carry along.

The generator copies what a file needs of the definitions below. The compiler does not
import this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn


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


class Plain:
    """Blocks one after the other, as they are."""

    def run(self, block: Any, *inputs: Any) -> Any:
        return block(*inputs) if isinstance(block, nn.Module) else block(self, *inputs)

    def measure(self, block: Any, *inputs: Any) -> Any:
        return block.with_log_det(*inputs)


class Step(NamedTuple):
    """The streams `x` become the streams `y` = do(*x, *fn(*reads)).

    undo(*y, *fn(*reads)) gives them back.
    """

    x: tuple[int, ...]
    y: tuple[int, ...]
    do: Any
    undo: Any
    fn: Any  # without it, do and undo take the reads themselves
    reads: tuple[int, ...]
    owner: nn.Module  # has the weights
    block: int
    jumps: bool  # what is computed can jump: what it is computed from is kept

    def run(self, values: dict[int, Any], own: set[int]) -> None:
        reads = [values[i] for i in self.reads]
        extra = reads if self.fn is None else flat(self.fn(*reads))
        change(values, own, self.x, self.y, self.do, extra)


class Steps:
    """The statements of reversible blocks, in their order. Streams are numbers."""

    def __init__(self) -> None:
        self.all: list[Step] = []
        self.blocks: list[nn.Module] = []
        self.inside: list[nn.Module] = []  # whose statements these are
        self.number = 0  # of the last block that has statements of its own
        self.streams = 0
        self.jumps = False

    def numbers(self, item: Any) -> Any:
        """New numbers in the place of tensors."""
        if isinstance(item, (tuple, list)):
            return [self.numbers(i) for i in item]
        self.streams += isinstance(item, Tensor)
        return self.streams - 1 if isinstance(item, Tensor) else item

    def run(self, block: Any, *inputs: Any) -> Any:
        """The block's statements; gives the numbers of what it returns."""
        if not isinstance(block, nn.Module):
            return block(self, *inputs)
        return self.enter(block, "statements", inputs)

    def measure(self, block: Any, *inputs: Any) -> Any:
        """The block's statements, and those that add its log|det J| to a stream."""
        return self.enter(block, "log_det_statements", inputs)

    def enter(self, block: nn.Module, name: str, inputs: tuple[Any, ...]) -> Any:
        if self.all and self.all[-1].block == self.number:
            self.number += 1
        self.blocks.append(block)
        self.inside.append(block)
        results = getattr(block, name)(self, *inputs)
        self.inside.pop()
        return results

    def jumping(self) -> Steps:
        """The next step can jump where its reads are a little off."""
        self.jumps = True
        return self

    def add(self, x: int, fn: Any, *reads: int) -> int:
        """x += fn(*reads)"""
        self.append((x,), (x,), torch.add, torch.sub, fn, reads)
        return x

    def update(self, x: int, do: Any, undo: Any, fn: Any, *reads: int) -> int:
        """x = do(x, fn(*reads))"""
        self.append((x,), (x,), do, undo, fn, reads)
        return x

    def update_all(
        self, x: tuple[int, ...], do: Any, undo: Any, fn: Any, *reads: int
    ) -> tuple[int, ...]:
        """x = do(*x, *fn(*reads)), as many streams as before."""
        self.append(x, x, do, undo, fn, reads)
        return x

    def apply(
        self, x: tuple[int, ...], do: Any, undo: Any, *reads: int, results: int = 0
    ) -> tuple[int, ...]:
        """New streams do(*x, *reads)"""
        y = self.more(results or len(x))
        self.append(x, y, do, undo, None, reads)
        return y

    def new(self, fn: Any, *reads: int, results: int = 1) -> tuple[int, ...]:
        """New streams fn(*reads), from nothing that is a stream."""
        y = self.more(results)
        self.append((), y, lambda *made: made, lambda *made: (), fn, reads)
        return y

    def more(self, count: int) -> tuple[int, ...]:
        self.streams += count
        return tuple(range(self.streams - count, self.streams))

    def append(self, x: Any, y: Any, do: Any, undo: Any, fn: Any, reads: Any) -> None:
        modules = [f for f in (do, fn) if isinstance(f, nn.Module)]
        methods = any(
            isinstance(getattr(f, "__self__", 0), nn.Module) for f in (do, fn)
        )
        owner = modules[0] if modules and not methods else self.inside[-1]
        step = Step(x, y, do, undo, fn, reads, owner, self.number, self.jumps)
        self.all.append(step)
        self.jumps = False


def flat(item: Any) -> list[Any]:
    """What is in lists of lists."""
    if not isinstance(item, (tuple, list)):
        return [item]
    return [i for part in item for i in flat(part)]


def hooked(blocks: list[nn.Module]) -> bool:
    """Whether someone wants to see each evaluation."""
    modules = {m for block in blocks for m in block.modules()}
    kinds = ("forward", "forward_pre", "backward", "backward_pre")
    return any(getattr(m, f"_{kind}_hooks") for m in modules for kind in kinds)


def change(
    values: dict[int, Any], own: set[int], old: Any, new: Any, do: Any, extra: list[Any]
) -> None:
    """The streams `old` become the streams `new` = do(*old, *extra).

    own: the streams whose tensors no one else sees, and which may change in place.
    """
    x = [values.pop(i) for i in old]
    fresh = do in (torch.add, torch.sub)
    if fresh and old[0] in own and alike(x[0], extra[0]):
        made = [x[0].add_(extra[0], alpha=1 if do is torch.add else -1)]
    else:
        made = flat(do(*x, *extra))
    values.update(zip(new, made, strict=True))
    own.difference_update(old)
    own.update(new if fresh else ())


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


class Again:
    """What a second evaluation of a region must find as the first one did."""

    def __init__(self, modules: Any, weights: Any, tensors: Any, replay: Any) -> None:
        self.weights = list(weights)  # hooks of saved tensors give others back
        self.modes = {m: m.training for m in modules}
        self.devices = sorted({t.device for t in tensors}, key=str)
        kinds = sorted({"cpu", *(d.type for d in self.devices)})
        is_on, dtype = torch.is_autocast_enabled, torch.get_autocast_dtype
        self.autocast = [(kind, dtype(kind), is_on(kind)) for kind in kinds]
        # Statistics of a batch are written in training, and not read.
        norms = [m for m in modules if m.training and hasattr(m, "track_running_stats")]
        self.written = norms
        others = [m for m in modules if m not in norms]
        self.read = [b for m in others for b in m.buffers(recurse=False)]
        self.replay = [kind(self) for kind in replay]

    @contextmanager
    def backward(self) -> Iterator[None]:
        """The modules' modes as they were; what is written goes to copies."""
        modes = {m: m.training for m in self.modes}
        buffers = [
            (m, *b) for m in self.written for b in m.named_buffers(recurse=False)
        ]
        try:
            for m, mode in self.modes.items():
                m.training = mode
            for m, name, buffer in buffers:
                setattr(m, name, buffer.clone())
            yield
        finally:
            for m, mode in modes.items():
                m.training = mode
            for m, name, buffer in buffers:
                setattr(m, name, buffer)

    def step(self, number: int, owner: nn.Module, first: bool) -> ExitStack:
        """Without autocast's cache: its weights are of an evaluation without graph."""
        stack = ExitStack()
        for kind, dtype, enabled in () if first else self.autocast:
            cast = torch.autocast(kind, dtype, enabled, cache_enabled=False)
            stack.enter_context(cast)
        for part in self.replay:
            stack.enter_context(part.step(number, owner, first))
        return stack


class Draws:
    """A step draws the random numbers that it drew first."""

    def __init__(self, again: Again) -> None:
        self.devices = [d for d in again.devices if d.type != "cpu"]
        self.before: dict[int, list[Tensor]] = {}

    @contextmanager
    def step(self, number: int, owner: nn.Module, first: bool) -> Iterator[None]:
        now = self.states()
        if first:
            self.before[number] = now
        self.draw(self.before[number])
        yield
        if not first:
            self.draw(now)

    def states(self) -> list[Tensor]:
        """Of the generators of the CPU, and of the devices that the streams are on."""
        others = [torch.get_device_module(d).get_rng_state(d) for d in self.devices]
        return [torch.get_rng_state(), *others]

    def draw(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        for device, state in zip(self.devices, states[1:], strict=True):
            torch.get_device_module(device).set_rng_state(state, device)


class Carried:
    """A step reads buffers that it changes as they were.

    Where weights change, too, the module initialised itself, and does not again.
    """

    def __init__(self, again: Again) -> None:
        self.again = again
        self.before: dict[int, list[tuple[nn.Module, str, Tensor]]] = {}

    @contextmanager
    def step(self, number: int, owner: nn.Module, first: bool) -> Iterator[None]:
        if first:
            with self.watch(number, owner):
                yield
            return
        now = [(m, name, getattr(m, name)) for m, name, _ in self.before[number]]
        for m, name, buffer in self.before[number]:
            setattr(m, name, buffer.clone())
        yield
        for m, name, buffer in now:
            setattr(m, name, buffer)

    @contextmanager
    def watch(self, number: int, owner: nn.Module) -> Iterator[None]:
        """Notes which buffers change, statistics aside, and what they were."""

        def versions(m: nn.Module) -> list[int]:
            return [p._version for p in m.parameters(recurse=False)]

        found = [
            (m, name, b, b._version, b.clone(), versions(m))
            for m in owner.modules()
            if m.training and m not in self.again.written
            for name, b in m.named_buffers(recurse=False)
        ]
        yield
        changed = [
            (m, name, b, copy)
            for m, name, b, version, copy, before in found
            if (getattr(m, name) is not b or b._version != version)
            and versions(m) == before
        ]
        self.before[number] = [(m, name, copy) for m, name, _, copy in changed]
        moved = {id(b) for _, _, b, _ in changed}
        self.again.read = [b for b in self.again.read if id(b) not in moved]


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


def alike(x: Tensor, extra: Tensor) -> bool:
    return (x.shape, x.dtype) == (extra.shape, extra.dtype)
