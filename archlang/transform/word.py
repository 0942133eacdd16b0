"""Layers as letters: skipped, repeated or in another order."""

from __future__ import annotations

from archlang.elaborate.errors import fail
from archlang.ir.graph import Node
from archlang.optimize.clone import copy_node
from archlang.transform.base import Given, Parameter, transforms
from archlang.transform.sequence import counted, in_line, layers, shown
from archlang.transform.work import Work

__all__ = ["prefix", "word"]


@transforms("word", Parameter("path", "path"), Parameter("letters", "word"))
def word(work: Work, given: Given, path: str | list[str], letters: list[int]) -> str:
    """Runs the layers of a chain in the order of a word over their places: skipped, repeated, reordered.

    A layer that is repeated shares its weights; one that is skipped is gone (CoLa: Li et al., 2025).
    """
    run = layers(work, path, given.at("path"))
    in_line(run, given.at("path"))
    where = given.at("letters")
    for letter in letters:
        if not 0 <= letter < len(run.nodes):
            last = len(run.nodes) - 1
            fail("ARC0861", f"{run.text} has no layer {letter}", where, f"its layers are 0 to {last}")
    values, before = run.inputs, "the input"
    made: list[Node] = []
    for letter in letters:
        node, name = run.nodes[letter], run.names[letter]
        takes = run.streams(node)
        if [v.type for v in takes] != [v.type for v in values]:
            message = f"`{name}` takes {shown(takes)}, and {before} is {shown(values)}"
            fail("ARC0865", message, where, "these layers do not follow each other")
        again = copy_node(node, {id(v): v for v in node.inputs}, {}, {})
        again.inputs = (*values, *node.inputs[len(takes) :])
        work.proofs.inherit(node, again)
        made.append(again)
        values, before = again.outputs, f"what `{name}` gives"
    if [v.type for v in values] != [v.type for v in run.outputs]:
        message = f"the layers gave {shown(run.outputs)}, and would give {shown(values)}"
        fail("ARC0865", message, where, "the type of the result must stay")
    graph, place = run.graph, max(run.graph.nodes.index(n) for n in run.nodes)
    graph.nodes[place + 1 : place + 1] = made
    edit = work.editor(graph)
    for old, new in zip(run.outputs, values, strict=True):
        edit.replace(old, new)
    gone = [name for i, name in enumerate(run.names) if i not in letters]
    repeated = len(letters) - len(set(letters))
    return _effect(run.text, len(run.nodes), len(letters), len(gone), repeated, letters == sorted(letters))


@transforms("prefix", Parameter("path", "path"), Parameter("count", "int"))
def prefix(work: Work, given: Given, path: str | list[str], count: int) -> str:
    """Keeps the first layers of a chain (a SortedNet's smaller depths: Valipour et al., 2023)."""
    if count < 1:
        fail("ARC0861", f"`prefix` keeps one layer at least, not {count}", given.at("count"))
    return word(work, Given(given.span, {**given.spans, "letters": given.at("count")}), path, list(range(count)))


def _effect(text: str, before: int, after: int, skipped: int, repeated: int, in_order: bool) -> str:
    if not skipped and not repeated and in_order:
        return f"{text} runs its {before} layers as before: the same function"
    parts = [f"{text} ran {counted(before, 'layer')} and runs {after}"]
    if skipped:
        parts.append(f"{skipped} skipped")
    if repeated:
        parts.append(f"{repeated} repeated with shared weights")
    return ", ".join(parts) + ": another function"
