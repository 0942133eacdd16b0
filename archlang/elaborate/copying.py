"""Module values crossing into a block: their structural keys (for memoisation) and the callee's own view of them.

A block's body is elaborated once per distinct structure of its arguments, so it must not see the caller's instances:
it gets copies with the same sharing pattern. What the caller owns already becomes a *borrowed slot*, what was passed
inline becomes the callee's own child.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from archlang.elaborate.values import (
    BlockInstance,
    BlockTemplate,
    Builtin,
    Composition,
    ExternInstance,
    ExternTemplate,
    Fn,
    Instance,
    Inverse,
    OpInstance,
    OpTemplate,
    Run,
    Wire,
)
from archlang.ir.graph import Init
from archlang.ops.base import Op
from archlang.shapes.dim import Dim
from archlang.syntax import tree
from archlang.syntax.walk import walk

__all__ = ["copy_instance", "free_names", "map_modules", "op_key", "plain_keys", "structure_key"]

Leaf = Callable[["Instance | Run"], "Instance | Run | None"]


def copy_instance(instance: Instance, seen: dict[int, Any], leaf: Leaf | None = None) -> Instance:
    """A fresh unowned copy, equal in structure; instances that occur twice inside it stay one."""
    found = seen.get(id(instance))
    if found is not None:
        return found  # type: ignore[no-any-return]
    copy: Instance
    span = instance.span
    if isinstance(instance, OpInstance):
        args, spans = instance.args, instance.arg_spans
        copy = OpInstance(span=span, op=instance.op, args=args, arg_spans=spans, key=instance.key)
    elif isinstance(instance, BlockInstance):
        inner = {k: map_modules(v, seen, leaf) for k, v in instance.args.items()}
        copy = BlockInstance(span=span, block=instance.block, args=inner)
    elif isinstance(instance, ExternInstance):
        copy = ExternInstance(span=span, extern=instance.extern, args=instance.args)
    elif isinstance(instance, Composition):
        parts = [map_modules(p, seen, leaf) for p in instance.parts]
        copy = Composition(span=span, parts=parts, chained=instance.chained)
    elif isinstance(instance, Inverse):
        copy = type(instance)(span=span, module=map_modules(instance.module, seen, leaf))
    else:
        raise TypeError(type(instance).__name__)
    copy.label, copy.arrow = instance.label, instance.arrow
    seen[id(instance)] = copy
    return copy


def map_modules(value: Any, seen: dict[int, Any], leaf: Leaf | None = None) -> Any:
    """Copies a value with every module in it replaced: by `leaf(module)` where that gives one, else by a copy."""
    if isinstance(value, (Instance, Run)):
        found = seen.get(id(value))
        if found is not None:
            return found
        replaced = leaf(value) if leaf is not None else None
        if replaced is None:
            if isinstance(value, Run):
                replaced = Run(copy_instance(value.proto, seen, leaf), value.count)
            else:
                replaced = copy_instance(value, seen, leaf)
        seen[id(value)] = replaced
        return replaced
    if isinstance(value, list):
        return [map_modules(v, seen, leaf) for v in value]
    if type(value) is tuple:
        return tuple(map_modules(v, seen, leaf) for v in value)
    return value


_PLAIN = frozenset((bool, int, float, str, type(None)))
_SIMPLE = (_PLAIN | {Dim}) - {float}  # a hashable that equals nothing but itself, within its class


def structure_key(value: Any, ids: dict[int, int]) -> Any:
    """A hashable that is equal for values which lead to the same graph; `ids` numbers modules by first occurrence."""
    if value.__class__ in _PLAIN:
        return (value.__class__, value.hex() if value.__class__ is float else value)
    if isinstance(value, (Instance, Run)):
        if id(value) in ids:
            return ("same", ids[id(value)])
        ids[id(value)] = len(ids)
        if isinstance(value, Run):
            return ("run", value.count, structure_key(value.proto, ids))
        if value.owner is not None:
            return ("owned", _instance_key(value, ids))
        label = value.label.path if value.label is not None else None
        return ("module", label, _instance_key(value, ids))
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, *(structure_key(v, ids) for v in value))
    if isinstance(value, (BlockTemplate, ExternTemplate)):
        return ("block", id(value.tree))
    if isinstance(value, Fn):
        if id(value) in ids:  # closures may refer to each other, and to one another many times
            return ("same", ids[id(value)])
        ids[id(value)] = len(ids)
        return ("fn", id(value.body), _captured_key(value, ids))
    if isinstance(value, (OpTemplate, Builtin)):
        return (type(value).__name__, value.name)
    if isinstance(value, Wire):
        return ("wire", id(value.value))
    return value


def _instance_key(instance: Instance, ids: dict[int, int]) -> Any:
    arrow = (id(instance.arrow),) if instance.arrow is not None else ()
    return (*arrow, *_kind_key(instance, ids))


def _kind_key(instance: Instance, ids: dict[int, int]) -> tuple[Any, ...]:
    if isinstance(instance, OpInstance):
        return instance.key
    if isinstance(instance, BlockInstance):
        return (id(instance.block.tree), *((k, structure_key(v, ids)) for k, v in instance.args.items()))
    if isinstance(instance, ExternInstance):
        return (id(instance.extern.tree), *((k, structure_key(v, ids)) for k, v in instance.args.items()))
    if isinstance(instance, Inverse):
        return (type(instance).__name__, structure_key(instance.module, ids))
    assert isinstance(instance, Composition)
    return ("composition", instance.chained, *(structure_key(p, ids) for p in instance.parts))


def op_key(op: Op, args: Mapping[str, Any]) -> tuple[Any, ...]:
    """The op and its arguments, which are plain data; 1, 1.0 and true are not the same, nor are 0.0 and -0.0."""
    return (op.name, *args, *plain_keys(args.values()))


def plain_keys(values: Collection[Any]) -> tuple[Any, ...]:
    """A hashable of plain data that is equal where the data and their classes are."""
    classes = tuple(map(type, values))
    return (*values, classes) if _SIMPLE.issuperset(classes) else (*map(_plain_key, values), classes)


def _plain_key(value: Any) -> Any:
    if value.__class__ in _SIMPLE:
        return value
    if value.__class__ is float:
        return value.hex()  # 0.0 and -0.0 are equal
    if isinstance(value, Init):
        return value.name, plain_keys(value.args)
    return plain_keys(value) if isinstance(value, (list, tuple)) else value


def _captured_key(fn: Fn, ids: dict[int, int]) -> tuple[Any, ...]:
    """What a closure reads from activations around it (names of files are fixed by the body's identity)."""
    found = []
    for name in sorted(free_names(fn.body)):
        scope = fn.scope
        while scope.parent is not None:  # the outermost scope is the file's
            if name in scope.names:
                value = scope.names[name].value
                if value is not fn:
                    found.append((name, structure_key(value, ids)))
                break
            scope = scope.parent
    return tuple(found)


_FREE: dict[int, tuple[Any, frozenset[str]]] = {}  # the body is kept with its entry, so that its id stays taken


def free_names(body: tree.Expr | tuple[tree.Stmt, ...]) -> frozenset[str]:
    """Every name that a piece of syntax mentions (an over-approximation of what it reads from outside)."""
    known = _FREE.get(id(body))
    if known is not None:
        return known[1]
    names = frozenset(node.id for node in walk(body) if node.__class__ is tree.Name)
    _FREE[id(body)] = (body, names)
    return names
