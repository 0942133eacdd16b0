"""How an op's inputs and parameters are written in a signature: in the reference, and in messages."""

from __future__ import annotations

from typing import Any

from archlang.ops.base import REQUIRED, Input, Op, Param

__all__ = ["input_text", "literal", "parameter_text", "signature"]


def signature(op: Op) -> str:
    """`conv(x; out_channels, kernel_size, stride=1)`."""
    inputs = ", ".join(map(input_text, op.inputs))
    params = ", ".join(map(parameter_text, op.params))
    return f"{op.name}({'; '.join(part for part in (inputs, params) if part)})"


def input_text(i: Input) -> str:
    """`x`, `xs...` for any number of wires, `mask?` for one that may be left out."""
    return i.name + ("..." if i.variadic else "") + ("?" if i.optional else "")


def parameter_text(p: Param) -> str:
    """`dim`, `mode="nearest"`; what collects axes by their names is `axis=size, ...`."""
    if p.kind == "axes":
        return "axis=size, ..."
    return p.name if p.default is REQUIRED else f"{p.name}={literal(p.default)}"


def literal(value: Any) -> str:
    """A default as a spec writes it."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(literal, value)) + "]"
    return repr(value)
