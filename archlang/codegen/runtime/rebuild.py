"""Training without stored activations: what files with reversible blocks carry along.

The generator copies the definitions below into the files that need them. The compiler
does not import this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.stateless import _reparametrize_module


def rebuild(
    block: Any,
    *inputs: Any,
    random: bool = False,
    stateful: bool = False,
    every: int = 0,
    keep: int = 0,
) -> tuple[Any, ...]:
    """What a reversible block, or a method that runs several, returns.

    Autograd keeps nothing else: the backward pass computes from the results what was
    in between. random: some block draws random numbers. stateful: some block reads
    buffers that it changes in training. every: after so many blocks the streams are
    kept, too, which stops rounding errors. keep: so many last blocks keep their graphs,
    and are not evaluated again.
    """
    steps = Steps()
    first = [steps.numbers(i) for i in inputs]
    results = flat(
        steps.run(block, *first)
        if isinstance(block, nn.Module)
        else block(steps, *first)
    )
    hooks = (
        "_forward_hooks",
        "_forward_pre_hooks",
        "_backward_hooks",
        "_backward_pre_hooks",
    )
    hooked = any(
        getattr(m, kind) for b in steps.blocks for m in b.modules() for kind in hooks
    )
    if (
        not torch.is_grad_enabled()
        or hooked
        or ((random or stateful) and torch.compiler.is_compiling())
    ):
        return tuple(
            flat(
                block(*inputs)
                if isinstance(block, nn.Module)
                else block(Plain(), *inputs)
            )
        )
    values = dict(enumerate(t for t in flat(inputs) if isinstance(t, Tensor)))
    regions: dict[int, list[Step]] = {}
    for step in steps.all:
        kept = step.block > len(steps.blocks) - keep
        regions.setdefault(
            -1 if kept else step.block // every if every else 0, []
        ).append(step)
    for number, region in regions.items():
        if number >= 0:
            run_region(region, values, random, stateful)
        else:
            for step in region:
                step.run(values, set())
    return tuple(values[i] for i in results)


def replaced(module: nn.Module | None, tensors: dict[str, Any]) -> Any:
    """Within it, the module has these weights and buffers."""
    if module is None or not tensors:
        return nullcontext()
    return _reparametrize_module(module, tensors, tie_weights=True)


class Plain:
    """Blocks one after the other, as they are."""

    def run(self, block: nn.Module, *streams: Any) -> Any:
        return block(*streams)


class Step(NamedTuple):
    """The streams `x` become the streams `y` = do(*x, *fn(*reads)).

    undo(*y, *fn(*reads)) gives them back.
    """

    x: tuple[int, ...]
    y: tuple[int, ...]
    do: Callable[..., Any]
    undo: Callable[..., Any]
    fn: Callable[..., Any] | None  # without it, do and undo take the reads themselves
    reads: tuple[int, ...]
    owner: nn.Module  # has the weights of fn, or of do where there is no fn
    block: int
    jumps: bool  # what fn computes can jump: its reads are kept, and not rebuilt

    @property
    def weighted(self) -> bool:
        """Whether `do` may have weights."""
        return self.fn is None or bound(self.do)

    def run(self, values: dict[int, Any], own: set[int]) -> None:
        """One step forward. The tensors of `own` may change in place: no one sees."""
        reads = [values[i] for i in self.reads]
        extra = reads if self.fn is None else flat(self.fn(*reads))
        x = [values.pop(i) for i in self.x]
        if (
            self.do is torch.add
            and self.x[0] in own
            and torch.result_type(x[0], extra[0]) == x[0].dtype
        ):
            values[self.y[0]] = x[0].add_(extra[0])
        else:
            values.update(zip(self.y, flat(self.do(*x, *extra)), strict=True))


class Steps:
    """The statements of reversible blocks, in their order. Streams are numbers."""

    def __init__(self) -> None:
        self.all: list[Step] = []
        self.blocks: list[nn.Module] = []
        self.inside: list[nn.Module] = []  # whose statements these are
        self.streams = 0
        self.jumps = False

    def numbers(self, item: Any) -> Any:
        """New numbers in the place of tensors."""
        if isinstance(item, list):
            return [self.numbers(i) for i in item]
        self.streams += isinstance(item, Tensor)
        return self.streams - 1 if isinstance(item, Tensor) else item

    def run(self, block: Any, *streams: Any) -> Any:
        """The block's statements; gives the numbers of what it returns."""
        self.blocks.append(block)
        self.inside.append(block)
        results = block.statements(self, *streams)
        self.inside.pop()
        return results

    def jumping(self) -> Steps:
        """The next step can jump where its reads are a little off."""
        self.jumps = True
        return self

    def add(self, x: int, fn: Callable[..., Any] | None, *reads: int) -> int:
        """x += fn(*reads)"""
        return self.update(x, torch.add, torch.sub, fn, *reads)

    def update(
        self, x: int, do: Any, undo: Any, fn: Callable[..., Any] | None, *reads: int
    ) -> int:
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

    def new(
        self, fn: Callable[..., Any] | None, *reads: int, results: int = 1
    ) -> tuple[int, ...]:
        """New streams fn(*reads), from nothing that is a stream."""
        y = self.more(results)
        self.append((), y, lambda *made: made, lambda *made: (), fn, reads)
        return y

    def more(self, count: int) -> tuple[int, ...]:
        self.streams += count
        return tuple(range(self.streams - count, self.streams))

    def append(
        self,
        x: tuple[int, ...],
        y: tuple[int, ...],
        do: Any,
        undo: Any,
        fn: Any,
        reads: Any,
    ) -> None:
        used = do if fn is None else fn
        alone = isinstance(used, nn.Module) and (fn is None or not bound(do))
        owner = used if alone else self.inside[-1]
        block = len(self.blocks)
        self.all.append(Step(x, y, do, undo, fn, reads, owner, block, self.jumps))
        self.jumps = False


def bound(call: Any) -> bool:
    """Whether it is a module's method."""
    return isinstance(getattr(call, "__self__", None), nn.Module)


def flat(item: Any) -> list[Any]:
    """What is in lists of lists."""
    return (
        [i for part in item for i in flat(part)]
        if isinstance(item, (tuple, list))
        else [item]
    )


def run_region(
    steps: list[Step], values: dict[int, Any], random: bool, stateful: bool
) -> None:
    """Replaces the values of the streams by those after the steps."""
    used = {i for s in steps for i in (*s.x, *s.reads)}
    inputs = [i for i in values if i in used]
    outputs: dict[int, None] = {}
    for s in steps:
        for i in s.x:
            outputs.pop(i, None)
        outputs.update(dict.fromkeys(s.y))
    modules = list(dict.fromkeys(m for s in steps for m in s.owner.modules()))
    weights = list(
        dict.fromkeys(p for m in modules for p in m.parameters(recurse=False))
    )
    tensors = [values[i] for i in inputs]
    first = (
        None
        if torch.compiler.is_compiling()
        else Evaluation(modules, tensors, random, stateful)
    )
    given = (steps, inputs, list(outputs), first, *tensors, *weights)
    results = Region.apply(*given)  # type: ignore[no-untyped-call]
    for i in {i for s in steps for i in s.x}:
        values.pop(i, None)
    values.update(zip(outputs, results, strict=True))


class Evaluation:
    """What a second evaluation of a region must find as the first one did."""

    def __init__(
        self,
        modules: list[nn.Module],
        tensors: list[Tensor],
        random: bool,
        stateful: bool,
    ) -> None:
        self.modes = [(m, m.training) for m in modules]
        norms = [
            m
            for m in modules
            if isinstance(m, nn.modules.batchnorm._NormBase) and m.training
        ]
        self.written = [(m, name) for m in norms for name in m._buffers]  # and not read
        self.read = [
            b
            for m in modules
            if m not in norms
            for b in m._buffers.values()
            if b is not None
        ]
        devices = sorted({"cpu", *(t.device.type for t in tensors)})
        self.autocast = [
            (d, torch.get_autocast_dtype(d), torch.is_autocast_enabled(d))
            for d in devices
        ]
        self.generators = (
            sorted({t.device for t in tensors if t.device.type != "cpu"}, key=str)
            if random
            else None
        )
        self.drawn: dict[int, list[Tensor]] = {}
        self.stateful = stateful
        # By step, buffers that it changed, and what they were before.
        self.before: dict[int, list[tuple[nn.Module, str, Tensor]]] = {}

    @contextmanager
    def again(self) -> Iterator[None]:
        """The modules' modes as they were; what is written goes to copies."""
        modes = [(m, m.training) for m, _ in self.modes]
        buffers = [(m, name, m._buffers[name]) for m, name in self.written]
        try:
            for m, mode in self.modes:
                m.training = mode
            for m, name, buffer in buffers:
                m._buffers[name] = None if buffer is None else buffer.clone()
            yield
        finally:
            for m, mode in modes:
                m.training = mode
            for m, name, buffer in buffers:
                m._buffers[name] = buffer

    @contextmanager
    def step(self, number: int, owner: nn.Module) -> Iterator[None]:
        """Autocast, generators and changing buffers as the first time.

        Without autocast's cache: weights cast in the first evaluation have no graph.
        """
        with ExitStack() as stack:
            for device, dtype, enabled in self.autocast:
                stack.enter_context(
                    torch.autocast(device, dtype, enabled, cache_enabled=False)
                )
            now = self.states()
            if self.drawn.setdefault(number, now) is now:
                stack.enter_context(self.watch(number, owner))
            else:
                self.draw(self.drawn[number])
                stack.callback(self.draw, now)
                for m, name, buffer in self.before.get(number, ()):
                    stack.callback(m._buffers.__setitem__, name, m._buffers[name])
                    m._buffers[name] = buffer.clone()
            yield

    @contextmanager
    def watch(self, number: int, owner: nn.Module) -> Iterator[None]:
        """Notes which buffers change, statistics aside. They are not `read`, then.

        Where weights change, too, the module initialised itself, and does not again.
        """

        def weights(m: nn.Module) -> list[int]:
            return [p._version for p in m.parameters(recurse=False)]

        found = [
            (m, name, b, b._version, b.clone(), weights(m))
            for m in (owner.modules() if self.stateful else ())
            if m.training and not isinstance(m, nn.modules.batchnorm._NormBase)
            for name, b in m._buffers.items()
            if b is not None
        ]
        yield
        changed = [
            (m, name, b, copy)
            for m, name, b, version, copy, before in found
            if (m._buffers[name] is not b or b._version != version)
            and weights(m) == before
        ]
        self.before[number] = [(m, name, copy) for m, name, _, copy in changed]
        self.read = [b for b in self.read if all(b is not c for _, _, c, _ in changed)]

    def states(self) -> list[Tensor]:
        """Of the CPU's generator, and those of the devices that the streams are on."""
        if self.generators is None:
            return []
        return [
            torch.get_rng_state(),
            *(torch.get_device_module(d).get_rng_state(d) for d in self.generators),
        ]

    def draw(self, states: list[Tensor]) -> None:
        for device, state in zip(
            (None, *(self.generators or ())), states, strict=False
        ):
            if device is None:
                torch.set_rng_state(state)
            else:
                torch.get_device_module(device).set_rng_state(state, device)


class Region(torch.autograd.Function):
    """Steps of which only the results are kept."""

    @staticmethod
    def forward(
        ctx: Any,
        steps: list[Step],
        inputs: list[int],
        outputs: list[int],
        first: Any,
        *tensors: Any,
    ) -> Any:
        values: dict[int, Any] = dict(zip(inputs, tensors, strict=False))
        own: set[int] = set()
        kept: dict[int, list[Tensor]] = {}
        for number, step in enumerate(steps):
            x = [values[i] for i in step.x]
            reads = [values[i] for i in step.reads]
            with nullcontext() if first is None else first.step(number, step.owner):
                step.run(values, own)
            if len(x) == len(step.y) and [t.dtype for t in x] != [
                values[i].dtype for i in step.y
            ]:
                kept[number] = x  # a promotion cannot be undone
            elif step.jumps and step.fn is None:
                kept[number] = x
            elif step.fn is not None and first is not None:
                own.update(step.y)
            if step.jumps:
                kept[number] = [*kept.get(number, ()), *reads]
                own.difference_update(step.reads)
        only_read = [i for i in inputs if i in values and i not in outputs]
        ctx.steps, ctx.inputs, ctx.outputs = steps, inputs, outputs
        ctx.first, ctx.only_read = first, only_read
        ctx.kept = {number: len(x) for number, x in kept.items()}
        ctx.set_materialize_grads(False)
        results = [values[i] for i in outputs]
        constants = [] if first is None else first.read
        before = [t for x in kept.values() for t in x]
        weights = tensors[len(inputs) :]
        ctx.save_for_backward(
            *results, *(values[i] for i in only_read), *weights, *before, *constants
        )
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        saved = list(ctx.saved_tensors)
        known = [*ctx.outputs, *ctx.only_read]
        weights = saved[
            len(known) : len(known) + len(ctx.needs_input_grad) - 4 - len(ctx.inputs)
        ]
        rest = iter(saved[len(known) + len(weights) :])
        kept = {
            number: [next(rest) for _ in range(count)]
            for number, count in ctx.kept.items()
        }
        needed = {
            i
            for i, need in zip(ctx.inputs, ctx.needs_input_grad[4:], strict=False)
            if need
        }
        needs: list[list[bool]] = []
        for s in ctx.steps:
            needs.append([i in needed for i in (*s.x, *s.reads)])
            if any(needs[-1]) or any(p.requires_grad for p in s.owner.parameters()):
                needed.update(s.y)
        way = Rewind(
            dict(zip(known, saved, strict=False)),
            dict(zip(ctx.outputs, gradients, strict=True)),
            ctx.first,
        )
        del saved
        with nullcontext() if ctx.first is None else ctx.first.again():
            for number in reversed(range(len(ctx.steps))):
                way.undo(number, ctx.steps[number], needs[number], kept.get(number))
        given = [way.gradients.get(i) for i in ctx.inputs]
        return None, None, None, None, *given, *(way.weights.get(w) for w in weights)


class Rewind:
    """Steps back through a region: rebuilds values, and takes the gradients along."""

    def __init__(
        self,
        values: dict[int, Any],
        gradients: dict[int, Any],
        first: Evaluation | None,
    ) -> None:
        self.values, self.gradients, self.first = values, gradients, first
        self.weights: dict[Any, Any] = {}
        self.own: set[int] = set()  # streams whose tensors no one else sees
        self.own_gradients: set[int] = set()
        # Whether this way back is compiled, or differentiated in turn.
        self.higher = first is None or torch.is_grad_enabled()

    def undo(
        self, number: int, step: Step, needs: list[bool], kept: list[Tensor] | None
    ) -> None:
        """Evaluates fn once: its result rebuilds x, its graph has the gradients."""
        count = len(step.x)
        reads = [self.values[i] for i in step.reads]
        ys = [self.values.pop(i) for i in step.y]
        gys = [self.gradients.pop(i, None) for i in step.y]
        live = any(g is not None for g in gys)
        if step.jumps and kept is not None:
            exact = kept[len(kept) - len(reads) :]
            kept = kept[: len(kept) - len(reads)] or None
            if self.higher:  # the rebuilt ones have the graph
                pairs = zip(reads, exact, strict=True)
                exact = [r + (e - r).detach() for r, e in pairs]
            reads = exact
            self.values.update(zip(step.reads, reads, strict=True))
            self.own.difference_update(step.reads)
        extra, pull = reads, None
        if step.fn is not None:
            extra, pull = self.evaluate(
                number, step, step.fn, step.owner, reads, needs[count:], live
            )
        if kept is not None:
            x = kept
        elif step.do is torch.add and step.x[0] in self.own:
            x = [ys[0].sub_(extra[0])]
        else:
            x = flat(step.undo(*ys, *extra))
        self.values.update(zip(step.x, x, strict=True))
        self.own.difference_update(step.y)
        if kept is None and step.fn is not None and not self.higher:
            self.own.update(step.x)
        if not live:
            return
        if step.do is torch.add and (extra[0].shape, extra[0].dtype) == (
            ys[0].shape,
            ys[0].dtype,
        ):
            found = [*gys, *gys]  # of x, then of extra
        else:
            self.own_gradients.difference_update(step.y)
            module = step.owner if step.weighted else None
            inner = needs[count:] if step.fn is None else [True] * len(extra)
            _, pull_do = self.evaluate(
                number,
                step,
                step.do,
                module,
                [*x, *extra],
                [*needs[:count], *inner],
                live,
            )
            found = pull_do(gys)
        self.gradients.update(zip(step.x, found, strict=False))
        for i, gradient in zip(
            step.reads,
            found[count:] if pull is None else pull(found[count:]),
            strict=True,
        ):
            before = self.gradients.get(i)
            if before is None or gradient is None:
                self.gradients[i] = before if gradient is None else gradient
            elif i in self.own_gradients and before.dtype == gradient.dtype:
                before.add_(gradient)
            else:
                self.gradients[i] = before + gradient
                if not self.higher:
                    self.own_gradients.add(i)

    def evaluate(
        self,
        number: int,
        step: Step,
        fn: Any,
        module: nn.Module | None,
        inputs: list[Tensor],
        needs: list[bool],
        live: bool,
    ) -> tuple[list[Tensor], Callable[[list[Any]], list[Any]]]:
        """fn(*inputs), and what takes its gradients to the inputs and the weights."""
        weights = (
            {}
            if module is None
            else {n: p for n, p in module.named_parameters() if p.requires_grad}
        )
        with (
            nullcontext() if self.first is None else self.first.step(number, step.owner)
        ):
            if self.higher:
                return self.evaluate_higher(fn, module, inputs, weights)
            # The hooks of a weight are for its whole gradient, and not for this part.
            hooked = {n: p for n, p in weights.items() if p._backward_hooks}
            used = weights | {n: p.detach().requires_grad_() for n, p in hooked.items()}
            with torch.set_grad_enabled(live), replaced(module, used if hooked else {}):
                leaves = [
                    t.detach().requires_grad_(need)
                    for t, need in zip(inputs, needs, strict=True)
                ]
                roots = flat(fn(*leaves))

        def pull(gradients: list[Any]) -> list[Any]:
            pairs = [
                (r, g)
                for r, g in zip(roots, gradients, strict=True)
                if g is not None and r.requires_grad
            ]
            wanted = [leaf for leaf in leaves if leaf.requires_grad]
            wanted += used.values()
            if not pairs or not wanted:
                return [None] * len(leaves)
            ends, given = zip(*pairs, strict=True)
            found = torch.autograd.grad(ends, wanted, given, allow_unused=True)
            storages = {g.untyped_storage().data_ptr() for g in given}
            if any(
                g is not None and g.untyped_storage().data_ptr() in storages
                for g in found
            ):
                self.own_gradients.clear()  # handed on as they are
            rest = iter(found)
            of_inputs = [next(rest) if leaf.requires_grad else None for leaf in leaves]
            self.add_weights(weights, dict(zip(weights, rest, strict=True)))
            return of_inputs

        return [r.detach() for r in roots], pull

    def evaluate_higher(
        self,
        fn: Any,
        module: nn.Module | None,
        inputs: list[Tensor],
        weights: dict[str, Any],
    ) -> tuple[list[Tensor], Callable[[list[Any]], list[Any]]]:
        """The same, such that torch.compile and autograd can see through it."""
        moving = [i for i, t in enumerate(inputs) if t.is_floating_point()]

        def call(tensors: list[Any], weights: dict[str, Any]) -> list[Any]:
            args = dict(enumerate(inputs)) | dict(zip(moving, tensors, strict=True))
            if module is None:
                return flat(fn(*args.values()))
            state = {n: b.clone() for n, b in module.named_buffers()}
            with replaced(module, {**weights, **state}):
                return flat(fn(*args.values()))

        found: Any = torch.func.vjp(call, [inputs[i] for i in moving], weights)
        out, back = found

        def pull(gradients: list[Any]) -> list[Any]:
            filled = [
                torch.zeros_like(o) if g is None else g
                for o, g in zip(out, gradients, strict=True)
            ]
            of_inputs, of_weights = back(filled)
            self.add_weights(weights, of_weights)
            placed = dict(zip(moving, of_inputs, strict=True))
            return [placed.get(i) for i in range(len(inputs))]

        return out, pull

    def add_weights(self, weights: dict[str, Any], gradients: dict[str, Any]) -> None:
        for name, weight in weights.items():
            before, gradient = self.weights.get(weight), gradients[name]
            if gradient is not None:
                self.weights[weight] = gradient if before is None else before + gradient
