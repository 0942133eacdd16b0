"""Parts of a network: up to one of its results, up to a layer, or with one input of each join."""

from __future__ import annotations

from archlang.elaborate.errors import fail
from archlang.ir.graph import Node, Output, Value
from archlang.ir.paths import join
from archlang.report.diagnostic import Span
from archlang.report.suggest import did_you_mean
from archlang.transform.base import Given, Parameter, transforms
from archlang.transform.sequence import counted, shown
from archlang.transform.trim import trim
from archlang.transform.work import Place, Work

__all__ = ["at", "end", "only", "pick"]


@transforms("only", Parameter("output", "output"))
def only(work: Work, given: Given, output: str | int) -> str:
    """Keeps one of the network's results, by name or by place, and what it needs."""
    where, root = given.at("output"), work.root
    named = {o.name: o.values for o in root.outputs if o.name and len(o.values) == 1}
    plain = [v for o in root.outputs if not o.training for v in o.values]
    if isinstance(output, str) and output not in named:
        known = ", ".join(f"`{name}`" for name in named)
        help = did_you_mean(output, named) or (f"there are {known}" if known else "they have no names: count them")
        fail("ARC0867", f"`{root.block}` has no result `{output}`", where, "no such result", help=help)
    if isinstance(output, int) and not 0 <= output < len(plain):
        fail("ARC0867", f"`{root.block}` has no result {output}", where, f"it has {len(plain)}, counted from 0")
    value = named[output][0] if isinstance(output, str) else plain[output]
    makers = {id(v): node for node in root.nodes for v in node.outputs}
    node = makers.get(id(value))
    if node is not None and value in _training(node):
        fail("ARC0867", f"`{output}` exists in training only", where, "what is kept must exist in evaluation, too")
    count = len(root.results)
    root.outputs = [Output((value,))]
    trim(work, given.span)
    return f"one result of {count} is left, {shown([value])}; it is what it was"


def _training(node: Node) -> list[Value]:
    """The results of a node that exist in training only."""
    if node.phase == "train":
        return list(node.outputs)
    if node.callee is None or node.inverted or node.log_det:
        return []
    flags = [o.training for o in node.callee.outputs for _ in o.values]
    return [v for v, only in zip(node.outputs, flags, strict=True) if only]


@transforms("at", Parameter("path", "name"))
def at(work: Work, given: Given, path: str) -> str:
    """Ends the network after a layer, or at a value that the spec names: an early exit.

    Where a layer runs several times, after the last time. In a path, the name of a value stands for the block's value
    that had the name last.
    """
    end(work, path, given.at("path"))
    kept = work.root.results
    return f"ends at `{path}`, which gives {shown(kept)}: what followed is gone"


def end(work: Work, path: str, where: Span) -> None:
    """Makes what stands under a path the network's results, and takes away what they do not need."""
    place, values = _values(work, path, where)
    if not values:
        fail("ARC0867", f"`{path}` gives no result of its own", where, "nothing runs under this path in evaluation")
    work.give(place, values, where)
    trim(work, where)


def _values(work: Work, path: str, where: Span) -> tuple[Place, list[Value]]:
    """What stands under a path, or is called so there."""
    if work.has(path):
        place = work.find(path, where)
        stem = f"{place.path}."
        runs = [n for n in place.graph.nodes if n.path == place.path or (n.path or "").startswith(stem)]
        return place, [v for v in runs[-1].outputs if v not in _training(runs[-1])] if runs else []
    head, _, last = path.rpartition(".")
    if head and not work.has(head):
        work.unknown(path, where)
    place = work.inside(head, where)
    found = [v for node in place.graph.nodes if node.phase is None for v in node.outputs if v.name == last]
    if not found:
        work.unknown(path, where)
    return place, found[-1:]


@transforms("pick", Parameter("pattern", "name"), Parameter("index", "int"))
def pick(work: Work, given: Given, pattern: str, index: int) -> str:
    """Puts one of its inputs in place of each layer that matches: of a fractal network's joins, one column.

    pattern: a path in which `*` is any part of a name, and `**` any number of names. index: of the input, from 0; from
    the end, where it is negative. Layers that have no such input stay.
    """
    done = kept = 0
    for path in work.matching(pattern, given.at("pattern")):
        place = work.find(path, given.at("pattern"))
        edit = work.editor(place.graph)
        for node in place.nodes:
            streams = _streams(node)
            if not -len(streams) <= index < len(streams) or len(node.outputs) != 1:
                kept += 1
                continue
            chosen = streams[index]
            if chosen.type != node.outputs[0].type:
                name = join(place.prefix, place.path)
                message = f"input {index} of `{name}` is {shown([chosen])}, and it gives {shown(node.outputs)}"
                fail("ARC0865", message, given.at("pattern"), "this layer changes types")
            edit.merge(node, chosen)
            done += 1
    if not done:
        fail("ARC0861", f"no layer that matches has an input {index}", given.at("index"), "out of range for all")
    trim(work, given.span)
    left = f", {kept} have none and stay" if kept else ""
    return f"input {index} in place of {counted(done, 'layer')}{left}: another function"


def _streams(node: Node) -> list[Value]:
    """A layer's inputs that are no context."""
    if node.callee is None:
        return list(node.inputs)
    context = [port.context for port in node.callee.inputs for _ in port.values]
    return [v for v, aside in zip(node.inputs, context, strict=True) if not aside]
