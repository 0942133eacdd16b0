"""Fresh weights of a program: its own initialisers where a weight has one, torch's where it has none."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

from archlang.ir.graph import Program, WeightDecl
from archlang.ir.paths import join
from archlang.ir.walk import modules, parameters
from archlang.ops.base import Op, registry
from archlang.ops.code import Call, Expr, Fixed, Helper, Lit, Seq, Un

__all__ = ["initial_state", "real_dtype"]


def real_dtype(name: str, dtype: Any) -> Any:
    """The torch dtype called `name`; "float" is `dtype`, the module's own."""
    import torch

    return dtype if name == "float" else getattr(torch, name)


def initial_state(program: Program, dtype: Any = None) -> dict[str, Any]:
    """Tensors by key, in state-dict order, without aliases and with non-persistent buffers; dtype float32 by default.

    Draws from torch's global generator.
    """
    import torch

    dtype = dtype or torch.float32
    defaults: dict[str, Any] = {}
    for module in modules(program):
        if module.child.op != "extern" and any(d.init is None for d in module.child.weights):
            built = _build(registry()[str(module.child.op)], module.child.attrs)
            state = dict(built.named_parameters()) | dict(built.named_buffers())
            defaults.update((join(module.path, name), tensor.detach()) for name, tensor in state.items())
    state = {}
    for entry in parameters(program):
        if entry.alias_of is None:
            state[entry.key] = _initial(entry.decl, defaults.get(entry.key), dtype)
    return state


def _initial(decl: WeightDecl, default: Any, dtype: Any) -> Any:
    import torch

    from archlang.ops import init as initialisers

    wanted = real_dtype(decl.dtype, dtype)
    if decl.init is not None:
        return initialisers.run(decl.init, decl.shape, wanted)
    if default is None:  # a `weight` without an initialiser
        return torch.zeros(decl.shape, dtype=wanted)
    if tuple(default.shape) != decl.shape:
        raise ValueError(f"torch's `{decl.name}` has shape {tuple(default.shape)}, declared is {decl.shape}")
    return default.to(wanted)


# -- torch's own modules, for their initial values only ----------------------------------------------------------------
def _build(op: Op, attrs: Mapping[str, Any]) -> Any:
    import torch
    import torch.nn.functional

    names: dict[str, Any] = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional}
    for helper in op.helpers(attrs):
        _define(helper, names)
    call = op.module(attrs)
    if call is None:
        raise ValueError(f"`{op.name}` has weights and no module")
    return _value(call, names)


def _define(helper: Helper, names: dict[str, Any]) -> None:
    for needed in helper.needs:
        _define(needed, names)
    if helper.name not in names:
        import math

        names.setdefault("math", math)
        exec(compile(helper.source, f"<helper {helper.name}>", "exec", dont_inherit=True), names)


def _value(expr: Expr, names: Mapping[str, Any]) -> Any:
    """The value of a constructor expression; such expressions have literals for leaves."""
    if isinstance(expr, Lit):
        return expr.value
    if isinstance(expr, Fixed):
        return _look_up(expr.text, names)
    if isinstance(expr, Seq):
        items = [_value(item, names) for item in expr.items]
        return tuple(items) if expr.kind == "tuple" else items
    if isinstance(expr, Un) and expr.op == "-":
        return -_value(expr.operand, names)
    if isinstance(expr, Call):
        func = _look_up(expr.func, names) if isinstance(expr.func, str) else _value(expr.func, names)
        kwargs = {kw.name: _value(kw.value, names) for kw in expr.kwargs}
        return func(*(_value(arg, names) for arg in expr.args), **kwargs)
    raise TypeError(f"a constructor cannot hold {type(expr).__name__}")


def _look_up(dotted: str, names: Mapping[str, Any]) -> Any:
    first, *rest = dotted.split(".")
    if first not in names:
        raise NameError(f"`{dotted}` is not torch's and no helper's")
    return reduce(getattr, rest, names[first])
