"""What stands left of `=`: names, elements of lists, and tuples that take a value apart."""

from __future__ import annotations

from typing import Any

from archlang.elaborate.dispatch import evaluate
from archlang.elaborate.errors import fail
from archlang.elaborate.session import Activation
from archlang.elaborate.values import Instance, Run, Wire, describe, expand, length
from archlang.report.diagnostic import Span
from archlang.syntax import tree

__all__ = ["assign_target", "target_names"]


def target_names(target: tree.Target) -> list[str]:
    """The names that a target binds."""
    if isinstance(target, tree.Name):
        return [target.id]
    if isinstance(target, tree.Index):
        return target_names(target.value) if isinstance(target.value, (tree.Name, tree.Index)) else []
    if isinstance(target, tree.Star):
        return target_names(target.value) if isinstance(target.value, tree.Name) else []
    parts = (item for item in target.items if isinstance(item, (tree.Name, tree.Index, tree.TupleDisplay, tree.Star)))
    return [n for item in parts for n in target_names(item)]


def assign_target(cx: Activation, target: tree.Target, value: Any, *, fixed: bool = False) -> None:
    """Binds a name, an element of a list, or the parts of a tuple."""
    if isinstance(target, tree.Name):
        _bind(cx, target, value, fixed)
    elif isinstance(target, tree.Index):
        _assign_element(cx, target, value)
    elif isinstance(target, (tree.TupleDisplay, tree.ListDisplay)):
        _unpack(cx, target, value, fixed)
    else:
        fail("ARC0277", "`*` collects the rest inside a tuple only", target.span)


def _bind(cx: Activation, target: tree.Name, value: Any, fixed: bool) -> None:
    name = target.id
    if name == "_":
        return
    holder = None if fixed else cx.scope.holder(name)
    if holder is not None and holder.names[name].fixed:
        old = holder.names[name]
        what = {"parameter": "a parameter", "size": "a size", "let": "bound by `let`"}.get(old.kind, "fixed")
        fail(
            "ARC0278",
            f"`{name}` is {what} and cannot be rebound",
            target.span,
            "assigned here",
            related=[(old.span, "bound here")] if old.span else (),
            help="use another name",
        )
    if isinstance(value, Wire) and not value.value.name:
        value.value.name = name
    if cx.builder is not None and not cx.session.abstract:
        _claim_bound(cx, name, value, target.span)
    (holder or cx.scope).bind(name, value, target.span, fixed=fixed, kind="let" if fixed else "name")


def _claim_bound(cx: Activation, name: str, value: Any, span: Span) -> None:
    """Modules that get a name belong to this block under it; the elements of a list under `name.i`."""
    builder = cx.builder
    assert builder is not None
    if isinstance(value, Instance) and value.owner is None:
        if value.dissolved:  # its parts have paths already
            return
        builder.claim(value, name, bound=span)
        builder.owned.append(value)
        return
    if isinstance(value, (list, tuple)) and any(isinstance(v, (Instance, Run)) for v in value):
        position = 0
        stem = name + "".join(f".{i}" for i in builder.iterations)
        for item in value:
            if isinstance(item, (Instance, Run)) and item.owner is None:
                if isinstance(item, Instance) and item.dissolved:
                    continue
                label = item.label if isinstance(item, Instance) else None
                path = f"{stem}.{label.path if label else position}"
                builder.claim_at(item, path, label.span if label else span)
            position += item.count if isinstance(item, Run) else 1


def _assign_element(cx: Activation, target: tree.Index, value: Any) -> None:
    """`xs[i] = e` rebinds the list with one element replaced; lists themselves never change."""
    base = evaluate(cx, target.value)
    if not isinstance(base, (list, tuple)) or len(target.items) != 1:
        fail("ARC0279", f"only elements of lists can be assigned, and this is {describe(base)}", target.span)
    index = evaluate(cx, target.items[0])
    if isinstance(index, bool) or not isinstance(index, int) or not -length(base) <= index < length(base):
        fail(
            "ARC0270",
            f"index {index if isinstance(index, int) else describe(index)} is outside of the list",
            target.span,
        )
    items = expand(base)
    items[index] = value
    assert isinstance(target.value, (tree.Name, tree.Index))
    assign_target(cx, target.value, items)


def _unpack(cx: Activation, target: tree.TupleDisplay | tree.ListDisplay, value: Any, fixed: bool) -> None:
    if not isinstance(value, (list, tuple)):
        fail("ARC0280", f"cannot take apart {describe(value)}", target.span, f"{len(target.items)} names here")
    values = expand(value)
    targets: list[Any] = list(target.items)
    star = next((i for i, t in enumerate(targets) if isinstance(t, tree.Star)), None)
    if star is None and len(values) != len(targets):
        fail("ARC0280", f"{len(values)} values for {len(targets)} names", target.span)
    if star is not None:
        after = len(targets) - star - 1
        if len(values) < star + after:
            fail("ARC0280", f"{len(values)} values for at least {star + after} names", target.span)
        rest = values[star : len(values) - after]
        values = [*values[:star], rest, *values[len(values) - after :]]
        targets[star] = targets[star].value
    for one, item in zip(targets, values, strict=True):
        assign_target(cx, one, item, fixed=fixed)
