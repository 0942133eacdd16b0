"""ARC0421 and ARC0422: parameters, inputs and names that nothing reads. A leading `_` says that this is meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from archlang.elaborate import LoadedModule
from archlang.elaborate.entry import can_be_root
from archlang.elaborate.errors import warning
from archlang.report.diagnostic import Diagnostic
from archlang.syntax import tree
from archlang.syntax.walk import walk
from archlang.verify.lints.names import Bound, bindings, bound_by, loop_variables, meant, reads

__all__ = ["check"]


def check(module: LoadedModule) -> Iterator[Diagnostic]:
    for item in module.syntax.items:
        if isinstance(item, (tree.Block, tree.Function)):
            nodes = list(walk(item))
            functions = [node for node in nodes if isinstance(node, tree.Function)]
            if isinstance(item, tree.Block):
                yield from _in_block(item, _own(nodes))
            for bound, inside in loop_variables(nodes):
                if bound.name not in inside and not meant(bound.name):
                    yield _unread(bound)
            around = reads(item.body, updates=False) if functions else set()
            for function in functions:
                yield from _in_function(function)
                own = _own(list(walk(function.body)))
                yield from _names(own, around | reads(function.body, updates=False))
    yield from _in_file(module)


def _own(nodes: list[tree.Node]) -> list[tree.Node]:
    """The nodes that are in the body of none of the functions among them."""
    functions = [node for node in nodes if isinstance(node, tree.Function)]
    inside = {id(node) for function in functions for node in walk(function.body)}
    return [node for node in nodes if id(node) not in inside]


def _in_block(block: tree.Block, nodes: list[tree.Node]) -> Iterator[Diagnostic]:
    inputs = block.inputs or ()
    whole: tuple[object, ...] = (block.body, block.alias or (), block.result or (), block.where or ())
    whole += tuple(part for p in (*block.params, *inputs) for part in (p.default or (), p.type or ()))
    read = reads(whole, updates=False)
    yield from _parameters(block.params, read, f"`{block.name}`", "parameter")
    if block.reversible:  # streams come back by themselves
        streams = {b.name for s in nodes if isinstance(s, tree.Assign) for b in bound_by(s.target, "")}
        yield from _names(nodes, read | streams)
        return
    seen = read if all(p.name in read for p in inputs) else reads(whole)  # an input's own update reads it
    yield from _parameters(inputs, seen, f"`{block.name}`", "input")
    yield from _names(nodes, read)


def _in_function(function: tree.Function) -> Iterator[Diagnostic]:
    seen = reads(function.body) | {n for p in function.params for n in reads((p.default or (), p.type or ()))}
    yield from _parameters(function.params, seen, f"`{function.name}`", "parameter")


def _parameters(params: tuple[tree.Param, ...], seen: set[str], owner: str, what: str) -> Iterator[Diagnostic]:
    for param in params:
        if param.name not in seen and not meant(param.name):
            yield warning(
                "ARC0421",
                f"{owner} never uses its {what} `{param.name}`",
                param.name_span,
                "not used",
                help=f"use it or remove it; `_{param.name}` says that this is meant",
            )


def _names(nodes: Iterable[tree.Node], seen: set[str]) -> Iterator[Diagnostic]:
    told: set[str] = set()
    for bound in bindings(nodes):
        if bound.name not in seen and bound.name not in told and not meant(bound.name):
            told.add(bound.name)
            yield _unread(bound)


def _unread(bound: Bound) -> Diagnostic:
    help = (
        "call it `_`" if bound.what == "loop variable" else "use it or remove it; a leading `_` says that this is meant"
    )
    what = "the " + bound.what + " " if bound.what != "name" else ""
    return warning("ARC0422", f"{what}`{bound.name}` is never used", bound.span, "bound here", help=help)


# -- a file's own names ------------------------------------------------------------------------------------------------
def _in_file(module: LoadedModule) -> Iterator[Diagnostic]:
    """`use` of something that is not used; in a file with designs, also a `let`."""
    seen = {name for item in module.syntax.items for name in reads(item)}
    designs = any(can_be_root(module, block) for block in module.blocks.values())
    for item in module.syntax.items:
        if isinstance(item, tree.Use):
            names = [(local, span) for _, local, span in item.names] or [(item.alias or item.path[-1], item.span)]
            for name, span in names:
                if name not in seen:
                    yield warning("ARC0422", f"`{name}` is never used", span, "brought in here", help="remove it")
        elif isinstance(item, tree.Let) and designs:
            for bound in bound_by(item.target, "name"):
                if bound.name not in seen and not meant(bound.name):
                    yield _unread(bound)
