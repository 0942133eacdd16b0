"""ARC0427: a sum of a normalised wire and one that is not.

Two forms are reported, where dropout and reshaping between do not count: `x + norm(x)`; and `norm(..) + layer(..)`, two
branches of which one ends in a norm, the other in a layer with weights (a shortcut's projection without its norm).
Neither may be computed from the other: a stream and a branch of it differ in scale by design, before and after a norm.
Nor where an initialiser chose the scale: a norm whose weight starts at another value than one (zero for the last norm
of a branch, a small number as in LayerScale), a layer that starts at zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from archlang.elaborate.errors import warning
from archlang.ir.graph import Init, Node, Value
from archlang.report.diagnostic import Diagnostic
from archlang.verify.lints.links import Links
from archlang.verify.lints.norms import KEEP_SCALE, NORMS, WEIGHTED
from archlang.verify.lints.sites import Site

__all__ = ["check"]


_MOST = 4  # wires of a sum: more are no residual


def check(links: Links) -> Iterator[Site]:
    for graph in links.program.graphs:
        for node in graph.nodes:
            if node.op == "add" and 2 <= len(node.inputs) <= _MOST and node.span is not None:
                pairs = combinations(node.inputs, 2)
                yield node.span, next((d for pair in pairs if (d := _judged(links, node, pair)) is not None), None)


def _judged(links: Links, node: Node, pair: tuple[Value, Value]) -> Diagnostic | None:
    left, right = (_source(links, value) for value in pair)
    for normed, other in ((left, right), (right, left)):
        norm = links.makers.get(id(normed))
        if norm is None or norm.op not in NORMS or _start(norm) not in (None, 1):
            continue
        if _source(links, norm.inputs[0]) is other:
            return _finding(node, norm, None)
        layer = links.makers.get(id(other))
        if layer is None or layer.op not in WEIGHTED or _start(layer) == 0:
            continue
        if not _leads(links, *pair) and not _leads(links, *reversed(pair)):
            return _finding(node, norm, layer)
    return None


def _start(node: Node) -> object:
    """The value that all of a layer's weight begins with; None for its own default, and for values that differ."""
    init = node.attrs.get("init")
    if not isinstance(init, Init):
        return None
    return {"zeros": 0, "ones": 1}.get(init.name, dict(init.args).get("value") if init.name == "constant" else None)


def _leads(links: Links, start: Value, end: Value) -> bool:
    """Whether `end` is computed from `start`, or from what `start` is but for its shape and dropout."""
    starts = {id(start)}
    while (node := links.makers.get(id(start))) is not None and node.op in KEEP_SCALE:
        start = node.inputs[0]
        starts.add(id(start))
    stack, seen = [end], set()
    while stack:
        value = stack.pop()
        if id(value) in starts:
            return True
        node = links.makers.get(id(value))
        if node is not None and id(node) not in seen:
            seen.add(id(node))
            stack.extend(node.inputs)
    return False


def _source(links: Links, value: Value) -> Value:
    """Back through what keeps the scale, and into blocks that were called."""
    while True:
        node = links.makers.get(id(value))
        if node is None:
            return value
        if node.callee is not None and not (node.inverted or node.log_det):
            inner = node.callee.results
            ended = inner[next(i for i, v in enumerate(node.outputs) if v is value)]
            back = _source(links, ended)
            ports = node.callee.entries
            at = next((i for i, v in enumerate(ports) if v is back), None)
            if at is None or node.count > 1:
                return back
            value = node.inputs[at]
        elif node.op in KEEP_SCALE:
            value = node.inputs[0]
        else:
            return value


def _finding(node: Node, norm: Node, layer: Node | None) -> Diagnostic:
    assert node.span is not None
    marks = [(norm.span, f"normalised by `{norm.op}`")]
    if layer is None:
        message = f"this adds a wire and the same wire after `{norm.op}`"
        help = "put a layer between the norm and the sum, or add one of the two"
    else:
        message = f"one side of this sum is the result of `{norm.op}`, the other of `{layer.op}` without a norm"
        help = f"normalise both sides or neither: the scale of `{layer.op}` is that of its weights"
        marks.append((layer.span, "not normalised"))
    related = [(span, text) for span, text in marks if span is not None and span != node.span]
    return warning("ARC0427", message, node.span, "", related=related, help=help)
