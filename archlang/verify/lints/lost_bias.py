"""ARC0426: a bias that the batch norm after it takes away again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from archlang.elaborate.errors import warning
from archlang.ir.graph import Node
from archlang.report.diagnostic import Diagnostic
from archlang.verify.lints.links import Link, Links
from archlang.verify.lints.sites import Site

__all__ = ["check"]


def check(links: Links) -> Iterator[Site]:
    shared = _shared(links)
    for link in links.all:
        if link.maker.span is not None and _biased(link.maker):
            lost = _lost(link) and id(link.maker) not in shared
            yield link.maker.span, _finding(link) if lost else None


def _shared(links: Links) -> set[int]:
    """Nodes whose layer is used at several places, or was lent: elsewhere its bias may count."""
    found: set[int] = set()
    for graph in links.program.graphs:
        lent = Counter(path for node in graph.nodes for path in (*node.paths, *node.modules.values()))
        found |= {id(n) for n in graph.nodes for path in n.paths if lent[path] > 1 or path in graph.borrowed}
    return found


def _biased(node: Node) -> bool:
    if node.op == "linear":  # its bias is of the last dimension, the norm's of dimension 1
        return node.attrs.get("bias") is True and node.outputs[0].type.rank == 2
    return node.op in ("conv", "conv_transpose") and node.attrs.get("bias") is True


def _lost(link: Link) -> bool:
    reader = link.reader
    if reader is None or not link.alone:
        return False
    by_channel = reader.op == "groupnorm" and reader.attrs.get("num_groups") == reader.attrs.get("num_features")
    return reader.op in ("batchnorm", "instancenorm") or by_channel


def _finding(link: Link) -> Diagnostic:
    maker, reader = link.maker, link.reader
    assert reader is not None and maker.span is not None
    related = [(reader.span, "takes the mean away")] if reader.span is not None and reader.span != maker.span else []
    return warning(
        "ARC0426",
        f"the bias of this `{maker.op}` has no effect: the `{reader.op}` after it subtracts the mean",
        maker.span,
        related=related,
        help="write `bias=false`",
    )
