"""The smallest edit that makes the two sides of a sum equally large in space: a stride or a padding that one layer
lacks, or a projection with a stride.

An edit is offered where it provably mends the sum: the types along the path are computed again with it, and come out as
the other side's, and nothing else that is known of reads what changes. A stride is right for one size beside another:
it is offered in blocks without parameters only, since with other arguments the sizes may agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from archlang.ir.graph import Child, Graph, Node, TensorType, Value
from archlang.ops.base import Context, OpError, registry
from archlang.records import dataclass
from archlang.report.diagnostic import ArchError, Fix, Source, Span
from archlang.shapes.dim import Dim, Size
from archlang.syntax import tree
from archlang.syntax.parser import parse_expression

__all__ = ["operands", "own", "project", "sizes_fix"]

_STRIDES = range(2, 9)
_LABEL = re.compile(r'(?:[A-Za-z_]\w*|"[^"\n]*")\s*:\s*')


@dataclass(frozen=True, slots=True)
class _Step:
    """An op of one wire on the path to a side; `result` is what the sum's own graph calls what comes out around it."""

    node: Node
    child: Child | None
    result: Value


def sizes_fix(
    graph: Graph, sides: Sequence[Value], operands: Sequence[Span], sum: Node | None = None
) -> tuple[str, Fix] | None:
    """What to change, and the change. operands: as they are written, where they stand beside an operator; sum: the
    node, where the graph has it already."""
    a, b = sides
    if a.type.rank != b.type.rank or a.type.shape[2:] == b.type.shape[2:]:
        return None
    found = [edit for side, other in ((a, b), (b, a)) for edit in _layers(graph, side, other.type.shape[2:], sum)]
    if found:  # what adds an argument before what changes one; what is made later has fewer uses
        return max(found, key=lambda edit: (edit[0], edit[2].span.start))[1:]
    for i in (1, 0) if len(operands) == 2 and not graph.params else ():
        fix = project(sides[i].type, sides[1 - i].type, operands[i])
        if fix is not None:
            return "project one side to the size of the other", fix
    return None


def project(side: TensorType, other: TensorType, written: Span) -> Fix | None:
    """A 1x1 convolution, strided where the sizes differ by that, that makes `side` as `other` is."""
    for stride in (1, *_STRIDES) if own(written) and "\n" not in written.text else ():
        attrs = {"out_channels": other.shape[1], "kernel_size": 1, "stride": stride}
        if side.rank > 2 and _convolved(side, attrs) == other.shape:
            step = f", stride={stride}" if stride > 1 else ""
            return Fix(written, f"({written.text} -> project: conv({other.shape[1]}, 1{step}))")
    return None


def own(span: Span) -> bool:
    """Whether the text is the user's to change, and not the library's."""
    return not span.source.path.startswith(("std/", "zoo/"))


def _convolved(type: TensorType, args: Mapping[str, Any]) -> Any:
    op = registry()["conv"]
    values = {**{p.name: p.default for p in op.params}, **args}
    try:
        return op.infer([type], op.resolve([type], values, Context()), Context())[0].shape
    except OpError:
        return None


# -- layers on the path ------------------------------------------------------------------------------------------------
def _layers(graph: Graph, side: Value, wanted: Sequence[Size], sum: Node | None) -> Iterator[tuple[bool, str, Fix]]:
    """The edits of one layer on the path to a side: whether each adds an argument, what it does, and itself."""
    start, steps = _path(graph, side)
    if _shape(start.type, steps) != side.type.shape:
        return
    places = [step.node.span for step in steps]
    for i, step in enumerate(steps):
        if places.count(step.node.span) > 1 or _read_elsewhere(graph, steps, i, sum):
            continue
        for name, value in _changes(step.node, strides=not graph.params):
            shape = _shape(start.type, steps, i, {name: (value,) * (side.type.rank - 2)})
            if shape is not None and shape[2:] == wanted:
                edit = _argument(step, name, value)
                if edit is not None:
                    yield edit[0], f"give this layer {name} {value}", edit[1]


def _changes(node: Node, *, strides: bool) -> Iterator[tuple[str, int]]:
    """A padding that keeps the size, and strides."""
    attrs = node.attrs
    if not {"out_channels", "kernel_size", "stride", "padding", "dilation"} <= attrs.keys():
        return
    reach = {d * (k - 1) for k, d in zip(attrs["kernel_size"], attrs["dilation"], strict=True)}
    if len(reach) == 1 and min(reach) % 2 == 0:
        yield "padding", min(reach) // 2
    if strides and set(attrs["stride"]) == {1}:
        yield from (("stride", s) for s in _STRIDES)


def _path(graph: Graph, side: Value) -> tuple[Value, list[_Step]]:
    """Back from a side through ops of one wire and into compositions: where the path starts, its steps in order."""
    start: Value = side
    found: list[_Step] = []
    while True:
        node = next((node for node in graph.nodes if any(out is start for out in node.outputs)), None)
        steps = None if node is None else _flat(node, graph, start)
        if node is None or steps is None:
            return start, found
        found = steps + found
        start = node.inputs[0]


def _flat(node: Node, graph: Graph, result: Value) -> list[_Step] | None:
    """The ops that a node of one wire runs, in order; None for a node that is more than a row of such."""
    one = len(node.inputs) == len(node.outputs) == node.count == 1
    if not one or node.phase is not None or node.inverted or node.log_det:
        return None
    if node.op != "call":
        plain = node.op in registry() and not any(isinstance(value, Dim) for value in node.attrs.values())
        return [_Step(node, graph.children.get(node.path or ""), result)] if plain else None
    if node.callee is None or not node.callee.sequential:
        return None
    parts = [_flat(part, node.callee, result) for part in node.callee.nodes]
    return None if None in parts else [step for part in parts for step in part or ()]


def _shape(type: TensorType, steps: Sequence[_Step], at: int = -1, changed: Mapping[str, Any] | None = None) -> Any:
    """The shape at the end of the path, with attributes of one step changed; None where an op refuses that."""
    for i, step in enumerate(steps):
        attrs = {**step.node.attrs, **(changed or {})} if i == at else step.node.attrs
        try:
            (type,) = registry()[step.node.op].infer([type], attrs, Context())
        except OpError:
            return None
    return type.shape


def _read_elsewhere(graph: Graph, steps: Sequence[_Step], at: int, sum: Node | None) -> bool:
    """Whether more than the path and the sum reads what would have another size."""
    made = {id(step.result) for step in steps[at:]}
    readers = [n for n in graph.nodes if n is not sum and any(id(v) in made for v in n.inputs)]
    on_path = len(made) - 1  # all but the last are read by the next
    return len(readers) > on_path or any(id(v) in made for v in graph.results)


# -- the text ----------------------------------------------------------------------------------------------------------
def _argument(step: _Step, name: str, value: int) -> tuple[bool, Fix] | None:
    """Whether an argument is added, and the edit that gives it to the layer's call; None where that is not plain."""
    for span in (step.node.span, step.child.span if step.child is not None else None):
        call, start = _call(span)
        if span is None or call is None or not own(span) or getattr(call.func, "id", "") != step.node.op:
            continue
        start += span.start
        given = next((arg for arg in call.args if arg.name == name), None)
        plain = all(arg.name is not None or i < 2 for i, arg in enumerate(call.args))  # width and kernel
        if given is None and plain and not any(arg.star or arg.context for arg in call.args):
            end = start + call.args[-1].span.end
            return True, Fix(Span(span.source, end, end), f", {name}={value}")
        if given is not None and isinstance(given.value, tree.Number):
            place = given.value.span
            return False, Fix(Span(span.source, start + place.start, start + place.end), str(value))
    return None


def operands(span: Span | None) -> list[Span]:
    """The two sides of an operator's text; [] for other text."""
    try:
        found = parse_expression(Source("", span.text)) if span is not None else None
    except ArchError:
        return []
    if span is None or not isinstance(found, tree.Binary):
        return []
    sides = (found.left.span, found.right.span)
    return [Span(span.source, span.start + side.start, span.start + side.end) for side in sides]


def _call(span: Span | None) -> tuple[tree.Call | None, int]:
    """The call that a step's text is, and where in the text it starts, behind the label."""
    if span is None:
        return None, 0
    label = _LABEL.match(span.text)
    start = label.end() if label else 0
    try:
        found = parse_expression(Source("", span.text[start:]))
    except ArchError:
        return None, 0
    return (found if isinstance(found, tree.Call) and found.args else None), start
