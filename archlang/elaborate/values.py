"""What expressions evaluate to, besides plain numbers, strings, lists, tuples and symbolic sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archlang.ir.graph import Init, TensorType, Value
from archlang.ops.base import Op
from archlang.records import dataclass, field
from archlang.report.diagnostic import Span
from archlang.shapes.dim import Dim
from archlang.syntax import tree

if TYPE_CHECKING:
    from archlang.elaborate.builder import Builder
    from archlang.elaborate.loader import LoadedModule
    from archlang.elaborate.scope import Scope

__all__ = [
    "POISON",
    "TRAINING",
    "BlockInstance",
    "BlockTemplate",
    "Builtin",
    "Composition",
    "ExternInstance",
    "ExternTemplate",
    "Fn",
    "IndexRange",
    "Instance",
    "Inverse",
    "LabelText",
    "LogDet",
    "Namespace",
    "OpInstance",
    "OpTemplate",
    "Phase",
    "Record",
    "Run",
    "Streams",
    "Wire",
    "describe",
    "expand",
    "has_wire",
    "length",
    "settled",
]


@dataclass(eq=False, slots=True)
class Wire:
    """A tensor in the graph under construction. `phase` is set where it exists in one phase only."""

    value: Value
    builder: Builder
    span: Span
    phase: str | None = None

    @property
    def type(self) -> TensorType:
        return self.value.type


@dataclass(eq=False, slots=True)
class Streams:
    """What flows through `->`: wires, lists of wires or `none` for the inputs, and context after `;`."""

    items: tuple[Any, ...]
    context: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelText:
    """An evaluated label: its relative path, or "" for `_` (transparent)."""

    path: str
    span: Span


@dataclass(eq=False, slots=True, kw_only=True)
class Instance:
    """A module: something with its own weights. Owned by one builder under one path, once it is named or used."""

    span: Span
    label: LabelText | None = None
    owner: Builder | None = None
    path: str | None = None
    borrowed: bool = False  # `path` is a slot: the caller owns it
    arrow: tree.ArrowType | None = None  # `A <-> B`, `A >-> B`: what the parameter that holds it says it is
    used: bool = False

    @property
    def default_name(self) -> str:
        raise NotImplementedError

    @property
    def dissolved(self) -> bool:
        """Whether it adds nothing to paths (`_: ...`): what it is made of stands where it is applied."""
        return self.label is not None and self.label.path == ""

    @property
    def named_at(self) -> Span:
        """What makes its state-dict keys: the label where there is one."""
        return self.label.span if self.label is not None else self.span


@dataclass(eq=False, slots=True, kw_only=True)
class OpInstance(Instance):
    op: Op
    args: Mapping[str, Any]
    key: tuple[Any, ...]  # see `copying.op_key`
    arg_spans: Mapping[str, Span] = field(default_factory=dict)
    wire_spans: tuple[Span, ...] = ()  # the operands as written, where they are written beside the op
    op_span: Span | None = None  # the infix operator

    @property
    def default_name(self) -> str:
        return self.op.name


@dataclass(eq=False, slots=True, kw_only=True)
class BlockInstance(Instance):
    block: BlockTemplate
    args: dict[str, Any]

    @property
    def default_name(self) -> str:
        return self.block.name


@dataclass(eq=False, slots=True, kw_only=True)
class ExternInstance(Instance):
    extern: ExternTemplate
    args: dict[str, Any]

    @property
    def default_name(self) -> str:
        return self.extern.name


@dataclass(eq=False, slots=True, kw_only=True)
class Composition(Instance):
    """`a -> b -> c` over modules, or `chain([...])` (then `chained`)."""

    parts: list[Instance | Run]
    chained: bool = False

    @property
    def default_name(self) -> str:
        return "chain" if self.chained else "sequence"


@dataclass(eq=False, slots=True, kw_only=True)
class Inverse(Instance):
    """`~m`: the module run backwards. It has no weights of its own: those of `module`, which it shares."""

    module: Instance | Run

    @property
    def default_name(self) -> str:
        return (self.module.proto if isinstance(self.module, Run) else self.module).default_name


@dataclass(eq=False, slots=True, kw_only=True)
class LogDet(Inverse):
    """`logdet(m)`: the module, with its log-determinant as a further result. It has no weights of its own, either."""


@dataclass(eq=False, slots=True)
class Run:
    """`count` fresh instances of one prototype, as elements of a list; made one by one only where somebody looks."""

    proto: Instance
    count: int
    owner: Builder | None = None
    stem: str = ""  # paths are stem.first, stem.first + 1, ...
    first: int = 0
    used: bool = False
    _made: list[Instance] | None = None

    def instances(self) -> list[Instance]:
        """The single instances, the same objects on every call."""
        if self._made is None:
            self._made = [self.instance(i) for i in range(self.count)]
            self.used = True  # from here on each instance answers for itself
        return self._made

    @property
    def made(self) -> bool:
        return self._made is not None

    def instance(self, index: int) -> Instance:
        """A new object for the index-th instance."""
        from archlang.elaborate.copying import copy_instance

        made = copy_instance(self.proto, {})
        if self.owner is not None:
            made.owner, made.path = self.owner, self.path_of(index)
            made.label = None
        return made

    def path_of(self, index: int) -> str:
        return f"{self.stem}.{self.first + index}" if self.stem else str(self.first + index)


@dataclass(frozen=True, slots=True, eq=False)
class BlockTemplate:
    """A block by name, with the file that it stands in."""

    module: LoadedModule
    tree: tree.Block

    @property
    def name(self) -> str:
        return self.tree.name


@dataclass(frozen=True, slots=True, eq=False)
class ExternTemplate:
    module: LoadedModule
    tree: tree.Extern

    @property
    def name(self) -> str:
        return self.tree.name


@dataclass(frozen=True, slots=True)
class OpTemplate:
    op: Op

    @property
    def name(self) -> str:
        return self.op.name


@dataclass(frozen=True, slots=True, eq=False)
class Fn:
    """A function of the elaboration language, with the scope that it closes over."""

    name: str
    params: tuple[tree.Param, ...]
    body: tree.Expr | tuple[tree.Stmt, ...]
    scope: Scope
    span: Span


@dataclass(frozen=True, slots=True)
class Builtin:
    """An elaboration function (`len`, `floor`, `chain`, ...) by name; see `builtins.py`."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Namespace:
    """A file brought in by `use`."""

    module: LoadedModule


@dataclass(frozen=True, slots=True)
class Phase:
    """The run-time condition `training`, or its negation."""

    training: bool


TRAINING = Phase(True)


@dataclass(frozen=True, slots=True)
class IndexRange:
    """A loop variable while a comprehension tries to evaluate its element once for all of [low, high)."""

    low: int
    high: int


class Record(tuple[Any, ...]):
    """Several results of a block; `names` are "" where the block gave none."""

    names: tuple[str, ...]

    @staticmethod
    def of(values: Sequence[Any], names: Sequence[str]) -> Record:
        record = Record(values)
        record.names = tuple(names)
        return record


class _Poison:
    """The value of a name whose definition failed: using it says nothing more."""

    def __repr__(self) -> str:
        return "POISON"


POISON = _Poison()


def length(items: Sequence[Any]) -> int:
    """Number of elements of a list, runs counted in full."""
    return sum(item.count if isinstance(item, Run) else 1 for item in items)


def expand(items: Sequence[Any]) -> list[Any]:
    """The elements of a list, one by one."""
    if Run not in map(type, items):
        return list(items)
    return [one for item in items for one in (item.instances() if isinstance(item, Run) else (item,))]


def settled(value: Any) -> Any:
    """A list whose owned runs are spelt out: only fresh, unnamed runs stay runs."""
    if value.__class__ is list and not {Run, list}.isdisjoint(map(type, value)):
        spelt = (v.instances() if isinstance(v, Run) and v.owner is not None else (settled(v),) for v in value)
        return [one for group in spelt for one in group]
    return value


def has_wire(value: Any) -> bool:
    """Whether a value is a wire, or a list or tuple that holds one."""
    kind = value.__class__
    if kind is Wire:
        return True
    return (kind is list or isinstance(value, tuple)) and any(map(has_wire, value))


def describe(value: Any) -> str:
    """What a value is, in the author's words."""
    if isinstance(value, bool):
        return "a bool"
    named = (
        (int, "an int"),
        (float, "a float"),
        (str, "a string"),
        (Dim, "a symbolic size"),
        (Wire, "a wire"),
        (list, "a list"),
        (tuple, "a tuple"),
        (Streams, "wires"),
        (Instance, "a module"),
        (Run, "modules"),
        (BlockTemplate, "a block"),
        (ExternTemplate, "a block"),
        (OpTemplate, "an op"),
        (Fn, "a function"),
        (Builtin, "a function"),
        (Namespace, "a file"),
        (Init, "an initialiser"),
        (Phase, "the phase `training`"),
        (TensorType, "a type"),
    )
    if value is None:
        return "`none`"
    for kind, text in named:
        if isinstance(value, kind):
            return text
    return f"a {type(value).__name__}"
