"""What a file defines, and each definition's head as its author wrote it."""

from __future__ import annotations

from archlang.syntax.tree import Block, Extern, Function, Module

__all__ = ["definitions", "signature"]


def definitions(tree: Module) -> list[Block | Extern | Function]:
    """Blocks, externs and functions in the order of the file."""
    return [item for item in tree.items if isinstance(item, Block | Extern | Function)]


def signature(item: Block | Extern | Function) -> str:
    """The definition as written, up to its body, on one line."""
    params = ", ".join(_text(p.span.text) for p in item.params)
    if isinstance(item, Function):
        return f"fn {item.name}({params})"
    words = "extern " if isinstance(item, Extern) else "reversible " if item.reversible else ""
    words += "pure " if isinstance(item, Extern) and item.pure else ""
    head = f"{words}block {item.name}({params})" if params or item.inputs is None else f"{words}block {item.name}"
    if item.inputs is not None:
        plain = ", ".join(_text(p.span.text) for p in item.inputs if not p.context)
        context = ", ".join(_text(p.span.text) for p in item.inputs if p.context)
        head += f"({plain}{'; ' + context if context else ''})"
    head += f" -> {_text(item.result.span.text)}" if item.result is not None else ""
    where = item.where if isinstance(item, Block) else None
    return head + (f" where {_text(where.span.text)}" if where is not None else "")


def _text(source: str) -> str:
    """On one line, without comments."""
    return " ".join(" ".join(line.split("#")[0] for line in source.splitlines()).split()) if "\n" in source else source
