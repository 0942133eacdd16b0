"""ARC0420: blocks and functions that nothing in their file uses and that are no designs themselves.

A file without a design is a library: all of it is for others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from archlang.elaborate import LoadedModule
from archlang.elaborate.entry import can_be_root
from archlang.elaborate.errors import warning
from archlang.report.diagnostic import Diagnostic
from archlang.syntax import tree
from archlang.verify.lints.names import meant, reads

__all__ = ["check"]


def check(module: LoadedModule) -> Iterator[Diagnostic]:
    roots = {name for name, block in module.blocks.items() if can_be_root(module, block)}
    if not roots:
        return
    read = {id(item): reads(item) for item in module.syntax.items}
    users = Counter(name for names in read.values() for name in names)
    for item in module.syntax.items:
        if not isinstance(item, (tree.Block, tree.Function, tree.Extern)) or item.name in roots or meant(item.name):
            continue
        if users[item.name] == (item.name in read[id(item)]):  # nothing but itself
            what = "function" if isinstance(item, tree.Function) else "block"
            help = "remove it, or allow it where other files use it: `# allow ARC0420: used by ...`"
            yield warning("ARC0420", f"the {what} `{item.name}` is never used", item.name_span, help=help)
