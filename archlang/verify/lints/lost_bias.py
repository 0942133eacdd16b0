"""ARC0426: a bias that the batch norm after it takes away again, also behind what shifts all of a channel alike: sums,
concatenations along the channels, poolings."""

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
            reader = _taker(links, link) if id(link.maker) not in shared else None
            yield link.maker.span, _finding(link.maker, reader) if reader is not None else None


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


def _taker(links: Links, link: Link) -> Node | None:
    """The norm that takes the mean of each channel away, where nothing else reads what lies between."""
    reader = link.reader if link.alone else None
    while reader is not None and _shifts(reader):
        reader = links.reader(reader.outputs[0])
    if reader is None:
        return None
    by_channel = reader.op == "groupnorm" and reader.attrs.get("num_groups") == reader.attrs.get("num_features")
    return reader if reader.op in ("batchnorm", "instancenorm") or by_channel else None


def _shifts(node: Node) -> bool:
    """Whether a channel that is shifted by a number comes out shifted by one."""
    match node.op:
        case "add":
            return len({value.type.rank for value in (*node.inputs, *node.outputs)}) == 1
        case "concat":
            return node.attrs.get("dim") == 1
        case "avgpool" | "maxpool":
            return node.op == "maxpool" or not any(node.attrs["padding"])
    return node.op in ("global_avgpool", "global_maxpool", "interpolate")


def _finding(maker: Node, reader: Node) -> Diagnostic:
    assert maker.span is not None
    related = [(reader.span, "takes the mean away")] if reader.span is not None and reader.span != maker.span else []
    return warning(
        "ARC0426",
        f"the bias of this `{maker.op}` has no effect: the `{reader.op}` after it subtracts the mean",
        maker.span,
        related=related,
        help="write `bias=false`",
    )
