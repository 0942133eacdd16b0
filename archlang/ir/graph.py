"""The typed graph IR: one `Graph` per distinct (block, parameters, input types); instances refer to graphs.

The whole IR is defined on this page.

* A `Graph` is the body of a block: straight-line nodes in execution order over typed values. It owns *children*
  (op modules with weights, and instances of other graphs) and `weight` / `buffer` declarations, each under a relative
  path; joining the paths from the root downwards gives the state-dict keys.
* A graph is polymorphic in its `symbols` (sizes such as `H`): the caller's `Node.sizes` says what each is at a call.
* A node either runs an op (`op` is its name in the registry) or, with `op == "call"`, runs a child graph; `count > 1`
  runs children `path.i` for `count` consecutive i, each on the previous one's outputs.
* Elaboration lists do not exist here: a port of kind `tensors` holds several values.
* `inverted` marks a node that runs backwards: it takes what the op or callee gives (and its context) and gives what it
  takes. Its attributes, callee, path and sizes are those of the forward direction.
* A node with `op` in CONTRACTIONS runs its callee f as the branch of `s + f(s)`, where f contracts: "fixed_point" gives
  s from the result, "residual_log_det" the log-determinant at s.
* `log_det` marks a node that measures log|det J|, per sample ([B]): an op gives it instead of its result, a call after
  its results.
* A graph that can be undone carries its `Proof`: the steps that lead from its streams (the inputs that are no context)
  to its results, each of which can be undone.
* `phase` marks nodes that run in training only or in evaluation only; `op == "phase"` picks its first input in
  training and its second in evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Union

from archlang.records import dataclass, field
from archlang.report.diagnostic import Span
from archlang.shapes.dim import Dim, Size, difference, evaluate, size_str, substitute, symbols

__all__ = [
    "CONTRACTIONS",
    "NONZERO_EPS",
    "Attr",
    "Attrs",
    "Child",
    "Constraint",
    "Graph",
    "Init",
    "Node",
    "Output",
    "Port",
    "Program",
    "Proof",
    "Step",
    "TensorType",
    "Value",
    "WeightDecl",
    "attr_at",
    "attrs_at",
]


CONTRACTIONS = ("fixed_point", "residual_log_det")
NONZERO_EPS = 1e-3  # a `nonzero` weight w reads as sign(w) * max(|w|, NONZERO_EPS), with sign(0) = 1


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type and shape. dtype "float" is the module's own floating type; others are torch's names."""

    shape: tuple[Size, ...]
    dtype: str = "float"

    @property
    def rank(self) -> int:
        return len(self.shape)

    def at(self, sizes: Mapping[str, Size]) -> TensorType:
        """The same with sizes put in for symbols."""
        return TensorType(tuple(substitute(s, sizes) for s in self.shape), self.dtype) if sizes else self

    def __str__(self) -> str:
        dims = ", ".join(size_str(s) for s in self.shape)
        return f"[{dims}]" if self.dtype == "float" else f"{self.dtype}[{dims}]"


@dataclass(frozen=True, slots=True)
class Init:
    """An initialiser as data: `kaiming_normal(mode="fan_out")` is Init("kaiming_normal", (("mode", "fan_out"),)).

    Arguments may be initialisers themselves (`columns(unit(4, 0), eye(4))`).
    """

    name: str
    args: tuple[tuple[str, Attr], ...] = ()

    def __str__(self) -> str:
        inner = ", ".join(f"{k}={v!r}" if isinstance(v, str) else f"{k}={v}" for k, v in self.args)
        return f"{self.name}({inner})" if inner else self.name


# What a node's attribute can be: plain data that prints, hashes and round-trips through JSON.
Attr = Union[None, bool, int, float, str, Size, Init, tuple["Attr", ...]]
Attrs = Mapping[str, Any]  # name -> Attr; `Any` because readers know each attribute's type


def attr_at(attr: Attr, sizes: Mapping[str, Size]) -> Attr:
    """An attribute with sizes put in for symbols."""
    if isinstance(attr, Dim):
        return substitute(attr, sizes)
    if isinstance(attr, tuple):
        return tuple(attr_at(a, sizes) for a in attr)
    if isinstance(attr, Init):
        return Init(attr.name, tuple((name, attr_at(a, sizes)) for name, a in attr.args))
    return attr


def attrs_at(attrs: Attrs, sizes: Mapping[str, Size]) -> dict[str, Any]:
    """Attributes with sizes put in for symbols."""
    return {name: attr_at(attr, sizes) for name, attr in attrs.items()}


@dataclass(eq=False, slots=True)
class Value:
    """A wire: one tensor. `name` is the author's binding where there is one, else ""."""

    type: TensorType
    name: str = ""


@dataclass(eq=False, slots=True)
class Node:
    """One step. `path` names the child (op module or graph instance) or the declared weight that the step uses."""

    op: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    span: Span | None
    attrs: Attrs = field(default_factory=dict)
    path: str | None = None
    callee: Graph | None = None
    count: int = 1
    sizes: Mapping[str, Size] = field(default_factory=dict)  # callee's symbol -> size here
    modules: Mapping[str, str] = field(default_factory=dict)  # callee's borrowed module -> path (or own slot) here
    phase: str | None = None  # None | "train" | "eval"
    inverted: bool = False
    log_det: bool = False

    @property
    def paths(self) -> Iterator[str]:
        """The children that this node runs, in order: one, or `count` consecutive ones."""
        if self.path is None:
            return
        if self.count == 1:
            yield self.path
            return
        stem, _, first = self.path.rpartition(".")
        for i in range(int(first), int(first) + self.count):
            yield f"{stem}.{i}" if stem else str(i)


@dataclass(frozen=True, slots=True)
class WeightDecl:
    """A `weight` or `buffer`, or one tensor of an op module. `init` None means the op's own (torch's) default."""

    name: str
    shape: tuple[int, ...]
    init: Init | None = None
    dtype: str = "float"
    kind: str = "parameter"  # "parameter" | "buffer"
    trainable: bool = True
    persistent: bool = True
    constraint: str | None = None  # "nonzero": sign(w) * max(|w|, eps), sign(0) = 1
    span: Span | None = None


@dataclass(eq=False, slots=True)
class Child:
    """What stands under a path: an op module (`op`, `attrs`, `weights`) or instances of a graph.

    `count` consecutive children share one entry when they are equal and named by position: `path`, `path + 1`, ...
    """

    path: str
    span: Span | None
    op: str | None = None
    attrs: Attrs = field(default_factory=dict)
    weights: tuple[WeightDecl, ...] = ()
    graph: Graph | None = None
    count: int = 1

    @property
    def paths(self) -> Iterator[str]:
        stem, _, first = self.path.rpartition(".")
        if self.count == 1:
            yield self.path
            return
        for i in range(int(first), int(first) + self.count):
            yield f"{stem}.{i}" if stem else str(i)


@dataclass(eq=False, slots=True)
class Port:
    """A declared input. kind "tensor" holds one value, "tensors" any number, in order. Context follows `;`."""

    name: str
    values: tuple[Value, ...]
    kind: str = "tensor"
    context: bool = False
    span: Span | None = None  # the declaration


@dataclass(eq=False, slots=True)
class Output:
    """One returned item; `name` "" for plain results. `training` items exist in training only."""

    values: tuple[Value, ...]
    name: str = ""
    kind: str = "tensor"  # "tensor" | "tensors"
    training: bool = False


@dataclass(frozen=True, slots=True)
class Constraint:
    """`left == right`, or `left >= right` with relation ">=", that the graph needs of its symbols.

    rule: who refuses other sizes: "torch"; "broadcast" for torch too, unless one side is 1, where it would broadcast;
    "language" for what a spec asks for and torch does not look at (declared sizes, parts that must be equal), "promise"
    for what the graph's own declaration promises (`reason` is its text): for callers it is "language".
    cases: where there are several, all of one of them must hold (`H == 224 or H == 384`); the sides are 0 and 0 then.
    """

    left: Size
    right: Size
    relation: str
    reason: str
    span: Span | None
    phase: str | None = None  # None: always; "train" or "eval": in that phase only
    rule: str = "torch"
    cases: tuple[tuple[Constraint, ...], ...] = ()

    def __str__(self) -> str:
        if not self.cases:
            return f"{size_str(self.left)} {self.relation} {size_str(self.right)}"
        texts = [" and ".join(map(str, case)) for case in self.cases]
        return " or ".join(f"({text})" if len(case) > 1 else text for case, text in zip(self.cases, texts, strict=True))

    @property
    def key(self) -> tuple[object, ...]:
        """What it asks, without who asks it and where."""
        cases = tuple(tuple(c.key for c in case) for case in self.cases) if self.cases else ()
        return self.left, self.right, self.relation, self.phase, cases

    @property
    def symbols(self) -> frozenset[str]:
        inner = [c.symbols for case in self.cases for c in case]
        return frozenset().union(symbols(self.left), symbols(self.right), *inner)

    def at(self, sizes: Mapping[str, Size]) -> Constraint:
        """The same with sizes put in for symbols."""
        if not sizes:
            return self
        cases = tuple(tuple(c.at(sizes) for c in case) for case in self.cases) if self.cases else ()
        left, right = substitute(self.left, sizes), substitute(self.right, sizes)
        return Constraint(left, right, self.relation, self.reason, self.span, self.phase, self.rule, cases)

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether it is met where these are all sizes."""
        if self.cases:
            return any(all(c.holds(sizes) for c in case) for case in self.cases)
        try:
            left, right = evaluate(self.left, sizes), evaluate(self.right, sizes)
        except ZeroDivisionError:
            return False
        return left == right if self.relation == "==" else left >= right

    @property
    def known(self) -> bool | None:
        """Whether it holds at every size or at none, as far as numbers that are left say so."""
        if self.cases:
            found = [[c.known for c in case] for case in self.cases]
            met = any(all(case) for case in found)
            return True if met else False if all(False in case for case in found) else None
        rest = difference(self.left, self.right)
        if not isinstance(rest, int):
            return None
        return rest == 0 or (self.relation == ">=" and rest > 0)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One step of a proof: `node` makes the streams `made` of the streams `consumed`; it reads its other inputs.

    kind: "update" (`+`, `-`, `*`, `/` on one stream), "contraction" (`s + f(s)` where f contracts), "split" and
    "concat" (of dimensions), "apply" (any other bijection), or "new" (the value `made` becomes a stream; `node`, which
    made it, takes none).
    span: the statement; names: what it calls the streams that it makes (`a`, `c[2]`).
    """

    kind: str
    node: Node | None
    consumed: tuple[Value, ...]
    made: tuple[Value, ...]
    span: Span | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Proof:
    """Why a graph can be undone: run the steps backwards, the last first.

    grade: "bijective", "injective" or "approximate" (up to `tolerance`), as of an op (`ops.base.Bijection`).
    outputs: how many of the graph's outputs are streams; those after them are side outputs.
    hypotheses, effects: what holds by assumption, and what the inverse depends on besides its inputs, of this graph's
    own nodes; the callees' are theirs.
    """

    grade: str
    steps: tuple[Step, ...]
    outputs: int
    hypotheses: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    tolerance: float | None = None


@dataclass(eq=False, slots=True, weakref_slot=True)
class Graph:
    """The body of one block at one choice of parameters and input types."""

    name: str  # unique in the program: "bottleneck", "bottleneck_2", ...
    block: str  # the block's name as written
    span: Span | None
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    children: dict[str, Child] = field(default_factory=dict)
    weights: dict[str, WeightDecl] = field(default_factory=dict)
    borrowed: dict[str, Child] = field(default_factory=dict)  # slot -> what is passed in by the caller (not owned)
    aliases: dict[str, str] = field(default_factory=dict)  # second path -> first path of a shared child
    symbols: tuple[str, ...] = ()
    constraints: list[Constraint] = field(default_factory=list)
    params: Attrs = field(default_factory=dict)  # the block's plain parameters, for readers and the generator
    doc: str = ""
    sequential: bool = False  # a plain composition: children are called in order, each on the previous one's output
    reversible: bool = False  # declared so
    proof: Proof | None = None

    @property
    def entries(self) -> list[Value]:
        """What goes in: the values of all ports, in order."""
        return [v for port in self.inputs for v in port.values]

    @property
    def results(self) -> list[Value]:
        """What comes out: the values of all outputs, in order; those of training, too."""
        return [v for output in self.outputs for v in output.values]

    @property
    def carried(self) -> int:
        """How many of the results, the first ones, are streams: those that the proof says; without one, all."""
        outputs = self.outputs if self.proof is None else self.outputs[: self.proof.outputs]
        return sum(len(output.values) for output in outputs)

    @property
    def streams(self) -> tuple[Value, ...]:
        """The inputs that are no context."""
        return tuple(v for port in self.inputs if not port.context for v in port.values)

    @property
    def values(self) -> Iterator[Value]:
        """Every value, in order of definition."""
        for port in self.inputs:
            yield from port.values
        for node in self.nodes:
            yield from node.outputs


@dataclass(eq=False, slots=True)
class Program:
    """A root graph and everything it reaches, callees before callers.

    given: what the design's declaration says of the root's symbols, in symbols of its own: `[B, 3, 16*h, w]` gives
    H = 16*h. Sizes of that form are all that the declaration promises.
    """

    root: Graph
    graphs: list[Graph]
    given: Mapping[str, Size] = field(default_factory=dict)

    @staticmethod
    def of(root: Graph, given: Mapping[str, Size] | None = None) -> Program:
        """Collects the graphs reachable from `root` in a stable topological order (iterative: depth is unbounded)."""
        order: list[Graph] = []
        done: set[int] = set()
        stack: list[tuple[Graph, bool]] = [(root, False)]
        while stack:
            graph, ready = stack.pop()
            if id(graph) in done:
                continue
            if ready:
                done.add(id(graph))
                order.append(graph)
                continue
            stack.append((graph, True))
            callees = [n.callee for n in graph.nodes if n.callee is not None]
            callees += [c.graph for c in graph.children.values() if c.graph is not None]
            stack += [(callee, False) for callee in reversed(dict.fromkeys(callees)) if id(callee) not in done]
        return Program(root, order, given or {})
