"""Who owns a module: claiming inline arguments for a callee, lending owned ones, and taking them back by slot."""

from __future__ import annotations

from typing import Any

from archlang.elaborate.builder import Builder, check_label
from archlang.elaborate.copying import Leaf, copy_instance, map_modules
from archlang.elaborate.values import (
    BlockInstance,
    Composition,
    ExternInstance,
    Instance,
    Inverse,
    LabelText,
    OpInstance,
    Run,
)
from archlang.ops.base import Op
from archlang.report.diagnostic import Span

__all__ = ["borrowed_modules", "claim_inline", "claim_parts", "take_modules", "weightless"]


class _Lend:
    """Replaces owned modules inside an argument by what the callee sees of them, each in a slot that is called after
    the argument's path, `name`. It is no closure: one that names itself is left for the garbage collector."""

    __slots__ = ("inner", "item", "name", "seen")

    def __init__(self, inner: Builder, name: str, item: Any, seen: dict[int, Any]) -> None:
        self.inner = inner
        self.name = name
        self.item = item
        self.seen = seen

    def __call__(self, module: Instance | Run) -> Instance | Run | None:
        if isinstance(module, Run) or module.owner is None:
            return None
        base = self.name if module is self.item else f"{self.name}_given"  # `name` is the path of what it lies in
        slot = base
        number = 1
        while slot in self.inner.slots:
            number += 1
            slot = f"{base}_{number}"
        self.inner.slots[slot] = module
        return _borrow(module, self.inner, slot, self.seen, self)


def take_modules(inner: Builder, value: Any, stem: str, span: Span, seen: dict[int, Any]) -> Any:
    """Copies an argument for a callee, claiming the modules in it under `stem`, `stem.i` or their labels."""
    if isinstance(value, list):
        taken, position = [], 0
        for item in value:
            path = f"{stem}.{position}" if stem else str(position)
            taken.append(_take(inner, item, path, stem, span, seen, _Lend(inner, path.replace(".", "_"), item, seen)))
            position += item.count if isinstance(item, Run) else 1
        return taken
    return _take(inner, value, stem, "", span, seen, _Lend(inner, stem or "module", value, seen))


def _take(inner: Builder, item: Any, path: str, stem: str, span: Span, seen: dict[int, Any], leaf: Leaf) -> Any:
    known = id(item) in seen
    copy = map_modules(item, seen, leaf)
    if known or not isinstance(copy, (Instance, Run)) or copy.owner is not None:
        return copy
    if _dissolved(inner, copy, path):
        return copy
    if isinstance(copy, Instance) and copy.label is not None:
        check_label(copy.label.path, copy.label.span)
        path = f"{stem}.{copy.label.path}" if stem else copy.label.path
    else:
        check_label(path or "module", span)
    inner.claim_at(copy, path or "module", copy.span if isinstance(copy, Instance) else span)
    return copy


def _dissolved(builder: Builder, item: Instance | Run, path: str) -> bool:
    """Whether an argument has no path of its own, so that its parts stand in the callee itself, which then owns them.

    That is so of a composition for `_ f`, and of what the caller labels `_`.
    """
    if not isinstance(item, (Composition, BlockInstance)):
        return False
    own = item.label.path if item.label else path or isinstance(item, BlockInstance)
    if own:
        return False
    item.label = LabelText("", item.span)
    if isinstance(item, Composition):
        claim_parts(builder, item)
    return True


def claim_parts(builder: Builder, item: Composition) -> None:
    """Takes the parts of a composition without a path of its own. Ops without weights need none: their positions would
    collide with those of another such composition."""
    position = 0
    for part in item.parts:
        if not (isinstance(part, Instance) and part.label is None and weightless(part)):
            claim_inline(builder, part, str(position), item.span)
        position += part.count if isinstance(part, Run) else 1


def weightless(module: Instance) -> bool:
    """Whether it is an op that has no weights."""
    return isinstance(module, OpInstance) and type(module.op).weights is Op.weights


def _borrow(module: Instance, inner: Builder, slot: str, seen: dict[int, Any], leaf: Leaf) -> Instance:
    """What is lent together with modules of its caller's is applied to those: they are slots of the callee, too."""
    copy = copy_instance(module, seen, leaf)
    copy.owner, copy.path, copy.borrowed, copy.label = inner, slot, True, None
    return copy


def claim_inline(builder: Builder, value: Any, stem: str, span: Span) -> None:
    items, position = (value if isinstance(value, list) else [value]), 0
    for item in items:
        if isinstance(item, (Instance, Run)) and item.owner is None:
            base = stem if not isinstance(value, list) else f"{stem}.{position}" if stem else str(position)
            if not _dissolved(builder, item, base):
                label = item.label if isinstance(item, Instance) else None
                builder.claim_at(item, label.path if label else base or "module", label.span if label else span)
        position += item.count if isinstance(item, Run) else 1


def borrowed_modules(inst: Instance) -> list[Instance]:
    """The owned modules inside an instance's arguments, in the order in which a callee takes them as slots."""
    found: list[Instance] = []
    seen: set[int] = set()

    def visit(value: Any) -> None:
        if isinstance(value, Run):
            visit(value.proto)
        elif isinstance(value, Instance):
            if id(value) in seen:
                return
            seen.add(id(value))
            if value.owner is not None and value is not inst:
                found.append(value)
                visit(_parts(value))
            elif isinstance(value, Composition):
                for part in value.parts:
                    visit(part)
            elif isinstance(value, (BlockInstance, ExternInstance)):
                for arg in value.args.values():
                    visit(arg)
            elif isinstance(value, Inverse):
                visit(value.module)
        elif isinstance(value, (list, tuple)):
            for item in value:
                visit(item)

    visit(inst if inst.owner is None else _parts(inst))
    return found


def _parts(inst: Instance) -> list[Any]:
    if isinstance(inst, Composition):
        return list(inst.parts)
    if isinstance(inst, Inverse):
        return [inst.module]
    return list(inst.args.values()) if isinstance(inst, (BlockInstance, ExternInstance)) else []
