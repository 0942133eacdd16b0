"""What the attributes of an `extern` node or child say: what its target is, what undoes it, what it costs.

`target` is "package.module:Name", `args` are (name, value) pairs for it. Facts, where they are stated: `inverse`, the
target of what undoes it; `params`, `macs` and `saved` (bytes), the last two in the sizes of a node's call.
"""

from __future__ import annotations

from archlang.ir.graph import Attrs
from archlang.shapes.dim import Size

__all__ = ["cost_is_stated", "figure", "is_class", "parameters_of", "undoing_method"]


def is_class(target: str) -> bool:
    """Whether an extern's target is a class, by the spelling of its name: it makes a module; else it is a function."""
    return target.rpartition(":")[2].rpartition(".")[2][:1].isupper()


def undoing_method(attrs: Attrs) -> str | None:
    """The method of the extern's class that undoes it; None where a function does."""
    head, _, method = str(attrs["inverse"]).rpartition(".")
    return method if head == attrs["target"] and is_class(head) else None


def parameters_of(attrs: Attrs) -> int | None:
    """Of an extern: how many numbers its parameters hold; None where it does not say. Functions have none."""
    stated = attrs.get("params", None if is_class(str(attrs["target"])) else 0)
    assert stated is None or isinstance(stated, int)
    return stated


def figure(attrs: Attrs, name: str) -> Size | None:
    """`macs` or `saved` of a call; None where it does not say."""
    return attrs.get(name)


def cost_is_stated(attrs: Attrs) -> bool:
    """Whether nothing of what a call costs is left open."""
    return parameters_of(attrs) is not None and "macs" in attrs and "saved" in attrs
