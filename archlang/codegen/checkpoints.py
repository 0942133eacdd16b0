"""Parts of a forward that are evaluated again in the backward pass, by torch.utils.checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from archlang.codegen import exprs as py
from archlang.codegen.body import LAYER, Loop, Method, Step
from archlang.codegen.names import identifier
from archlang.ir.graph import Graph, Node, Output, Port
from archlang.ops.code import Helper

if TYPE_CHECKING:
    from archlang.codegen.builder import _Builder

__all__ = ["CHECKPOINT", "IN_TURN", "ONCE", "STRETCHES", "Segment", "Segments", "checkpointed"]

_ONCE = '''\
class Once:
    """A context, for as often as it is entered, which leaves buffers as they are.

    Statistics, and what has changed since it was made, go to copies within it.
    """

    def __init__(self, *modules: nn.Module) -> None:
        parts = [m for module in modules for m in module.modules() if m.training]
        there = [(m, *b) for m in parts for b in m.named_buffers(recurse=False)]
        self.before = [(m, name, b, b._version) for m, name, b in there]
        self.now: list[tuple[nn.Module, str, Tensor]] = []

    def __enter__(self) -> None:
        self.now = [
            (m, name, getattr(m, name))
            for m, name, b, version in self.before
            if hasattr(m, "track_running_stats")  # they change without a new version
            or getattr(m, name) is not b
            or b._version != version
        ]
        for m, name, b in self.now:
            m._buffers[name] = b.clone()

    def __exit__(self, *_: object) -> None:
        for m, name, b in self.now:
            m._buffers[name] = b


def once(*modules: nn.Module) -> dict[str, Any]:
    """For `checkpoint`: the second evaluation writes to no buffers of the modules.

    torch.compile sees to that by itself.
    """
    if torch.compiler.is_compiling():
        return {}
    return {"context_fn": lambda: (nullcontext(), Once(*modules))}
'''

_IN_TURN = '''\
def in_turn(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Each layer on what the one before it gave."""
    for layer in layers:
        x = layer(x)
    return x
'''

_STRETCHES = '''\
def stretches(layers: Iterable[nn.Module], size: int) -> list[list[nn.Module]]:
    """The layers in lists of `size`."""
    found = list(layers)
    return [found[i : i + size] for i in range(0, len(found), size)]
'''

# Stands for the import in bodies.
CHECKPOINT = Helper("checkpoint", "", defines=("checkpoint",))
ONCE = Helper("once", _ONCE, defines=("Once", "once", "Any", "nullcontext"))
IN_TURN = Helper("in_turn", _IN_TURN, defines=("in_turn", "Iterable"))
STRETCHES = Helper("stretches", _STRETCHES, defines=("stretches", "Iterable"))


@dataclass(frozen=True)
class Segment:
    """The nodes of a graph from `start` to before `stop`, of which the backward pass evaluates all again.

    every: of one node that applies several modules in a row, so many of them at a time (0: all).
    """

    start: int
    stop: int
    every: int = 0


Segments = Mapping[int, Sequence[Segment]]  # by the ids of graphs


def checkpointed(b: _Builder, segment: Segment) -> Step | Loop:
    """The statement that runs a segment."""
    nodes = b.graph.nodes[segment.start : segment.stop]
    b.shared.help((CHECKPOINT,))
    if len(nodes) == 1:
        found = _several(b, nodes[0], segment.every) if nodes[0].count > 1 else _module(b, nodes[0])
        if found is not None:
            return found
    return _outlined(b, nodes)


def _call(b: _Builder, nodes: Sequence[Node], run: py.Py, *args: py.Py, modules: Sequence[py.Py] = ()) -> py.Call:
    """modules: those that the nodes run, where it is not what they run in the body."""
    writing = [node for node in nodes if b.forms.reversal.writes([node])]
    if writing:
        b.shared.help((ONCE,))
        found = [*(modules or (part for node in writing for part in _modules(b, node)))]
        found += [b.lend(n, slot) for n in writing if n.callee is not None for slot in n.callee.borrowed.values()]
        once = py.Call(py.Raw("once"), tuple(part for i, part in enumerate(found) if part not in found[:i]))
        args = (*args, py.Un("**", once))
    return py.Call(py.Raw("checkpoint"), (run, *args), (py.Kwarg("use_reentrant", py.Raw("False")),))


def _modules(b: _Builder, node: Node) -> Iterator[py.Py]:
    if node.count == 1:
        yield b.module(node)
        return
    modules = b.iterable([node])
    yield from (py.Un("*", modules),) if modules is not None else (b.at(path) for path in node.paths)


def _module(b: _Builder, node: Node) -> Step | None:
    """`checkpoint(self.layer, x, use_reentrant=False)`, where the node is the call of a module on wires alone."""
    found = b.step(node)
    step = found[0] if len(found) == 1 else None
    if not isinstance(step, Step) or not isinstance(step.value, py.Call) or step.value.kwargs:
        return None
    if any(isinstance(arg, py.Seq) for arg in step.value.args):  # `checkpoint` looks for tensors in no list
        return None
    module = b.module(node) if node.path is not None and b.paths.child(node.path) is not None else None
    if module is None or step.value.func != module:
        return None
    return replace(step, value=_call(b, [node], module, *step.value.args))


def _several(b: _Builder, node: Node, every: int) -> Step | Loop | None:
    """Modules in a row, so many at a time: by a loop, or by a list of them."""
    if not every and not b.plain(node):
        return None
    modules = b.iterable([node]) or py.Seq(tuple(b.at(path) for path in node.paths), "list")
    ins, outs = b.index[id(node.inputs[0])], b.index[id(node.outputs[0])]
    if not every:
        b.shared.help((IN_TURN,))
        value = _call(b, [node], py.Raw("in_turn"), modules, b.value(node.inputs[0]))
        return Step(outs, value, None, b.label(node), node.span)
    if every == 1:
        value = _call(b, [node], LAYER, py.Var(outs), modules=[LAYER])
    else:
        b.shared.help((IN_TURN, STRETCHES))
        value = _call(b, [node], py.Raw("in_turn"), LAYER, py.Var(outs), modules=[py.Un("*", LAYER)])
        modules = py.Call(py.Raw("stretches"), (modules, py.Leaf(every, "every")))
    label = b.element(node) if every == 1 else "layers"
    return Loop(outs, (outs,), (ins,), value, py.Leaf(0, "depth"), modules, None, None, label, node.span)


def _outlined(b: _Builder, nodes: Sequence[Node]) -> Step:
    """A method that runs the nodes."""
    inside = {id(v) for node in nodes for v in node.outputs}
    within = {id(node) for node in nodes}
    inputs = {id(v): v for node in nodes for v in node.inputs if id(v) not in inside and id(v) not in b.direct}
    read = {id(v) for node in b.graph.nodes if id(node) not in within for v in node.inputs}
    read |= {id(v) for o in b.graph.outputs for v in o.values}
    results = [v for node in nodes for v in node.outputs if id(v) in read]
    ports = [Port(v.name, (v,)) for v in inputs.values()]
    part: Graph = replace(b.graph, inputs=ports, nodes=list(nodes), outputs=[Output((v,)) for v in results])
    name = b.free_name(identifier(f"{b.label(nodes[0])}_to_{b.label(nodes[-1])}", "part"))
    b.outlines.append(Method(name, "Tensor", b.part(part)))
    lent = [py.Raw(slot) for slot in b.slots.values()]
    value = _call(b, nodes, py.Get(py.SELF, name), *(b.value(v) for v in inputs.values()), *lent)
    numbers = tuple(b.index[id(v)] for v in results)
    return Step(numbers[0] if len(numbers) == 1 else numbers, value, None, b.label(nodes[-1]), nodes[0].span)
