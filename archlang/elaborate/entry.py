"""Elaborating a design: choosing the entry, its parameters and its input types; checking a whole file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from archlang.elaborate.apply import apply
from archlang.elaborate.arguments import Arg, Args
from archlang.elaborate.bounds import deep_stack
from archlang.elaborate.builder import Builder
from archlang.elaborate.copying import free_names, structure_key
from archlang.elaborate.errors import Poisoned, fail
from archlang.elaborate.expressions import evaluate
from archlang.elaborate.instances import instantiate, to_module
from archlang.elaborate.loader import LoadedModule
from archlang.elaborate.patterns import declared_type
from archlang.elaborate.scope import Scope
from archlang.elaborate.session import Activation, Limits, Session, StopElaboration
from archlang.elaborate.values import BlockInstance, BlockTemplate, Instance, LabelText, Streams, Wire
from archlang.ir.graph import Graph, Program, TensorType, Value
from archlang.ir.sizes import fitting
from archlang.records import dataclass
from archlang.report.diagnostic import ArchError, Diagnostic, Severity, Span
from archlang.report.suggest import nearest
from archlang.syntax import tree

__all__ = ["Design", "Elaborated", "check", "designs", "distinct", "elaborate", "elaborate_expression"]


@dataclass(frozen=True, slots=True)
class Elaborated:
    """A design as a graph, with what was noticed on the way."""

    program: Program
    warnings: list[Diagnostic]
    entry: str
    steps: int  # expressions and statements executed


def elaborate(
    module: LoadedModule,
    entry: str | None = None,
    args: Mapping[str, object] | None = None,
    limits: Limits | None = None,
    session: Session | None = None,
) -> Elaborated:
    """Builds the graph of one block of a file.

    entry: the block's name; None takes the only block that can stand alone, else the last such block.
    args: parameters by name, as Python values or syntax trees. Raises ArchError with every finding.
    """
    template = _entry(module, entry)
    session = session or Session(limits or Limits())
    cx = Activation(session, module, module.scope)
    span = template.tree.name_span

    def run() -> Graph:
        named = {name: _given(cx, value, span) for name, value in (args or {}).items()}
        instance = instantiate(cx, template, Args([], named), span)
        return _root(cx, instance, template)

    graph = _guarded(session, run)
    return Elaborated(Program.of(graph, session.given), session.diagnostics, template.name, session.steps)


def _guarded(session: Session, run: Any) -> Graph:
    try:
        with deep_stack():
            graph: Graph = run()
    except RecursionError:
        raise ArchError([*session.diagnostics, *session.endless().diagnostics]) from None
    except ArchError as error:
        with contextlib.suppress(StopElaboration):
            session.report(error)
        raise ArchError(session.diagnostics) from None
    except (Poisoned, StopElaboration):
        raise ArchError(session.diagnostics) from None
    if session.error_count:
        raise ArchError(session.diagnostics)
    return graph


def _given(cx: Activation, value: object, span: Span) -> Arg:
    if isinstance(value, tree.Node):
        return Arg(evaluate(cx, value), value.span)  # type: ignore[arg-type]
    return Arg(list(value) if isinstance(value, tuple) else value, span)


def _entry(module: LoadedModule, entry: str | None) -> BlockTemplate:
    start = Span(module.source, 0, min(1, len(module.source.text)))
    names = list(module.blocks)
    if entry is not None:
        if entry in names:
            return module.template(entry)
        close = nearest(entry, names)
        fail(
            "ARC0107",
            f"`{module.source.path}` has no block `{entry}`",
            start,
            help=f"did you mean `{close}`?" if close else f"its blocks are {', '.join(names) or '(none)'}",
        )
    if not names:
        fail("ARC0108", f"`{module.source.path}` declares no block", start, help="a design is a `block`")
    standing = [n for n in names if stands_alone(module, module.blocks[n])]
    return module.template((standing or names)[-1])


def stands_alone(module: LoadedModule, block: tree.Block) -> bool:
    """Whether a block can be built by itself: every parameter has a default, every input a full type."""
    if any(p.default is None and not p.star and not getattr(p.type, "optional", False) for p in block.params):
        return False
    return can_be_root(module, block)


def can_be_root(module: LoadedModule, block: tree.Block) -> bool:
    """Whether a block's inputs have full types: it can be built once its parameters are given."""
    if block.alias is not None:
        target = _alias_target(module, block)
        return target is not None and _typed_inputs(target)
    return _typed_inputs(block)


def _alias_target(module: LoadedModule, block: tree.Block) -> tree.Block | None:
    expr: Any = block.alias
    for _ in range(16):
        while isinstance(expr, (tree.Call, tree.Paren, tree.Labelled)):
            expr = expr.func if isinstance(expr, tree.Call) else expr.value
        value: Any = None
        if isinstance(expr, tree.Name):
            binding = module.scope.find(expr.id)
            value = binding.value if binding else None
        elif isinstance(expr, tree.Attribute) and isinstance(expr.value, tree.Name):
            binding = module.scope.find(expr.value.id)
            inner = getattr(binding.value, "module", None) if binding else None
            if isinstance(inner, LoadedModule):
                found = inner.scope.names.get(expr.name)
                value, module = (found.value if found else None), inner
        if not isinstance(value, BlockTemplate):
            return None
        if value.tree.alias is None:
            return value.tree
        module, expr = value.module, value.tree.alias
    return None


def _typed_inputs(block: tree.Block) -> bool:
    inputs = block.inputs or ()
    typed = (
        isinstance(p.type, tree.TensorTypeExpr) and not any(isinstance(d, tree.Ellipsis) for d in p.type.dims)
        for p in inputs
        if p.default is None
    )
    return bool(inputs) and all(typed)


def _root(cx: Activation, instance: Instance, template: BlockTemplate) -> Graph:
    """The graph of the design itself: inputs typed by their declarations, nothing around it."""
    inputs = instance.block.tree.inputs or () if isinstance(instance, BlockInstance) else ()
    if not isinstance(instance, BlockInstance):
        where = template.tree.name_span
        fail(
            "ARC0320",
            f"the input of `{template.name}` has no type",
            where,
            "no type here",
            help="a design that stands alone is a block with typed inputs: `block net(image: [B, 3, H, W]) { ... }`",
        )
    scope = Scope(instance.block.module.scope, frame=True)
    for name, value in instance.args.items():
        scope.bind(name, value, None, fixed=True)
    types = Activation(cx.session, instance.block.module, scope)
    cx.session.root = template.tree.name_span
    given = [declared_type(types, p.type, p.span, p.name) for p in inputs if p.default is None]
    return _built(cx, instance, template.name, given, template.tree.name_span)


def _built(cx: Activation, instance: Instance, name: str, types: Sequence[TensorType], span: Span) -> Graph:
    """Applies an instance to inputs of given types in a scratch graph, and returns the graph it made."""
    structure = structure_key(instance, {})
    outer = Builder(Graph("(design)", "(design)", span))
    inner = Activation(cx.session, cx.module, Scope(cx.module.scope, frame=True), outer, "")
    wires = [Wire(Value(t), outer, span) for t in types]
    instance.label = LabelText("design", span)
    apply(inner, instance, _streams(instance, wires), span)
    call = outer.graph.nodes[-1]
    graph = call.callee
    assert graph is not None
    cx.session.given = dict(call.sizes)
    for key in [key for key, known in cx.session.memo.items() if known is graph]:
        del cx.session.memo[key]  # it is this design from now on, and called so
    graph.block = name
    if name not in cx.session.names:
        graph.name = name
        cx.session.names[name] = 1
    cx.session.built.setdefault(structure, []).append(graph)
    return graph


def _fitted(session: Session, instance: Instance, types: Sequence[TensorType]) -> Graph | None:
    """A graph of the same design, made before for open sizes, that these sizes fit: what follows from open sizes holds
    for all. None where one is refused, so that the refusal speaks of numbers."""
    for graph in session.built.get(structure_key(instance, {}), ()):
        sizes = fitting(graph, types)
        if sizes is not None:
            session.given = sizes
            return graph
    return None


def _streams(instance: Instance, wires: list[Wire]) -> Streams:
    """The wires as inputs and, where the design declares inputs after `;`, as context."""
    inputs = instance.block.tree.inputs or () if isinstance(instance, BlockInstance) else ()
    plain = max(len(wires) - sum(p.context and p.default is None for p in inputs), 0)
    return Streams(tuple(wires[:plain]), tuple(wires[plain:]))


@dataclass(frozen=True, slots=True)
class Design:
    """One thing that a file builds: `done` is None where that failed. `verify` is the block of claims about it."""

    block: str
    verify: tree.Verify | None
    done: Elaborated | None
    findings: list[Diagnostic]
    session: Session


def designs(module: LoadedModule, limits: Limits | None = None) -> list[Design]:
    """Elaborates every design of a file and every one under `verify`, each with its own findings.

    A design is a block that can stand alone and that no other block of the file uses: what others use is checked
    where it is used, with the sizes that it has there.
    """
    used = used_blocks(module)
    found: list[Design] = []
    before: Session | None = None  # graphs that designs have in common are made once

    def attempt(block: str, verify: tree.Verify | None, build: Callable[..., Elaborated]) -> None:
        nonlocal before
        session = Session(limits or Limits()).after(before)
        design = _attempt(block, verify, partial(build, session=session), session)
        before = session if design.done is not None else None  # what failed says so anew in the next
        found.append(design)

    for block in module.blocks.values():
        if block.name not in used and stands_alone(module, block):
            attempt(block.name, None, partial(elaborate, module, block.name))
    for item in module.syntax.items:
        if isinstance(item, tree.Verify):
            attempt(item.design.span.text, item, partial(elaborate_design, module, item))
    return found


def check(module: LoadedModule, limits: Limits | None = None) -> list[Diagnostic]:
    """What elaborating all designs of a file finds, once each."""
    return distinct([d for design in designs(module, limits) for d in design.findings])


def used_blocks(module: LoadedModule) -> set[str]:
    """Names that the bodies and aliases of other blocks mention."""
    used: set[str] = set()
    for block in module.blocks.values():
        names = free_names(block.body) | (free_names(block.alias) if block.alias is not None else frozenset())
        used |= names - {block.name}
    return used


def _attempt(block: str, verify: tree.Verify | None, run: Any, session: Session) -> Design:
    try:
        done: Elaborated = run()
    except ArchError as error:
        return Design(block, verify, None, error.diagnostics, session)
    return Design(block, verify, done, done.warnings, session)


def distinct(found: list[Diagnostic]) -> list[Diagnostic]:
    """Every finding once, errors first, in the order of the text."""
    seen: set[Any] = set()
    kept = []
    for d in found:
        key = (d.code, d.message, d.span and (d.span.source.path, d.span.start, d.span.end))
        if key not in seen:
            seen.add(key)
            kept.append(d)
    return sorted(
        kept,
        key=lambda d: (
            d.severity is Severity.WARNING,
            d.span.source.path if d.span else "",
            d.span.start if d.span else 0,
        ),
    )


def elaborate_design(
    module: LoadedModule, verify: tree.Verify, limits: Limits | None = None, session: Session | None = None
) -> Elaborated:
    """The graph of a `verify` block's design on the types that it names."""
    session = session or Session(limits or Limits())
    scope = Scope(module.scope, frame=True)
    cx = Activation(session, module, scope)

    def run() -> Graph:
        value = to_module(cx, evaluate(cx, verify.design), verify.design.span, "`verify`")
        types = [declared_type(cx, t, t.span, "the input") for t in verify.inputs]
        if not types:
            if not isinstance(value, BlockInstance):
                help = "say what it is applied to: `verify net() on [B, 3, H, W] { ... }`"
                fail("ARC0320", "this design's inputs have no types", verify.design.span, "no types here", help=help)
            return _root(cx, value, value.block)
        return _fitted(session, value, types) or _built(cx, value, value.default_name, types, verify.design.span)

    graph = _guarded(session, run)
    return Elaborated(Program.of(graph, session.given), session.diagnostics, graph.block, session.steps)


def elaborate_expression(module: LoadedModule, expr: tree.Expr, limits: Limits | None = None) -> Elaborated:
    """The graph of a block with typed inputs, given as an expression in a file's scope: `net(width=8)`."""
    session = Session(limits or Limits())
    cx = Activation(session, module, Scope(module.scope, frame=True))

    def run() -> Graph:
        value = to_module(cx, evaluate(cx, expr), expr.span, "a design")
        if not isinstance(value, BlockInstance):
            fail("ARC0320", "this is no block with typed inputs", expr.span, "no design of its own")
        return _root(cx, value, value.block)

    graph = _guarded(session, run)
    return Elaborated(Program.of(graph, session.given), session.diagnostics, graph.block, session.steps)
