"""ARC0425: a normalisation whose input is another one's result, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator

from archlang.elaborate.errors import warning
from archlang.verify.lints.links import Links
from archlang.verify.lints.norms import NORMS
from archlang.verify.lints.sites import Site

__all__ = ["check"]


def check(links: Links) -> Iterator[Site]:
    """A norm that is read by others as well (a pre-norm layer on a normalised stream) is meant."""
    for link in links.all:
        reader, maker = link.reader, link.maker
        if reader is None or reader.op not in NORMS or reader.span is None:
            continue
        finding = None
        if maker.op in NORMS and link.alone:
            related = (
                [(maker.span, f"`{maker.op}` first")] if maker.span is not None and maker.span != reader.span else []
            )
            finding = warning(
                "ARC0425",
                f"`{reader.op}` right after `{maker.op}`: the second norm undoes the first",
                reader.span,
                "normalised again here",
                related=related,
                help="remove one of them, or put a layer between",
            )
        yield reader.span, finding
