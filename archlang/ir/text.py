"""The text form of a program (`archc compile --emit ir`): a section per graph, callees first, a line per node.

Byte-stable: it depends on the program alone. Values carry the author's names, numbered where they repeat.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from archlang.ir.graph import Attr, Child, Graph, Init, Node, Output, Port, Program, Proof, Value, WeightDecl
from archlang.report.diagnostic import Span
from archlang.shapes.dim import Dim, Size, size_str

__all__ = ["attr_str", "graph_text", "to_text", "value_names"]

_BARE = re.compile(r"[A-Za-z0-9_.]+")


def to_text(program: Program, *, spans: bool = False) -> str:
    """The whole program. With `spans`, lines end in `# file:line:column`."""
    head = f"program {_bare(program.root.name)}\n"
    return "\n".join([head, *(graph_text(graph, spans=spans) for graph in program.graphs)])


def graph_text(graph: Graph, *, spans: bool = False) -> str:
    """One section: header, ports, weights and children, nodes, outputs."""
    names = value_names(graph)
    lines = [_located(_header(graph), graph.span, spans)]
    for text, span in _body(graph, names):
        lines.append(_located("  " + text, span, spans))
    return "\n".join(lines) + "\n"


def value_names(graph: Graph) -> dict[int, str]:
    """A unique name for every value of a graph, by `id(value)`: the author's, else the child's label, else the op's."""
    names: dict[int, str] = {}
    used: dict[str, int] = {}

    def name(value: Value, fallback: str) -> None:
        base = re.sub(r"\W", "_", value.name or fallback)
        text, n = base, used.get(base, 0)
        while text in used:
            n += 1
            text = f"{base}_{n + 1}"
        used[base] = n
        used.setdefault(text, 0)
        names[id(value)] = text

    for port in graph.inputs:
        for value in port.values:
            name(value, port.name)
    for node in graph.nodes:
        for value in node.outputs:
            name(value, node.path or node.op)
    return names


def attr_str(attr: Attr) -> str:
    """An attribute as it is printed: Python literals, sizes as in types, initialisers as calls."""
    if isinstance(attr, tuple):
        return "(" + ", ".join(attr_str(a) for a in attr) + ("," if len(attr) == 1 else "") + ")"
    if isinstance(attr, Dim):
        return size_str(attr)
    if isinstance(attr, Init):
        inner = ", ".join(f"{name}={attr_str(value)}" for name, value in attr.args)
        return f"{attr.name}({inner})" if inner else attr.name
    return repr(attr)


# -- lines -------------------------------------------------------------------------------------------------------------
def _header(graph: Graph) -> str:
    marks = [m for m, on in (("sequential", graph.sequential), ("reversible", graph.reversible)) if on]
    params = ", ".join(f"{name}={attr_str(value)}" for name, value in graph.params.items())
    symbols = f" [{', '.join(graph.symbols)}]" if graph.symbols else ""
    return " ".join([*marks, f"graph {_bare(graph.name)}: {_bare(graph.block)}({params}){symbols}"])


def _body(graph: Graph, names: Mapping[int, str]) -> Iterator[tuple[str, Span | None]]:
    for constraint in graph.constraints:
        phase = f" in {constraint.phase}" if constraint.phase else ""
        yield f"require {constraint}{phase}: {_one_line(constraint.reason)}", constraint.span
    for port in graph.inputs:
        yield _port(port, names), None
    for path, decl in graph.weights.items():
        yield _weight(path, decl), decl.span
    run = {node.path: node.attrs for node in graph.nodes if node.path is not None}
    for word, children in (("borrow", graph.borrowed), ("child", graph.children)):
        for child in children.values():
            yield from _child(word, child, shown=run.get(child.path) == child.attrs)
    for second, first in graph.aliases.items():
        yield f"alias {_bare(second)} = {_bare(first)}", None
    for node in graph.nodes:
        yield _node(node, names), node.span
    yield "return " + ", ".join(_output(output, names) for output in graph.outputs), None
    if graph.proof is not None:
        yield from _proof(graph.proof, names)


def _port(port: Port, names: Mapping[int, str]) -> str:
    word = "context" if port.context else "input"
    if port.kind == "tensor" and len(port.values) == 1:
        return f"{word} {_typed(port.values[0], names)}"
    return f"{word} {port.name}: {port.kind}({', '.join(_typed(v, names) for v in port.values)})"


def _weight(path: str, decl: WeightDecl) -> str:
    dims = ", ".join(str(n) for n in decl.shape)
    shape = f"[{dims}]" if decl.dtype == "float" else f"{decl.dtype}[{dims}]"
    init = f" = {attr_str(decl.init)}" if decl.init is not None else ""
    marks = [] if decl.trainable or decl.kind == "buffer" else ["frozen"]
    marks += [] if decl.persistent else ["not persistent"]
    marks += [decl.constraint] if decl.constraint else []
    word = "weight" if decl.kind == "parameter" else decl.kind
    return ", ".join([f"{word} {_bare(path)}: {shape}{init}", *marks])


def _child(word: str, child: Child, *, shown: bool) -> Iterator[tuple[str, Span | None]]:
    """`shown`: the node that runs the child has the same attributes."""
    what = _bare(child.graph.name) if child.graph is not None else child.op
    times = f" x {child.count}" if child.count > 1 else ""
    yield f"{word} {_bare(child.path)}: {what}{times}{'' if shown else _attrs(child.attrs)}", child.span
    for decl in child.weights:
        yield "  " + _weight(decl.name, decl), decl.span


def _node(node: Node, names: Mapping[int, str]) -> str:
    what = f"call {_bare(node.callee.name)}" if node.callee is not None else node.op
    what = f"inverse {what}" if node.inverted else f"log_det {what}" if node.log_det else what
    text = f"{what}({', '.join('%' + names.get(id(v), '?') for v in node.inputs)})"
    if node.path is not None:
        text += f" @{_bare(node.path)}"
    if node.count > 1:
        text += f" x {node.count}"
    if node.sizes:
        text += " [" + ", ".join(f"{name}={size_str(size)}" for name, size in node.sizes.items()) + "]"
    if node.modules:
        text += " with " + ", ".join(f"{_bare(slot)}=@{_bare(path)}" for slot, path in node.modules.items())
    text += _attrs(node.attrs)
    if node.phase is not None:
        text += f" in {node.phase}"
    return f"{', '.join(_typed(v, names) for v in node.outputs)} = {text}"


def _proof(proof: Proof, names: Mapping[int, str]) -> Iterator[tuple[str, Span | None]]:
    """A line for the whole, then one a step: what is consumed -> what is made."""
    notes = [*(f"given {h}" for h in proof.hypotheses), *proof.effects]
    tolerance = f" up to {proof.tolerance:g}" if proof.tolerance is not None else ""
    yield "; ".join([f"proof {proof.grade}{tolerance}", *notes]), None
    for step in proof.steps:
        sides = [", ".join("%" + names.get(id(v), "?") for v in side) for side in (step.consumed, step.made)]
        yield f"  {step.kind} {' -> '.join(side for side in sides if side)}", step.span


def _output(output: Output, names: Mapping[int, str]) -> str:
    values = ", ".join("%" + names.get(id(v), "?") for v in output.values)
    text = values if output.kind == "tensor" else f"{output.kind}({values})"
    text = f"{output.name}={text}" if output.name else text
    return f"training {text}" if output.training else text


# -- pieces ------------------------------------------------------------------------------------------------------------
def _typed(value: Value, names: Mapping[int, str]) -> str:
    return f"%{names[id(value)]}: {value.type}"


def _attrs(attrs: Mapping[str, Attr | Size]) -> str:
    shown = [f"{name}={attr_str(value)}" for name, value in attrs.items() if value is not None]
    return f" {{{', '.join(shown)}}}" if shown else ""


def _bare(path: str) -> str:
    """A path as it stands, quoted where it holds anything but letters, digits, `_` and `.`."""
    return path if _BARE.fullmatch(path) else repr(path)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _located(line: str, span: Span | None, spans: bool) -> str:
    return f"{line}  # {span}" if spans and span is not None else line
