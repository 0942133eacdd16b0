"""Two layers with nothing between them are one: a kernel applied to a kernel."""

from __future__ import annotations

from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor
from archlang.optimize.layers import chain, chained, layout, work


@rewrites("collapse", equivalence="rounding", level=2, purposes=("inference",))
def collapse(edit: Editor) -> None:
    """Two convolutions, or two linear layers, one after the other: one, where that takes no more multiplications.

    Collapsible Linear Blocks for Super-Efficient Super Resolution (Bhardwaj et al., 2022).
    """
    for first, last in edit.chains(("conv", "linear"), ("conv", "linear")):
        a, b = layout(edit, first), layout(edit, last)
        made = chained(first, a, last, b) if a is not None and b is not None else None
        if a is None or b is None or made is None:
            continue
        if made.cost <= work((a, b)):
            edit.did(last, f"two `{last.op}` with nothing between them are one")
            chain(edit, first, a, last, b, made)
