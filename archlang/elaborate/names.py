"""Resolving a name: activation, file, prelude, built-in functions, ops, initialisers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from archlang.elaborate.arguments import DTYPES
from archlang.elaborate.builtins import BUILTINS
from archlang.elaborate.elsewhere import bound_elsewhere
from archlang.elaborate.errors import fail
from archlang.elaborate.session import Activation
from archlang.elaborate.values import TRAINING, Builtin, OpTemplate
from archlang.ir.graph import Init
from archlang.ops.base import registry
from archlang.ops.init import INITIALISERS
from archlang.report.diagnostic import Fix
from archlang.report.suggest import nearest
from archlang.syntax import tree

__all__ = ["lookup", "visible_names"]


FOREIGN = {  # what other libraries call things
    "cat": "concat",
    "concatenate": "concat",
    "convolution": "conv",
    "convtranspose": "conv_transpose",
    "deconv": "conv_transpose",
    "fc": "linear",
    "fullyconnected": "linear",
    "meanpool": "avgpool",
    "sequential": "chain",
    "subtract": "sub",
    "swish": "silu",
    "upsample": "interpolate",
    "view": "reshape",
}


def lookup(cx: Activation, name: tree.Name) -> Any:
    """The value of a name, or a diagnostic that suggests the nearest one."""
    binding = cx.scope.find(name.id)
    if binding is not None:
        return binding.value
    found = builtin(name.id)
    if found is not None:
        return found
    elsewhere = bound_elsewhere(cx, name.id, name.span)
    if elsewhere is not None:
        help = "bind it on every path, before this"
        fail(
            "ARC0101",
            f"there is no `{name.id}` here",
            name.span,
            "unknown name",
            related=[(elsewhere.span, elsewhere.text)],
            help=help,
        )
    visible = set(visible_names(cx))
    foreign = FOREIGN.get(name.id.lower().replace("_", ""))
    close = foreign if foreign in visible else nearest(name.id, visible)
    fail(
        "ARC0101",
        f"there is no `{name.id}` here",
        name.span,
        "unknown name",
        help=f"did you mean `{close}`?"
        if close
        else "names are bound by parameters, `=`, `let`, `for`, `use` and `block`",
        fix=Fix(name.span, close) if close else None,
    )


@cache
def builtin(name: str) -> Any:
    """What the language itself provides under a name."""
    if name == "training":
        return TRAINING
    if name in BUILTINS:
        return Builtin(name)
    if name in INITIALISERS:
        return Init(name)
    if name in registry():
        return OpTemplate(registry()[name])
    if name in ("inf", "pi"):
        import math

        return getattr(math, name)
    if name in DTYPES:
        return name
    return None


def visible_names(cx: Activation) -> Iterator[str]:
    yield from cx.scope.all_names()
    yield from BUILTINS
    yield from registry()
    yield from INITIALISERS
    yield "training"
