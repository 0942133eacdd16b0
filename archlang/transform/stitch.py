"""The front of one network and the back of another, with a layer between them."""

from __future__ import annotations

import os

from archlang.elaborate import elaborate, load
from archlang.elaborate.errors import fail
from archlang.ir.graph import Graph, Output, Port, Program, TensorType, Value
from archlang.ir.paths import join
from archlang.optimize.clone import clone
from archlang.optimize.weights import within
from archlang.records import replace
from archlang.report.diagnostic import Source, Span
from archlang.shapes.dim import Size
from archlang.syntax import tree
from archlang.syntax.parser import parse_expression
from archlang.syntax.source import read_file
from archlang.transform.base import SOURCE, Given, Parameter, transforms
from archlang.transform.extract import end
from archlang.transform.sequence import shown
from archlang.transform.splice import elaborated, placed, splice
from archlang.transform.trim import trim
from archlang.transform.work import Work, fixed

__all__ = ["stitch"]

_FRONT, _LAYER, _BACK = "a", "stitch", "b"


@transforms(
    "stitch",
    Parameter("other", "design"),
    Parameter("cut", "name"),
    Parameter("other_cut", "name"),
    Parameter("layer", "module", None),
)
def stitch(work: Work, given: Given, other: str | tree.Expr, cut: str, other_cut: str, layer: tree.Expr | None) -> str:
    """Runs this network up to a layer, a layer of 1 x 1, and another network behind a layer (Pan et al., 2023).

    other: a block of the spec, or the path of a spec, `net.arch` or `net.arch:block`; it takes the same inputs. layer:
    what leads from the one's type to the other's, by default a convolution of 1 x 1, or a linear layer. Keys begin with
    `a.`, `stitch.` and `b.`.
    """
    root, name = work.root, work.root.block
    end(work, cut, given.at("cut"))
    work.finish(given.at("cut"))
    work.open(root)
    program = _other(work, other, given.at("other"))
    sizes = _same_inputs(root, program.root, given.at("other"))
    behind = Work(program, work.fragments)
    entry = _behind(behind, other_cut, given.at("other_cut"))
    back = behind.root
    for graph, prefix, changes in ((root, _FRONT, work.changes), (back, _BACK, behind.changes)):
        _move(graph, prefix)
        changes[id(graph)] = [within(change, prefix) for change in changes.get(id(graph), ())]
    (result,) = root.results
    wanted = entry.type.at(sizes)
    expr = layer or _between(result.type, wanted, given)
    made = elaborated(work, expr, [result], ([None], 0), [wanted], f"{cut} -> {other_cut}", given.at("layer"))
    values = splice(work, root, len(root.nodes), made, [result], lambda path: placed(path, _LAYER))
    work.adopt(back)
    outputs = [Output(o.values, o.name, o.kind, o.training) for o in back.outputs]
    results = iter(splice(work, root, len(root.nodes), back, values, lambda path: path, sizes))
    root.outputs = [Output(tuple(next(results) for _ in o.values), o.name, o.kind, o.training) for o in outputs]
    first = {node.path: i for i, node in reversed(list(enumerate(root.nodes)))}
    root.children = dict(sorted(root.children.items(), key=lambda item: first.get(item[0], len(first))))
    work.absorb(behind)
    root.block = f"{name}_{back.block}"
    root.name = work.name(root.block)
    work.sources = (f"{_FRONT}.*", f"{_BACK}.*")
    return (
        f"`{name}` up to `{cut}`, `{expr.span.text}` from {shown([result])} to `{wanted}`, "
        f"and `{back.block}` behind `{other_cut}`: another function"
    )


def _other(work: Work, other: str | tree.Expr, where: Span) -> Program:
    """The program of the other design."""
    if not isinstance(other, str):
        return clone(work.fragments.design(other).program)
    path, _, entry = other.partition(":")
    if not os.path.isfile(path):
        fail("ARC0861", f"there is no file `{path}`", where, "neither a spec nor a block of this one")
    limits = work.fragments.limits
    module = load(read_file(path, limits.source_bytes), limits)
    done = elaborate(module, entry or None, None, limits)
    work.fragments.warnings += done.warnings
    return clone(done.program)


def _same_inputs(a: Graph, b: Graph, where: Span) -> dict[str, Size]:
    """The other network's sizes in terms of this one's: it takes the same inputs."""
    ours, theirs = (graph.entries for graph in (a, b))
    sizes: dict[str, Size] = {}
    alike = len(ours) == len(theirs)
    for x, y in zip(ours, theirs, strict=False):
        alike &= x.type.dtype == y.type.dtype and x.type.rank == y.type.rank
        for n, m in zip(x.type.shape, y.type.shape, strict=False):
            if not isinstance(m, int) and m.as_symbol:
                m = sizes.setdefault(m.as_symbol, n)
            alike &= m == n
    if not alike:
        message = f"`{a.block}` takes {shown(ours)}, and `{b.block}` {shown(theirs)}"
        fail("ARC0865", message, where, "not the same inputs")
    return sizes


def _behind(work: Work, cut: str, where: Span) -> Value:
    """Leaves of the network what follows a layer; the value that stands for what the layer gave, now its one input."""
    place = work.find(cut, where)
    path = ""
    for _, step in place.above:
        path = join(path, step)
        calls = [n for n in work.root.nodes if n.path == path]
        if len(calls) != 1:
            fixed(path, "is applied several times", where)
        work.editor(work.root).inline(calls[0])
    root = work.root
    runs = [n for n in root.nodes if n.path == cut or (n.path or "").startswith(f"{cut}.")]
    if not runs or len(runs[-1].outputs) != 1:
        fail("ARC0869", f"`{cut}` does not give one value", where, "nothing to put another network's in the place of")
    old = runs[-1].outputs[0]
    entry = Value(old.type, old.name)
    work.editor(root).replace(old, entry)
    root.inputs.append(Port("stitched", (entry,)))
    trim(work, where)
    read = {id(v) for node in root.nodes for v in node.inputs} | {id(v) for v in root.results}
    for port in root.inputs[:-1]:
        if any(id(v) in read for v in port.values):
            message = f"what follows `{cut}` reads `{port.name}`, the network's input, in another way, too"
            fail("ARC0869", message, where, "not all goes through here", help="cut where all goes through one layer")
    root.inputs = root.inputs[-1:]
    work.finish(where)
    work.open(root)
    return entry


def _move(graph: Graph, prefix: str) -> None:
    """Puts all that a graph owns under a path."""
    for node in graph.nodes:
        node.path = None if node.path is None else join(prefix, node.path)
        node.modules = {slot: join(prefix, path) for slot, path in node.modules.items()}
    for child in graph.children.values():
        child.path = join(prefix, child.path)
    graph.children = {child.path: child for child in graph.children.values()}
    named = ((join(prefix, path), decl) for path, decl in graph.weights.items())
    graph.weights = {path: replace(decl, name=path) for path, decl in named}
    graph.aliases = {join(prefix, path): join(prefix, target) for path, target in graph.aliases.items()}


def _between(a: TensorType, b: TensorType, given: Given) -> tree.Expr:
    """A layer of 1 x 1 from one type to the other: over dimension 1 of images, over the last one of tokens."""
    axes = [i for i, (n, m) in enumerate(zip(a.shape, b.shape, strict=False)) if n != m]
    image = a.rank > 3 or axes == [1]
    axis = 1 if image and a.rank > 2 else a.rank - 1
    if a.rank != b.rank or a.rank < 2 or axes not in ([], [axis]) or not isinstance(b.shape[axis], int):
        message = f"`{given.at('cut').text}` gives `{a}`, and behind `{given.at('other_cut').text}` goes `{b}`"
        fail("ARC0865", message, given.span, "no layer of 1 x 1 leads there", help="give one: `layer=...`")
    layer = f"conv({b.shape[axis]}, 1)" if axis == 1 and a.rank > 2 else f"linear({b.shape[axis]})"
    return parse_expression(Source(SOURCE, layer))
