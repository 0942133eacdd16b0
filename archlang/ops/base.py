"""What an op entry is: signature, shape rule, weights, cost, torch emission and reference semantics, in one class."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

from archlang.ir.graph import Attr, Attrs, Constraint, TensorType, WeightDecl
from archlang.ops.code import Call, Expr, Get, Helper, In, Self
from archlang.ops.eager import Ghost, Tape
from archlang.ops.homes import HOMES
from archlang.ops.window import Window
from archlang.records import dataclass, field
from archlang.shapes.dim import Size, non_negative, size_str

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__ = [
    "REQUIRED",
    "Bijection",
    "Context",
    "Input",
    "Op",
    "OpError",
    "Param",
    "Undo",
    "loaded",
    "register",
    "registry",
]


_RATES = ("p", "dropout", "dropout_p", "attn_drop", "proj_drop")  # of ops that draw: at 0 they draw nothing


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED = _Required()


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of an op, named as in torch.

    kind: int float bool str dtype init size (int or symbolic) any; "ints" / "sizes" / "floats" accept one or a list
    (a list arrives as a tuple); "fn"-like things do not exist at this level. A trailing "?" admits `none`.
    choices: for "str", the values allowed.
    """

    name: str
    kind: str
    default: Any = REQUIRED
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Input:
    """A wire input. `variadic` takes a list of wires or several; `optional` may be left out.

    number: the parameter that takes a number standing where this wire would (`where(c, x, 0)`).
    """

    name: str
    variadic: bool = False
    optional: bool = False
    number: str | None = None


@dataclass(frozen=True, slots=True)
class Bijection:
    """That an op can be undone: its outputs give its inputs, with the same attributes and weights.

    grade: "bijective"; "injective", where only what the op gave can be undone (channel padding); "approximate", where
    the inverse is iterated up to a relative error of `tolerance`.
    hypotheses: what must hold of the weights ("the weight is invertible"); checked when the inverse runs.
    effects: "random" (draws in training), "batch-coupled" (a sample's inverse depends on the batch in training), ...
    inverse: the op of the registry that undoes this one, with its attributes; None: the entry has `inverse_run` and
    `inverse_call` of its own.
    volume: the map keeps the volume, its log|det J| is 0; else the entry has `log_det_run` and `log_det_call`.
    """

    grade: str = "bijective"
    hypotheses: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    tolerance: float | None = None
    inverse: tuple[str, Attrs] | None = None
    volume: bool = False


@dataclass(frozen=True, slots=True)
class Undo:
    """How an input of an arithmetic op comes back from its output: `op` on (output, other), or (other, output).

    divides: the other operand must not be zero.
    """

    op: str
    attrs: Attrs
    swapped: bool = False
    divides: bool = False


class OpError(Exception):
    """A mistake that an op entry found. The elaborator adds the spans.

    param: the argument at fault; inputs: indices of the wires at fault, dims: the dimension of each;
    equation: the two sizes that should be equal and never are; help: what to do instead.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        inputs: tuple[int, ...] = (),
        dims: tuple[int, ...] = (),
        equation: tuple[Size, Size] | None = None,
        help: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.inputs = inputs
        self.dims = dims
        self.equation = equation
        self.help = help


@dataclass
class Context:
    """Handed to shape rules: collects what the op needs of symbolic sizes, and refuses what can never hold."""

    constraints: list[Constraint] = field(default_factory=list)

    def equal(
        self,
        a: Size,
        b: Size,
        reason: str,
        *,
        inputs: tuple[int, ...] = (),
        help: str | None = None,
        rule: str = "torch",
    ) -> Size:
        """The two sizes must agree; returns the simpler one. rule: as in `Constraint`."""
        difference = a - b
        if difference == 0:
            return a
        if isinstance(difference, int):
            raise OpError("ARC0301", f"{reason}: {size_str(a)} is not {size_str(b)}", inputs=inputs, help=help)
        self.constraints.append(Constraint(a, b, "==", reason, None, rule=rule))
        return a if isinstance(a, int) else b

    def at_least(
        self,
        a: Size,
        b: Size,
        reason: str,
        *,
        inputs: tuple[int, ...] = (),
        help: str | None = None,
        rule: str = "torch",
    ) -> None:
        """`a >= b` must hold."""
        difference = a - b
        if isinstance(difference, int):
            if difference < 0:
                message = f"{reason}: {size_str(a)} is less than {size_str(b)}"
                raise OpError("ARC0302", message, inputs=inputs, help=help)
            return
        if not non_negative(difference):
            self.constraints.append(Constraint(a, b, ">=", reason, None, rule=rule))

    def more_than_one(self, count: Size, reason: str, phase: str | None) -> None:
        """`count >= 2` must hold in a phase (None: in both). What fails in one phase only is no error here."""
        if phase is None and isinstance(count, int) and count < 2:
            raise OpError("ARC0302", f"{reason}, and there is {count}", inputs=(0,))
        if not isinstance(count, int) or count < 2:
            self.constraints.append(Constraint(count, 2, ">=", reason, None, phase))

    def divides(
        self,
        n: Size,
        a: Size,
        reason: str,
        *,
        inputs: tuple[int, ...] = (),
        param: str | None = None,
        rule: str = "torch",
    ) -> Size:
        """`n` must divide `a`; returns the quotient."""
        if isinstance(n, int) and n == 0:
            raise OpError("ARC0303", f"{reason}: division by zero", param=param)
        quotient = a // n
        rest = a - quotient * n
        if rest == 0:
            return quotient
        if isinstance(rest, int):
            message = f"{reason}: {size_str(a)} is not divisible by {size_str(n)}"
            raise OpError("ARC0304", message, inputs=inputs, param=param)
        self.constraints.append(Constraint(a, quotient * n, "==", reason, None, rule=rule))
        return quotient

    def known(self, a: Size, reason: str, *, inputs: tuple[int, ...] = ()) -> int:
        """The size must be a number: it becomes the extent of a weight or a loop."""
        if not isinstance(a, int):
            help = "write the number in the input's declared type"
            raise OpError("ARC0305", f"{reason}: {size_str(a)} is symbolic", inputs=inputs, help=help)
        return a


class Op(ABC):
    """One primitive. Subclasses are stateless; `@register` makes one instance of each under its `name`.

    The life of an application: `resolve` turns the author's arguments and the input types into *attributes* (all that
    the later methods see: expanded tuples, inferred `in_channels`, the spatial rank), then `infer` gives output types
    and `weights` the tensors. Weights depend on attributes alone, so a module's sizes are fixed at first application.
    """

    name: ClassVar[str]
    inputs: ClassVar[tuple[Input, ...]] = (Input("x"),)
    params: ClassVar[tuple[Param, ...]] = ()
    random: ClassVar[bool] = False  # draws from the generator in training
    discontinuous: ClassVar[bool] = False  # a small change of an input can make a jump of the output
    over_batch: ClassVar[bool] = False  # in training, a sample's result depends on the batch
    carries: ClassVar[bool] = False  # in training, it reads buffers that it changes in every forward
    saves: ClassVar[str] = ""  # what autograd keeps for the backward pass: "in", "out"; `trace` says more
    memory: ClassVar[str] = ""  # order of results: "rows", that of the first input's "format" or a "copy"
    per_element: ClassVar[int] = 0  # floating-point operations an element of the output, beside the MACs
    local: ClassVar[bool] = False  # an element depends on the inputs' elements at its own position only
    left_fold: ClassVar[bool] = False  # any number of inputs, joined two by two from the left
    maximum: ClassVar[bool] = False  # each element is the largest of some of the input's
    elementwise: ClassVar[bool] = False  # an element depends on those at its own place in all dimensions (broadcast)

    @abstractmethod
    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        """Output types. Raises OpError; records what it needs of symbolic sizes in `cx`."""

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        """Author's arguments (defaults filled in, types checked) -> attributes. Default: unchanged."""
        return dict(args)

    def spell(self, attrs: Attrs) -> dict[str, Attr]:
        """Arguments from which `resolve` makes these attributes, for inputs of the same types. Default: the same."""
        return {param.name: attrs[param.name] for param in self.params}

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        """Parameters and buffers, named and shaped as in the torch module's state dict, in its order."""
        return ()

    def written(self, attrs: Attrs) -> tuple[str, ...]:
        """The buffers that `run` changes in training."""
        return ()

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        """Multiply-accumulates of conv / linear / matmul / attention; 0 for the rest (as FlopCounterMode / 2)."""
        return 0

    def inverse_macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        """The same of the inverse, of `outs`. Default: as many as forwards."""
        return self.macs(ins, outs, attrs)

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        """Whether the result is the first input, unchanged."""
        return self.keeps_order(attrs) and ins[0] == outs[0]

    # -- what rewriting may use --------------------------------------------------------------------------------------
    def in_place(self, attrs: Attrs, inputs: int) -> tuple[int, ...]:
        """The inputs that the result may be written over, where `call` and `module` take an attribute `in_place`."""
        return ()

    def of_numbers(self, numbers: Sequence[float], attrs: Attrs) -> float | None:
        """The one number that fills the result where each input is filled with one, in exact arithmetic; None where
        there is none, or it is not known."""
        if len(numbers) == 1 and (self.keeps_order(attrs) or self.order(attrs, 0) is not None or self.moves(attrs)):
            return numbers[0]
        return None

    def keeps_order(self, attrs: Attrs) -> bool:
        """Whether the result has the input's elements in the same (row-major) order: only the shape changes."""
        return False

    def order(self, attrs: Attrs, rank: int) -> tuple[int, ...] | None:
        """Of a permutation of dimensions, the input's dimension at each place; None for other ops."""
        return None

    def moves(self, attrs: Attrs) -> bool:
        """Whether each element of the one result is an element of the first input, picked by its place."""
        return False

    def averages(self, attrs: Attrs) -> bool:
        """Whether each element of the one result is an element of the first input, or a mean of some, weighted or
        not."""
        return self.moves(attrs) or self.keeps_order(attrs) or self.order(attrs, 0) is not None

    def steady(self, attrs: Attrs) -> bool:
        """Whether an element of the result follows from the one at its place in the one input, by operations that
        round correctly: its bits do not depend on where it stands (those of a vectorised `exp` do)."""
        return False

    def rising(self, attrs: Attrs) -> bool:
        """Whether it is steady and never falls, so that it takes a maximum to the maximum; NaN stays NaN."""
        return False

    # -- cost --------------------------------------------------------------------------------------------------------
    def flops(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        """Floating-point operations: two a MAC, and `per_element` by convention (docs/cost.md)."""
        return 2 * self.macs(ins, outs, attrs) + prod(outs[0].shape, start=self.per_element)

    def layers(self, attrs: Attrs) -> int:
        """How many layers with a weight matrix lie on the way through the op."""
        return 0

    def window(self, attrs: Attrs) -> tuple[Window, ...] | None:
        """What an output position sees, a window for each spatial dimension; () its own position; None everything."""
        return () if self.local else None

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        """The results as tensors without values (views share a storage), and on the tape what autograd keeps.

        Default: fresh results of one step, which keeps what `saves` says, ordered as `memory` says.
        """
        given, memory = (*ins, *weights.values()), self.memory
        if memory == "copy":
            return tuple(tape.copy(given, out.dtype, self.saves) for out in outs)
        if self.local and not memory:
            return tuple(tape.pointwise(given, out.shape, out.dtype, self.saves) for out in outs)
        last = memory == "format" and ins[0].channels_last
        return tuple(tape.apply(given, out.shape, out.dtype, self.saves, last) for out in outs)

    # -- channels ----------------------------------------------------------------------------------------------------
    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        """How the indices of inputs, outputs and weights are tied (`ops/channels.py`). Default: all keep their places,
        unless the op is elementwise.

        outs: the output types. Any reordering of the axes' variables in inputs and weights must give outputs that are
        reordered as their axes say; the same goes for leaving indices out, where the variable is not held.
        """
        if self.elementwise:
            return cx.says(*(cx.pointwise(ins) for _ in outs))
        return cx.opaque(self.name, ins, outs, self.weights(attrs))

    # -- reversibility -----------------------------------------------------------------------------------------------
    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection | None:
        """How all inputs come back from the outputs alone; None where they do not."""
        return None

    def undo(self, attrs: Attrs, index: int) -> Undo | None:
        """How input `index` comes back from the output and each other input in turn (`s + e`, `k * s`); None: not."""
        return None

    def effects(self, attrs: Attrs) -> tuple[str, ...]:
        """What the op's result depends on besides its inputs, or how it is sensitive to them; where a reversible block
        runs it again, its proof says so."""
        rates = [attrs[name] for name in _RATES if name in attrs]
        found = ["random"] if self.random and (not rates or any(rates)) else []
        found += ["batch-coupled"] if self.over_batch else []
        return (*found, *(["discontinuous"] if self.discontinuous else []))

    def grid(self, attrs: Attrs) -> int | None:
        """The result consists of multiples of 2**-grid; None where it may be any number."""
        return None

    def domain(self, outs: Sequence[TensorType], args: Attrs) -> tuple[TensorType, ...]:
        """Input types that give these output types, from the author's arguments. Default: the same types."""
        return tuple(outs)

    def inverse_run(self, outs: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        """The inputs from the outputs, as `run` computes the outputs from the inputs."""
        raise NotImplementedError(f"`{self.name}` has no inverse of its own")

    def fault(self, weights: Mapping[str, Any], attrs: Attrs) -> str | None:
        """Which weight breaks a hypothesis of `bijection`, and how; None where all hold. The helper's `inverse` looks
        at the same."""
        return None

    def inverse_call(self, attrs: Attrs, outputs: int) -> Expr:
        """The expression for the inputs; the outputs are In(0), In(1), ... Default: the module's method `inverse`."""
        return Call(Get(Self(), "inverse"), tuple(In(i) for i in range(outputs)))

    def log_det_run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        """log|det J| of the forward map at `ins`, per sample: shape [B]."""
        raise NotImplementedError(f"`{self.name}` has no log-determinant")

    def log_det_call(self, attrs: Attrs, inputs: int) -> Expr:
        """The expression for log|det J|. Default: the module's method `log_det`."""
        return Call(Get(Self(), "log_det"), tuple(In(i) for i in range(inputs)))

    def lipschitz(self, attrs: Attrs) -> float | None:
        """A Lipschitz constant of the map, in the norms of `norms`; None where none is known."""
        return None

    def norms(self, attrs: Attrs) -> tuple[float, float] | None:
        """The p of the norms that `lipschitz` leads from and to; None: from any norm to the same one."""
        return None

    # -- torch emission ----------------------------------------------------------------------------------------------
    def module(self, attrs: Attrs) -> Call | None:
        """Constructor of the nn.Module whose state dict is `weights`; required with weights. Weightless ops give
        torch's class where there is one (`nn.ReLU()`), so that they can stand in an nn.Sequential."""
        return None

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        """The forward expression. Default: call the module; weightless ops give the functional form."""
        return Call(Self(), tuple(In(i) for i in range(inputs)))

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        """Helper sources that `module` or `call` refer to."""
        return ()

    # -- reference semantics -----------------------------------------------------------------------------------------
    @abstractmethod
    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        """Computes the op with torch on real tensors, independently of `module` / `call` (which it must agree with).

        Import torch inside. `weights` maps the names of `weights()` to tensors; buffers are updated in place as torch
        does. Returns a tensor, or a tuple for several outputs. Symbolic attributes arrive as ints.
        """


_MADE: dict[str, Op] = {}


def register(cls: type[Op]) -> type[Op]:
    """Class decorator: adds the op to the registry."""
    elsewhere = cls.name in HOMES and HOMES[cls.name] not in sys.modules
    if elsewhere or cls.name in _MADE:
        raise ValueError(f"op {cls.name!r} is registered twice")
    _MADE[cls.name] = cls()
    return cls


class _Registry(Mapping[str, Op]):
    """Imports the file of an op when the op is first asked for: a spec uses few of them."""

    def __getitem__(self, name: str) -> Op:
        if name not in _MADE:
            import_module(HOMES[name])
        return _MADE[name]

    def __contains__(self, name: object) -> bool:
        return name in _MADE or name in HOMES

    def __iter__(self) -> Iterator[str]:
        return iter({**HOMES, **_MADE})

    def __len__(self) -> int:
        return len({**HOMES, **_MADE})


_REGISTRY = _Registry()


def registry() -> Mapping[str, Op]:
    """All ops by name."""
    return _REGISTRY


def loaded() -> Mapping[str, Op]:
    """The ops of the files that were imported so far."""
    return _MADE
