"""What the class of one graph contains, before graphs are compared: constructor items, forward steps, signature."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Union

from archlang.codegen.exprs import META, Leaf, Py, Roll, Var
from archlang.ir.graph import Output, Port, TensorType
from archlang.report.diagnostic import Span

__all__ = [
    "LAYER",
    "Body",
    "Check",
    "Compared",
    "Do",
    "ForRange",
    "InitItem",
    "Lent",
    "Loop",
    "Marked",
    "Method",
    "PortSig",
    "Returned",
    "RollInit",
    "Rule",
    "Select",
    "SetAttr",
    "SizeRead",
    "Step",
    "StepItem",
    "Target",
    "TwoWay",
]  # fmt: skip


# -- constructor -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class SetAttr:
    """`self.name = value`; `annotation` is set for buffers, whose type mypy cannot see otherwise."""

    name: str
    value: Py
    buffer: bool = False


@dataclass(frozen=True, slots=True)
class Do:
    """An expression statement."""

    value: Py


@dataclass(frozen=True, slots=True)
class ForRange:
    """`for i in range(start, start + count): value`."""

    start: int
    count: Leaf
    value: Py


@dataclass(frozen=True, slots=True)
class RollInit:
    """Attributes with numbers, `stem + str(first + i)` in every pass, each with its value."""

    stems: tuple[tuple[str, int], ...]
    values: tuple[Roll, ...]


@dataclass(frozen=True, slots=True)
class Marked:
    """A run inside the path of a weight: `.{i}.`, or `.stem{i}.`, for `count` indices from `start` on."""

    start: int
    count: Leaf
    stem: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is done to the weight under a path, `code` with a hole in its place: initialisation, freezing."""

    path: tuple[str | Marked, ...]
    code: Py
    kind: str  # "parameter" | "buffer"
    direct: Py | None = None  # `self.conv1.weight`, where mypy knows that to be a tensor


InitItem = Union[SetAttr, Do, ForRange, RollInit]


# -- forward -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Compared:
    """`left == right`, `>=` or `<=`, of sizes."""

    left: Py
    relation: str
    right: Py


@dataclass(frozen=True, slots=True)
class Check:
    """Sizes that are refused: those at which none of the cases holds. text: who wants what, in the spec's words."""

    text: str
    cases: tuple[tuple[Compared, ...], ...]
    symbols: tuple[str, ...]


Target = Union[int, tuple["Target", ...]]  # a value's number, or several to unpack


@dataclass(frozen=True, slots=True)
class SizeRead:
    """A symbol is `(shape[dim of value] - offset) // scale`."""

    symbol: str
    value: int
    dim: int
    scale: int
    offset: int


@dataclass(frozen=True, slots=True)
class Step:
    target: Target
    value: Py
    phase: str | None = None
    label: str = field(default="", metadata=META)  # names the result where its author did not
    span: Span | None = field(default=None, metadata=META)


LAYER = Var(-2)  # the module of a loop's pass


@dataclass(frozen=True, slots=True)
class Loop:
    """`target = value` in every pass, starting from `initial`. The passes go over `modules`, or the `numbered`
    submodules `prefix.i` from a start on, or just `count` times; `value` reads `streams`, the values of `target`.

    A rolled loop has statements of its own, `inner`, instead of `target` and `value`; its passes go over `heads`, side
    by side, or count `i`.
    """

    target: Target
    streams: tuple[int, ...]
    initial: tuple[int, ...]
    value: Py
    count: Leaf
    modules: Py | None = None
    numbered: tuple[str, int] | None = None
    phase: str | None = None
    label: str = field(default="layer", metadata=META)
    span: Span | None = field(default=None, metadata=META)
    inner: tuple[Step, ...] = ()
    heads: tuple[Py, ...] = ()
    labels: tuple[str, ...] = field(default=(), metadata=META)  # of the heads' members
    backwards: bool = False  # from the last module to the first
    growing: tuple[int, ...] = ()  # values whose types differ between the passes


@dataclass(frozen=True, slots=True)
class Select:
    """`target` is `train` in training and `evaluation` otherwise."""

    target: int
    train: int
    evaluation: int
    phase: str | None = None


@dataclass(frozen=True, slots=True)
class TwoWay:
    """A call whose result has more items in training."""

    train: Target
    evaluation: Target
    value: Py
    plain: bool  # in evaluation one tensor, which is no tuple
    items: int  # in training
    phase: str | None = None
    label: str = field(default="", metadata=META)
    span: Span | None = field(default=None, metadata=META)


StepItem = Union[Step, Loop, Select, TwoWay]


# -- signature ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class PortSig:
    values: tuple[int, ...]
    kind: str
    port: Port = field(metadata=META)


@dataclass(frozen=True, slots=True)
class Lent:
    """A module that the caller passes to forward."""

    slot: str
    many: bool


@dataclass(frozen=True, slots=True)
class Returned:
    values: tuple[int, ...]
    name: str
    kind: str
    training: bool
    output: Output = field(metadata=META)


@dataclass(frozen=True, slots=True)
class Body:
    """Everything of one graph; bodies with equal structure become one class or function."""

    form: str  # "module" | "list" (nn.ModuleList) | "sequential" | "function"
    ports: tuple[PortSig, ...]
    lent: tuple[Lent, ...]
    inits: tuple[InitItem, ...]
    rules: tuple[Rule, ...]
    base: tuple[Py, ...]  # arguments of super().__init__
    sizes: tuple[SizeRead, ...]
    steps: tuple[StepItem, ...]
    outputs: tuple[Returned, ...]
    names: tuple[str, ...] = field(metadata=META)  # of the values, as their author named them
    types: tuple[TensorType, ...] = field(metadata=META)
    attributes: tuple[str, ...] = field(default=(), metadata=META)  # taken on self
    methods: tuple[Method, ...] = ()
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Method:
    """A method beside `forward`, of the same constructor. It takes and gives tensors, or their numbers ("int")."""

    name: str
    kind: str
    body: Body
    replays: bool = False  # runs again what writes buffers in training
