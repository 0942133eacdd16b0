"""What one step of a proof is: its kind, and what it takes for granted. Refuses what has no inverse after all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from archlang.ir.graph import Graph, Node, Proof, Step, TensorType, Value
from archlang.ir.sizes import Equalities
from archlang.ops.base import Bijection, registry
from archlang.records import replace
from archlang.report.diagnostic import Span
from archlang.reversible.effects import effects_of
from archlang.reversible.factors import Range, bounds, rounds
from archlang.reversible.lipschitz import TOLERANCE, clash, contraction, estimated
from archlang.reversible.streams import Streams

__all__ = ["Judge"]

_DTYPE = {"float": "float32"}
_SPLITS = ("split", "chunk", "halves", "unbind")
_JOINS = ("concat", "stack")


class Judge(Streams):
    """Collects the steps with their grades, hypotheses and effects."""

    def __init__(
        self,
        graph: Graph,
        nodes: Sequence[Node],
        streams: Iterable[tuple[str, Value]],
        span: Span | None,
        context: Iterable[Value] = (),
    ) -> None:
        super().__init__(graph, nodes, streams, span, context)
        self.steps: list[Step] = []
        self.grades: list[str] = ["bijective"]
        self.hypotheses: list[str] = []
        self.effects: list[str] = []
        self.tolerance: float | None = None
        self.sizes: tuple[int, Equalities] | None = None  # and of how many constraints

    def judge(
        self,
        node: Node,
        consumed: tuple[Value, ...],
        made: tuple[Value, ...],
        rest: Sequence[Value],
        span: Span | None,
    ) -> str:
        """The step's kind; collects its grade, hypotheses and effects; refuses what has no inverse after all."""
        if node.op == "call":
            assert node.callee is not None
            proof = node.callee.proof
            assert proof is not None
            self.collect(Bijection(proof.grade, tolerance=proof.tolerance), node, span)
            return "apply"
        if node.op == "extern":
            trusted = f"`{node.attrs['inverse']}` undoes `{node.attrs['target']}`, as is declared"
            self.collect(Bijection("bijective", hypotheses=(trusted,)), node, span)
            return "apply"
        op = registry()[node.op]
        undo = op.undo(node.attrs, next(i for i, v in enumerate(node.inputs) if v is consumed[0]))
        if undo is None:
            types = [v.type for v in (node.outputs if node.inverted else node.inputs)]
            found = op.bijection(types, node.attrs)
            assert found is not None
            self.collect(found, node, span)
            return "split" if node.op in _SPLITS else "concat" if node.op in _JOINS else "apply"
        if not self.same_type(made[0].type, consumed[0].type):
            dtype = consumed[0].type.dtype
            help = "what is added to a stream must have its shape and element type, or broadcast to it"
            if made[0].type.dtype != dtype:
                help = f"give it the stream's element type: `cast(..., {_DTYPE.get(dtype, dtype)})`"
            self.refuse(
                "ARC0608",
                f"the update changes the stream `{self.name(consumed[0])}` from {consumed[0].type} to {made[0].type}",
                span,
                related=[(v, f"has type {v.type}") for v in rest],
                help=help,
            )
        if undo.divides:
            self.nonzero(node, self.name(consumed[0]), rest, span)
        return "update"

    def same_type(self, a: TensorType, b: TensorType) -> bool:
        """Whether two types are equal, given what the graph needs of its sizes."""
        if a == b or a.dtype != b.dtype or a.rank != b.rank:
            return a == b
        needed = len(self.graph.constraints)
        if self.sizes is None or self.sizes[0] != needed:
            equal = ((c.left, c.right) for c in self.graph.constraints if c.relation == "==" and c.phase is None)
            self.sizes = needed, Equalities(equal)
        return all(self.sizes[1].same(x, y) for x, y in zip(a.shape, b.shape, strict=True))

    def nonzero(self, node: Node, name: str, rest: Sequence[Value], span: Span | None) -> None:
        """The factor of a stream must not be 0, in exact arithmetic; where rounding makes it 0, a warning."""
        if node.attrs.get("other") == 0:
            self.refuse("ARC0607", f"the stream `{name}` is multiplied by 0", span, "its value is lost")
        makers = {key: maker for key, (_, maker) in self.makers.items()}
        for value in rest:
            found = bounds(value, makers, self.graph)
            if not found.strict:
                self.refuse(
                    "ARC0607",
                    f"the factor of the stream `{name}` may be 0: {self.why(value, found)}",
                    span,
                    help="factors that cannot be 0: `exp(c * tanh(e))`, `softplus(e) + c`, a weight declared `nonzero`",
                )
            if rounds(found, value.type.dtype, reciprocal=node.op == "div"):
                self.hypotheses.append(f"the factor of `{name}` does not round to 0")
                self.warn(
                    "ARC0620",
                    f"the factor of the stream `{name}` comes as close to 0 as it likes: "
                    f"in {_DTYPE.get(value.type.dtype, value.type.dtype)} it can round to 0",
                    span,
                    help="bound it: `exp(c * tanh(e))`, `softplus(e) + c`, `sigmoid(e) + c`",
                )

    def why(self, value: Value, found: Range) -> str:
        node = self.makers[id(value)][1] if id(value) in self.makers else None
        if node is None:
            return f"nothing is known of `{value.name}`"
        if node.op == "weight":
            return f"`{node.path}` is a weight, and not declared `nonzero`"
        if math.isinf(found.low) and math.isinf(found.high):
            return f"nothing bounds the result of {self.what(node)}"
        return f"it lies in [{found.low:g}, {found.high:g}]"

    def effects_of_branches(self) -> list[str]:
        """What the nodes that run again depend on; refuses what may not run again, warns of jumps."""
        for node, span in self.branches.values():
            for effect in effects_of([node]):
                if effect.kind == "impure":
                    self.refuse(
                        "ARC0612",
                        f"{effect.what} code that is not declared `pure` would run again when the block is undone",
                        span,
                        help="declare it `extern pure block`, if its result depends on its inputs and weights alone",
                        spans=[(effect.span, "called here")],
                    )
                if effect.kind == "discontinuous":
                    self.warn(
                        "ARC0621",
                        f"a branch jumps: with streams that are rebuilt up to rounding, `{effect.what}` can come out "
                        "differently",
                        effect.span or span,
                        help="training keeps what the branch reads; where an inverse must make the same choice, too, "
                        "smooth the branch",
                    )
        return [str(effect) for effect in effects_of(node for node, _ in self.branches.values())]

    def contracts(
        self,
        node: Node,
        consumed: tuple[Value, ...],
        made: tuple[Value, ...],
        rest: Sequence[Value],
        span: Span | None,
    ) -> str | None:
        """Accepts `s += f(s)` where f is known to contract; None for every other step."""
        if node.op != "add" or len(consumed) != 1 or not any(self.depends(v, consumed[0]) for v in rest):
            return None
        makers = {key: maker for key, (_, maker) in self.makers.items()}
        constant = contraction(rest, consumed[0], makers)
        if constant is None:
            self.fits(rest, consumed[0], makers, span)
        if constant is None or not self.same_type(made[0].type, consumed[0].type):
            return None
        self.reads(rest, (), span, self.what(node))
        hypothesis = (
            f"the norms in the branch of `{self.name(consumed[0])}` are bounded: it contracts by {constant:.6g}"
        )
        if estimated(rest, makers):
            hypothesis += "; power iterations for mixed norms have found the largest values"
        self.collect(Bijection("approximate", hypotheses=(hypothesis,), tolerance=TOLERANCE), node, span)
        return "contraction"

    def fits(self, branch: Sequence[Value], stream: Value, makers: Mapping[int, Node], span: Span | None) -> None:
        """Refuses a branch of bounded layers whose norms do not lead from one to the next."""
        found = clash(branch, stream, makers)
        if found is None:
            return
        if found.node is None:
            what = f"the branch leads from the norm {found.wants:g} to the norm {found.has:g}"
            help = f"give its last bounded layer `codomain={found.wants:g}`, so that it ends in the norm it starts from"
        else:
            reads = f"and reads what is bounded in the norm {found.has:g}"
            what = f"{self.what(found.node)} is bounded from the norm {found.wants:g}, {reads}"
            help = f"give it `domain={found.has:g}`, or the bounded layer before it `codomain={found.wants:g}`"
        where = found.node.span if found.node is not None else None
        message = f"the norms in the branch of `{self.name(stream)}` do not fit: {what}"
        self.refuse("ARC0615", message, span, help=help, spans=[(where, "bounded from another norm")])

    def collect(self, found: Bijection, node: Node, span: Span | None) -> None:
        if node.inverted and found.grade == "injective":
            self.refuse(
                "ARC0611",
                f"`~` of {self.what(node)} undoes only what it gave: it is injective, not bijective",
                span,
                help="a stream of the larger space has no preimage in general",
            )
        self.grades.append(found.grade)
        at = f" (`{node.path}`)" if node.path else ""
        self.hypotheses += [f"{h}{at}" for h in found.hypotheses]
        self.effects += [f"{e}{at}" for e in found.effects]
        if found.tolerance is not None:
            self.tolerance = max(self.tolerance or 0.0, found.tolerance)

    # -- results ---------------------------------------------------------------------------------------------------
    def proof(self, outputs: int) -> Proof:
        order = ("bijective", "injective", "approximate")
        grade = max(self.grades, key=order.index)
        effects = tuple(dict.fromkeys([*self.effects, *self.effects_of_branches()]))
        named = [replace(step, names=tuple(self.names[id(v)] for v in step.made)) for step in self.steps]
        return Proof(grade, tuple(named), outputs, tuple(self.hypotheses), effects, self.tolerance)
