"""All figures of a network at once: see docs/cost.md for what each one means."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property

from archlang.analyze.active import active
from archlang.analyze.largest import Largest
from archlang.analyze.liveness import live_at_peak, peak
from archlang.analyze.paths import Depth, Field, Macs, Reach
from archlang.analyze.plan import Plans
from archlang.analyze.trace import Trace, Tracer, Work
from archlang.analyze.transfer import Transfer
from archlang.analyze.tree import Block, tree
from archlang.ir.graph import Program
from archlang.ir.walk import Counts, counts
from archlang.ops.eager import Ghost, Tape
from archlang.reversible import rebuildable
from archlang.reversible.kept import Anchors
from archlang.shapes.dim import Size, symbol, symbols

__all__ = ["Cost", "at_peak", "cost", "evaluation", "recorded"]


class Cost:
    """Figures of a program, in the symbols of its inputs that have no number yet, each computed when asked for.

    Operations (`macs`, `flops`, `traffic`, `by_op`) and `peak` are those of a forward pass in evaluation; `saved` is
    what one in training keeps for the backward pass. `active` counts the parameters that a pass in evaluation reads.
    `uncounted` names what figures lack: extern blocks, of which nothing is known, and what runs backwards, whose share
    of `saved` is not known.
    """

    def __init__(self, program: Program, sizes: Mapping[str, int], rebuild: bool, dtype: str) -> None:
        self.program = program
        self.sizes = dict(sizes)
        self._rebuild = rebuild
        self._anchors = Anchors(program, dtype)
        self._env = _sizes(program, sizes)
        self._plans = Plans()

    @cached_property
    def parameters(self) -> Counts:
        """Numbers of scalars: parameters, those that are trained, buffers; what is shared counts once."""
        return counts(self.program)

    @cached_property
    def active(self) -> int:
        """Parameters that a pass in evaluation reads."""
        return active(self.program, training=False)

    @cached_property
    def _evaluation(self) -> Trace:
        return evaluation(self.program, self.sizes, self._plans)

    @cached_property
    def _training(self) -> Trace:
        rebuilt = rebuildable(self.program) if self._rebuild else ()
        return _trace(self.program, Tracer(self._plans, True, True, rebuilt, anchors=self._anchors), self._env)

    @property
    def work(self) -> Work:
        """MACs, FLOPs, bytes moved of a forward pass in evaluation."""
        return self._evaluation.work

    @property
    def training(self) -> Work:
        """The same of a step's forward pass in training, and the bytes that it keeps (`saved`)."""
        return self._training.work

    @property
    def by_op(self) -> dict[str, tuple[int, Work]]:
        """For each op, how often it runs in evaluation, and its share of the work."""
        return self._evaluation.by_op

    @cached_property
    def peak(self) -> Largest:
        """Bytes of activations that are alive at one time in evaluation, at most; weights aside."""
        return peak(self._evaluation)

    @cached_property
    def reach(self) -> Reach | None:
        """What of the input an output position sees; None where no output depends on an input."""
        return Transfer(self._plans, Field()).total(self.program.root, self._env)

    @cached_property
    def depth(self) -> int:
        """Layers with a weight matrix on the longest way from an input to an output."""
        return Transfer(self._plans, Depth()).total(self.program.root, self._env) or 0

    @cached_property
    def critical(self) -> Largest:
        """MACs on the way with the most of them: what no number of devices side by side goes below."""
        return Transfer(self._plans, Macs()).total(self.program.root, self._env) or Largest((0,))

    @cached_property
    def uncounted(self) -> tuple[str, ...]:
        """Names of what the figures lack."""
        return tuple(sorted(self._training.uncounted))

    @cached_property
    def tree(self) -> Block:
        """The figures by instance, as blocks stand in each other."""
        return tree(self.program, self._training, self._evaluation)

    @property
    def macs(self) -> Size:
        """Multiply-accumulates of a forward pass in evaluation."""
        return self.work.macs

    @property
    def flops(self) -> Size:
        """Floating-point operations of a forward pass in evaluation, two a MAC."""
        return self.work.flops

    @property
    def saved(self) -> Size:
        """Bytes that autograd keeps for the backward pass of a training step."""
        return self.training.saved

    @property
    def intensity(self) -> Fraction | None:
        """FLOPs a byte moved; None where it depends on the sizes."""
        flops, traffic = self.work.flops, self.work.traffic
        return Fraction(flops, traffic) if isinstance(flops, int) and isinstance(traffic, int) and traffic else None


def cost(
    program: Program, sizes: Mapping[str, int] | None = None, rebuild: bool = True, dtype: str = "float32"
) -> Cost:
    """What the program costs; `sizes` gives numbers to (some) symbols of its inputs.

    rebuild: training rebuilds what reversible blocks computed, as generated code does; else it is kept. dtype: what
    their branches are trained in, by which anchors stand; bytes are those of float32.

    With symbols left, formulas hold wherever none of them is 0 or 1 (a size of 1 can make a copy unnecessary).
    """
    return Cost(program, sizes or {}, rebuild, dtype)


def evaluation(program: Program, sizes: Mapping[str, int] | None = None, plans: Plans | None = None) -> Trace:
    """What a forward pass in evaluation does."""
    return _trace(program, Tracer(plans or Plans(), training=False, grad=False), _sizes(program, sizes or {}))


def at_peak(program: Program, sizes: Mapping[str, int] | None = None) -> list[tuple[str, Size]]:
    """The tensors that make up the peak of inference, where it is one formula: their makers' paths, and bytes."""
    trace = evaluation(program, sizes)
    names = [f"input {v.name or port.name}" for port in program.root.inputs for v in port.values]
    return live_at_peak(trace, names)


def recorded(program: Program, plans: Plans, sizes: Mapping[str, int]) -> Trace:
    """The trace of a pass in training of which autograd records all, reversible blocks too."""
    return _trace(program, Tracer(plans, training=True, grad=True), _sizes(program, sizes))


def _sizes(program: Program, given: Mapping[str, int]) -> dict[str, Size]:
    """Of every symbol of the inputs, the given number or the symbol itself."""
    root = program.root
    names = dict.fromkeys(n for v in root.entries for s in v.type.shape for n in sorted(symbols(s)))
    return {name: given.get(name, symbol(name)) for name in (*names, *root.symbols)}


def _trace(program: Program, tracer: Tracer, env: Mapping[str, Size]) -> Trace:
    plan = tracer.plans.plan(program.root, env)
    tape = Tape(tracer.training, tracer.grad)
    types = [plan.types[id(v)] for v in program.root.entries]
    ins: list[Ghost] = [tape.new(t.shape, t.dtype) for t in types]
    return tracer.graph(program.root, env, ins)
