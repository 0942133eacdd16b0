"""Claims about results: `output: [B, 1000]`, `logits: [B, 10]`, `output: ([B, D], [B])`, `levels[0]: [B, 64, H, W]`."""

from __future__ import annotations

from typing import NoReturn

from archlang.elaborate.errors import fail
from archlang.elaborate.patterns import declared_dtype
from archlang.ir.graph import Output, TensorType
from archlang.ir.walk import result_fields
from archlang.report.diagnostic import Diagnostic
from archlang.report.suggest import did_you_mean
from archlang.shapes.dim import Dim, Size
from archlang.syntax import tree
from archlang.verify.subject import Subject, Verdict, shown

__all__ = ["check_type"]


def check_type(subject: Subject, claim: tree.Claim) -> list[Diagnostic]:
    """The finding where a result is not of the type that is claimed. Raises ArchError."""
    actual = _results(subject, claim.left)
    wanted = claim.type.items if isinstance(claim.type, tree.TupleType) else (claim.type,)
    if len(wanted) != len(actual):
        message = f"`{claim.left.span.text}` is {_text(subject, actual)}, and the claim is {_count(len(wanted))}"
        return [Diagnostic("ARC0802", message, claim.span)]
    for one, type in zip(wanted, actual, strict=True):
        if not isinstance(one, tree.TensorTypeExpr):
            fail("ARC0806", "a result has a tensor type", (one or claim).span, help="such as [B, 1000] or i64[B]")
        verdict = _same(subject, one, type)
        if verdict.holds is None:
            message = f"this claim cannot be decided: whether {type} is {one.span.text} at all sizes"
            return [Diagnostic("ARC0805", message, claim.span, help="name the sizes after `on`")]
        if not verdict.holds:
            at = f"at {shown(verdict.at)}" if verdict.at else ""
            message = f"`{claim.left.span.text}` is {_text(subject, actual)}, and the claim is {_claimed(claim)}"
            return [Diagnostic("ARC0802", message, one.span, at)]
    return []


def _claimed(claim: tree.Claim) -> str:
    return claim.type.span.text if claim.type is not None else ""


def _text(subject: Subject, types: list[TensorType]) -> str:
    texts = [str(TensorType(tuple(subject.measured.declared(s) for s in t.shape), t.dtype)) for t in types]
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"


def _count(count: int) -> str:
    return "one tensor" if count == 1 else f"{count} tensors"


# -- which result ------------------------------------------------------------------------------------------------------
def _results(subject: Subject, expr: tree.Expr) -> list[TensorType]:
    """The types of what a claim names: a result, an element of a list of results, or all results (`output`)."""
    index: int | None = None
    named = expr
    if isinstance(expr, tree.Index) and len(expr.items) == 1:
        item = subject.evaluate(expr.items[0])
        if isinstance(item, bool) or not isinstance(item, int):
            fail("ARC0806", "this is no index", expr.items[0].span, help="such as `levels[0]`")
        index, named = item, expr.value
    if not isinstance(named, tree.Name):
        fail("ARC0806", "this is no name of a result", named.span, help="write `output: [B, 10]`")
    outputs = _named(subject, named)
    types = [value.type for output in outputs for value in output.values]
    if index is None:
        return types
    if not -len(types) <= index < len(types):
        fail("ARC0807", f"`{named.id}` is {_count(len(types))}", expr.span, "outside of the list")
    return [types[index]]


def _named(subject: Subject, name: tree.Name) -> list[Output]:
    outputs = subject.program.root.outputs
    plain = [o for o in outputs if not o.training]
    table: dict[str, list[Output]] = {}
    for items, training in ((outputs, True), (plain, False)):
        fields = result_fields(items, training)
        for i, output in enumerate(items):
            place = f"output{i}" if len(items) > 1 else "output"
            table[output.name or (fields[i] if fields else place)] = [output]
    if "output" not in table:
        table["output"] = plain
    return table[name.id] if name.id in table else _no_result(subject, name, list(table))


def _no_result(subject: Subject, name: tree.Name, known: list[str]) -> NoReturn:
    listed = ", ".join(f"`{n}`" for n in known)
    fail(
        "ARC0807",
        f"`{subject.name}` has no result `{name.id}`",
        name.span,
        help=did_you_mean(name.id, known) or f"its result{'s are' if len(known) > 1 else ' is'} {listed}",
    )


# -- types -------------------------------------------------------------------------------------------------------------
def _same(subject: Subject, wanted: tree.TensorTypeExpr, type: TensorType) -> Verdict:
    dims = wanted.dims
    at = next((i for i, d in enumerate(dims) if isinstance(d, tree.Ellipsis)), None)
    sizes: list[Size] = list(type.shape)
    if at is not None and len(dims) - 1 <= len(sizes):
        after = len(dims) - at - 1
        sizes = sizes[:at] + sizes[len(sizes) - after :]
        dims = dims[:at] + dims[at + 1 :]
    if len(dims) != len(sizes) or declared_dtype(wanted) != type.dtype:
        return Verdict(False)
    for dim, size in zip(dims, sizes, strict=True):
        if isinstance(dim, tree.Name) and dim.id == "_":
            continue
        if isinstance(dim, tree.Name) and subject.activation.scope.find(dim.id) is None:
            subject.unknown_size(dim)
        value = subject.evaluate(dim)
        if isinstance(value, bool) or not isinstance(value, (int, Dim)):
            fail("ARC0323", "a size must be an int", dim.span)
        verdict = subject.decide(value - subject.measured.declared(size), "==")
        if not verdict.holds:
            return verdict
    return Verdict(True)
