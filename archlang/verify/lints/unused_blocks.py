"""ARC0420: blocks and functions that nothing in their file uses and that are no designs themselves.

A file without a design is a library: all of it is for others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

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
    defined = {i.name: reads(i) for i in module.syntax.items if isinstance(i, (tree.Block, tree.Function, tree.Extern))}
    others = [reads(item) for item in module.syntax.items if getattr(item, "name", None) not in defined]
    used = _reached([*roots, *(name for names in others for name in names)], defined)
    for item in module.syntax.items:
        if not isinstance(item, (tree.Block, tree.Function, tree.Extern)) or item.name in used or meant(item.name):
            continue
        users = {name for name in defined if name not in used and item.name in defined[name]}
        if users <= _reached([item.name], defined):  # else it is used by one that is reported
            what = "function" if isinstance(item, tree.Function) else "block"
            help = "remove it, or allow it where other files use it: `# allow ARC0420: used by ...`"
            yield warning("ARC0420", f"the {what} `{item.name}` is never used", item.name_span, help=help)


def _reached(start: Iterable[str], reads: Mapping[str, set[str]]) -> set[str]:
    """The names that some use, directly or by way of others."""
    found: set[str] = set()
    stack = list(start)
    while stack:
        name = stack.pop()
        if name in reads and name not in found:
            found.add(name)
            stack.extend(reads[name])
    return found
