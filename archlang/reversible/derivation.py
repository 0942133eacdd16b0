"""A program's proofs as text (`archc check --proof`): statement by statement, each with the text that undoes it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from archlang.ir.graph import Graph, Node, Program, Step, Value
from archlang.ops.base import registry
from archlang.reversible.conditioning import report
from archlang.reversible.effects import total
from archlang.reversible.exact import grid_of
from archlang.reversible.kept import anchors_text
from archlang.reversible.prove import proved, refusal

__all__ = ["proof_text"]

Names = Mapping[int, str]  # id of a stream's value -> what the statement that made it calls it

_FLIPPED = {"+": "-", "-": "+", "*": "/", "/": "*"}
_AFFINE = re.compile(r"(?P<left>[\w.\[\]]+) = (?P<k>.+) \* (?P=left) (?P<op>[-+]) (?P<e>.+)")
_UPDATE = re.compile(r"(?P<left>[^=+*/-]+?)\s*(?P<op>[-+*/])=\s*(?P<right>.+)", re.DOTALL)


def proof_text(program: Program) -> str:
    """The derivation of every distinct reversible block, callers first; then what the whole design is."""
    lines: list[str] = []
    shown: set[tuple[str, ...]] = set()
    for graph in reversed(program.graphs):
        if graph.proof is not None and (graph.reversible or graph is program.root):
            head, *rest = _derivation(graph)
            if (graph.block, *rest) not in shown:  # the same at other sizes
                lines += [head, *rest, ""]
            shown.add((graph.block, *rest))
    lines += [*report(program), *anchors_text(program)]
    whole = proved(program.root)
    if whole is None:
        reason = refusal(program.root)
        lines.append(f"{program.root.block} as a whole is not reversible: {reason.message if reason else ''}")
    else:
        lines.append(f"{program.root.block} as a whole is {whole.grade}")
    return "\n".join([*lines, ""])


def _derivation(graph: Graph) -> Iterator[str]:
    proof = graph.proof
    assert proof is not None
    streams = ", ".join(f"{name}: {v.type}" for name, v in _streams(graph))
    context = ", ".join(f"{v.name}: {v.type}" for port in graph.inputs if port.context for v in port.values)
    yield f"{graph.name}({streams}{'; ' + context if context else ''}) is {proof.grade}"
    names = {id(v): name for name, v in _streams(graph)}
    names.update((id(v), name) for step in proof.steps for v, name in zip(step.made, step.names, strict=True))
    rows = [(_statement(group), _undone(group, names)) for group in _statements(proof.steps)]
    wide = min(max((len(left) for left, _ in rows), default=0), 56)
    for number, (left, right) in enumerate(rows, 1):
        yield f"  {number:>3}  {left:<{wide}}   undone by  {right}"
    hypotheses, effects = total(graph)
    yield from (f"  given that {text}" for text in hypotheses)
    yield from (f"  {text}" for text in effects)
    if proof.tolerance is not None:
        yield f"  up to a relative error of {proof.tolerance:g} where an inverse is iterated"
    bits = grid_of(graph)
    yield f"  exact, bit for bit, on multiples of 2**-{bits}" if bits else "  in floating point, up to rounding"


def _streams(graph: Graph) -> Iterator[tuple[str, Value]]:
    for port in graph.inputs:
        if not port.context:
            for i, value in enumerate(port.values):
                yield (f"{port.name}[{i}]" if port.kind == "tensors" else port.name), value


def _statements(steps: tuple[Step, ...]) -> Iterator[list[Step]]:
    """Steps of one statement together."""
    group: list[Step] = []
    for step in steps:
        other = bool(group) and step.names != group[-1].names and "[" in "".join((*step.names, *group[-1].names))
        if group and (step.span != group[0].span or step.span is None or other):  # `other`: another iteration
            yield group
            group = []
        group.append(step)
    if group:
        yield group


def _statement(steps: list[Step]) -> str:
    first = steps[0]
    if first.span is None:
        return " ".join([", ".join(first.names), "<-", _what(first.node)])
    text = _one_line(first.span.text)
    names = ", ".join(steps[-1].names)
    return text if all(name in text for name in steps[-1].names) or "[" not in names else f"{names}: {text}"


def _undone(steps: list[Step], names: Names) -> str:
    """The inverse of a statement, in the language's own words."""
    text = _one_line(steps[0].span.text) if steps[0].span is not None else ""
    update = _UPDATE.fullmatch(text)
    if update is not None and len(steps) == 1 and steps[0].kind == "update":
        return f"{steps[0].names[0]} {_FLIPPED[update['op']]}= {update['right']}"
    affine = _AFFINE.fullmatch(text)
    if (
        affine is not None
        and [step.node.op for step in steps if step.node is not None][:1] == ["mul"]
        and len(steps) == 2
    ):
        name = steps[-1].names[0]
        return f"{name} = ({name} {_FLIPPED[affine['op']]} {_grouped(affine['e'])}) / {_grouped(affine['k'])}"
    return "; ".join(_undo(step, names) for step in reversed(steps))


def _grouped(text: str) -> str:
    """The text as one operand."""
    head = re.match(r"[\w.\[\]]*", text)
    rest = text[head.end() :] if head is not None else text
    depth = 0
    for place, char in enumerate(rest):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return text if place == len(rest) - 1 else f"({text})"
    return text if not rest else f"({text})"


def _undo(step: Step, names: Names) -> str:
    made, node = ", ".join(step.names), step.node
    if node is None:
        return f"drop {made}"
    if step.kind == "update":
        return f"{made} = {_arithmetic(step, node, made)}"
    if step.kind == "contraction":
        branch = ", ".join(v.name or "f" for v in node.inputs if v is not step.consumed[0])
        return f"{_named(step.consumed, names)} = {made} - {branch}({_named(step.consumed, names)}), iterated"
    if step.kind == "split":
        return f"{_named(step.consumed, names) or '_'} = {'stack' if node.op == 'unbind' else 'concat'}([{made}])"
    if step.kind == "concat":
        return f"{_named(step.consumed, names)} = {'unbind' if node.op == 'stack' else 'split'}({made})"
    back = _what(node)
    if node.op == "extern":
        back = str(node.attrs["target" if node.inverted else "inverse"])
    elif node.callee is None and not node.inverted:
        found = registry()[node.op].bijection([v.type for v in node.inputs], node.attrs)
        back = found.inverse[0] if found is not None and found.inverse is not None else f"~{back}"
    else:
        back = back.removeprefix("~") if node.inverted else f"~{back}"
    return (
        f"{_named(step.consumed, names)} = ({made}) -> {back}"
        if len(step.names) > 1
        else f"{_named(step.consumed, names)} = {made} -> {back}"
    )


def _arithmetic(step: Step, node: Node, made: str) -> str:
    index = next(i for i, v in enumerate(node.inputs) if v is step.consumed[0])
    undo = registry()[node.op].undo(node.attrs, index)
    assert undo is not None
    sign = {"add": "+", "sub": "-", "mul": "*", "div": "/"}[undo.op]
    others = [_text(v) for i, v in enumerate(node.inputs) if i != index]
    other = node.attrs.get("other")
    if other is not None:
        others = [str(other)]
    if undo.swapped or undo.attrs.get("reverse"):
        return f"{others[0]} {sign} {made}"
    return f" {sign} ".join([made, *others])


def _text(value: Value) -> str:
    return value.name or "e"


def _named(values: tuple[Value, ...], names: Names) -> str:
    return ", ".join(names.get(id(v)) or v.name or "_" for v in values)


def _what(node: Node | None) -> str:
    if node is None:
        return ""
    name = node.path or (node.callee.block if node.callee is not None else node.op)
    run = f"{name} and the {node.count - 1} after it" if node.count > 1 else name
    return f"~{run}" if node.inverted else run


def _one_line(text: str) -> str:
    return " ".join(text.split())
