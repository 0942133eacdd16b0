"""ARC0424: an operation that hands its input on unchanged.

What a parameter makes a no-op in one place (`dropout(p)` with `p = 0`) is meant: arguments count where they are written
as numbers, shapes where they come from the wire.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from archlang.elaborate.errors import warning
from archlang.ir.graph import Graph, Node
from archlang.verify.lints.links import Links
from archlang.verify.lints.sites import Site

__all__ = ["check"]

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[A-Za-z_]\w*(\s*=(?!=))?')
_NUMBER = re.compile(r"^[01](\.0*)?\s*[-+*/]|[-+*/]\s*[01](\.0*)?$")  # at an end of an infix expression
_LITERALS = frozenset(("true", "false", "none", "inf"))
_IDEMPOTENT = ("abs", "ceil", "floor", "relu", "relu6", "round", "sign")
_DROPOUTS = ("alpha_dropout", "drop_path", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout")


def check(links: Links) -> Iterator[Site]:
    for graph in links.program.graphs:
        for node in graph.nodes:
            rule = _RULES.get(node.op)
            if rule is None or node.span is None:
                continue
            why = _again(links, node) if node.op in _IDEMPOTENT else rule(node, node.attrs)
            if why is None or (node.op not in _IDEMPOTENT and not _written(graph, node)):
                yield node.span, None
                continue
            message = f"`{node.op}` changes nothing here: {why}"
            yield node.span, warning("ARC0424", message, node.span, help="remove it")


def _written(graph: Graph, node: Node) -> bool:
    """Whether the arguments are literals and names of free sizes, as far as the text shows."""
    assert node.span is not None
    text = node.span.text
    if node.op in ("mul", "add", "sub", "div", "pow") and not text.startswith(node.op):
        return _NUMBER.search(text) is not None
    if node.op == "index":
        text = text[text.rindex("[") :] if "[" in text else ""
    elif node.op not in text or "(" not in text:
        return True  # the bare name of the op, or a list that holds it
    else:
        text = text[text.index("(", text.index(node.op)) :]
    words = (m.group() for m in _WORD.finditer(text) if m.group(1) is None and not m.group().startswith('"'))
    flowing = {v.name for v in node.inputs}
    return all(w in _LITERALS or w in graph.symbols or w in flowing for w in words)


# -- rules: why the op does nothing, or None ---------------------------------------------------------------------------
_Rule = Callable[[Node, Mapping[str, Any]], "str | None"]


def _identity(node: Node, attrs: Mapping[str, Any]) -> str | None:
    span = node.span
    assert span is not None
    step = span.source.text[: span.start].rstrip().endswith("->")  # elsewhere it stands for "no module"
    return "it is the identity" if step or span.text.startswith("identity(") else None


def _permute(node: Node, attrs: Mapping[str, Any]) -> str | None:
    rank = len(attrs["dims"])
    return "every dimension stays where it is" if [d % rank for d in attrs["dims"]] == list(range(rank)) else None


def _transpose(node: Node, attrs: Mapping[str, Any]) -> str | None:
    rank = node.inputs[0].type.rank
    dims = [attrs[n] % rank for n in ("dim0", "dim1") if n in attrs]
    return "it swaps a dimension with itself" if len(dims) == 2 and dims[0] == dims[1] else None


def _same_shape(node: Node, attrs: Mapping[str, Any]) -> str | None:
    shape = node.inputs[0].type
    return f"the shape is {shape} already" if shape == node.outputs[0].type else None


def _same_type(node: Node, attrs: Mapping[str, Any]) -> str | None:
    return "the element type is that already" if node.inputs[0].type == node.outputs[0].type else None


def _dropout(node: Node, attrs: Mapping[str, Any]) -> str | None:
    return "nothing is dropped" if attrs.get("p", attrs.get("drop")) == 0 else None


def _pool(node: Node, attrs: Mapping[str, Any]) -> str | None:
    ones = all(n == 1 for n in (*attrs["kernel_size"], *attrs["stride"]))
    return "its window and stride are 1" if ones and not any(attrs["padding"]) else None


def _single(node: Node, attrs: Mapping[str, Any]) -> str | None:
    return "there is one wire" if len(node.inputs) == 1 else None


def _factor(neutral: int) -> _Rule:
    def rule(node: Node, attrs: Mapping[str, Any]) -> str | None:
        other = attrs.get("other")
        same = node.inputs[0].type == node.outputs[0].type
        number = isinstance(other, (int, float)) and not isinstance(other, bool) and other == neutral
        return f"the number is {neutral}" if len(node.inputs) == 1 and number and same and _right(node) else None

    return rule


def _right(node: Node) -> bool:
    return not node.attrs.get("reverse") or node.op in ("add", "mul")


def _sum(node: Node, attrs: Mapping[str, Any]) -> str | None:
    return _single(node, attrs) if attrs.get("other") is None else _factor(0)(node, attrs)


def _resized(node: Node, attrs: Mapping[str, Any]) -> str | None:
    return _same_shape(node, attrs) if len(node.inputs) == 1 else None


def _sliced(node: Node, attrs: Mapping[str, Any]) -> str | None:
    whole = all(isinstance(item, tuple) and item[2] in (None, 1) for item in attrs["items"])
    return "it takes all of the wire" if whole and node.inputs[0].type == node.outputs[0].type else None


def _rearranged(node: Node, attrs: Mapping[str, Any]) -> str | None:
    left, _, right = attrs["pattern"].partition("->")
    return "both sides of the pattern are the same" if left.split() == right.split() else None


def _one(name: str) -> _Rule:
    return lambda node, attrs: f"`{name}` is 1" if attrs[name] == 1 else None


def _roll(node: Node, attrs: Mapping[str, Any]) -> str | None:
    return "it shifts by 0" if not any(attrs["shifts"]) else None


def _again(links: Links, node: Node) -> str | None:
    made = links.maker(node.inputs[0])
    return f"its input is the result of `{node.op}`" if made is not None and made[0].op == node.op else None


def _pad(node: Node, attrs: Mapping[str, Any]) -> str | None:
    return "there is nothing to pad" if not any(attrs.get("pad", (1,))) else None


_RULES: dict[str, _Rule] = {
    "identity": _identity,
    "permute": _permute,
    "transpose": _transpose,
    "reshape": _same_shape,
    "flatten": _same_shape,
    "unflatten": _same_shape,
    "expand": _same_shape,
    "squeeze": _same_shape,
    "cast": _same_type,
    "maxpool": _pool,
    "avgpool": _pool,
    "concat": _single,
    "mean": _single,
    "pad": _pad,
    "mul": _factor(1),
    "div": _factor(1),
    "pow": _factor(1),
    "add": _sum,
    "interpolate": _resized,
    "index": _sliced,
    "rearrange": _rearranged,
    "channel_shuffle": _one("groups"),
    "pixel_shuffle": _one("upscale_factor"),
    "pixel_unshuffle": _one("downscale_factor"),
    "roll": _roll,
    "sub": _factor(0),
    **dict.fromkeys(_DROPOUTS, _dropout),
    **dict.fromkeys(_IDEMPOTENT, _single),
}
