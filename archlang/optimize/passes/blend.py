"""What fades out while a network is trained, at the end of its schedule."""

from __future__ import annotations

from archlang.ir.graph import Node, Value
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, plain
from archlang.optimize.weights import ASSUMED


@rewrites("end-schedules", equivalence="approximate", level=2, purposes=("inference",))
def end_schedules(edit: Editor) -> None:
    """g * a + (1 - g) * b, of a buffer g: b, as if g were 0, which it is when the schedule has ended.

    Progressive re-parameterised batch normalisation (Guo et al., 2024).
    """
    for node in edit.nodes("add"):
        if not plain(node) or len(node.inputs) != 2:
            continue
        for fading, staying in (node.inputs, node.inputs[::-1]):
            path, kept = _blend(edit, fading, staying)
            if path is None or kept is None or kept.type != node.outputs[0].type:
                continue
            edit.did(node, f"the buffer `{path}` is taken to be 0")
            edit.change(ASSUMED, (path,), (path,))
            edit.merge(node, kept)
            break


def _blend(edit: Editor, fading: Value, staying: Value) -> tuple[str | None, Value | None]:
    """The buffer of `g * a` and `(1 - g) * b`, and b."""
    for share in _factors(edit, fading):
        path = _buffer(edit, share)
        for rest in _factors(edit, staying) if path is not None else ():
            other = edit.maker(rest)
            if other is not None and plain(other) and other.op == "sub" and len(other.inputs) == 1:
                whole = other.attrs["other"] == 1 and other.attrs["reverse"]
                if whole and _buffer(edit, other.inputs[0]) == path:
                    product = edit.maker(staying)
                    assert product is not None
                    return path, next(v for v in product.inputs if v is not rest)
    return None, None


def _factors(edit: Editor, value: Value) -> tuple[Value, ...]:
    node = edit.maker(value)
    found = node is not None and node.op == "mul" and plain(node) and len(set(map(id, node.inputs))) == 2
    return node.inputs if found and node is not None else ()


def _buffer(edit: Editor, value: Value) -> str | None:
    """The path of the buffer of one number that a value is."""
    node: Node | None = edit.maker(value)
    if node is None or node.op != "weight" or node.path not in edit.graph.weights or value.type.dtype != "float":
        return None
    decl = edit.graph.weights[node.path]
    single = all(n == 1 for n in decl.shape) and decl.persistent
    return node.path if decl.kind == "buffer" and single else None
