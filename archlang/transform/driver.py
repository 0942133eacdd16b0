"""Runs transforms that are written as calls in the language: `word("layer3", [0, 2, 2, 1])`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from archlang.elaborate import Fragments
from archlang.elaborate.errors import fail
from archlang.ir.check import check
from archlang.ir.graph import Program
from archlang.ops.base import Context, registry
from archlang.ops.signature import literal
from archlang.optimize.clone import clone
from archlang.optimize.weights import Changes, convert
from archlang.records import dataclass
from archlang.report.diagnostic import Diagnostic, Source, Span
from archlang.report.suggest import did_you_mean
from archlang.syntax import tree
from archlang.syntax.parser import parse_expression
from archlang.transform.base import REQUIRED, SOURCE, Given, Parameter, Transform, known_transforms
from archlang.transform.work import Work

__all__ = ["Effect", "Transformed", "transform"]


@dataclass(frozen=True, slots=True)
class Effect:
    """One transform: as it was written, what it did to the function, and the program after it."""

    call: str
    text: str
    program: Program


@dataclass(frozen=True, slots=True)
class Transformed:
    """A program after transforms. changes: what becomes of weights, by id of a graph; sources: see `convert`."""

    program: Program
    changes: Changes
    effects: tuple[Effect, ...]
    sources: tuple[str, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()  # of what transforms put in

    def convert(self, *trained: Mapping[str, Any]) -> dict[str, Any]:
        """This program's state from the state of the network that it was made of; from several, one for each of
        `sources`, which says by what name a key `*` goes then. Needs torch."""
        assert len(trained) == max(len(self.sources), 1)
        if not self.sources:
            return convert(self.program, self.changes, trained[0])
        pairs = zip(self.sources, trained, strict=True)
        merged = {source.replace("*", key): tensor for source, state in pairs for key, tensor in state.items()}
        return convert(self.program, self.changes, merged)


def transform(program: Program, calls: Iterable[str], fragments: Fragments) -> Transformed:
    """The program after these calls of transforms, one after the other; the given one stays as it is.

    fragments: the scope in which arguments are evaluated, the spec's file. Raises ArchError, whose spans point into
    the calls.
    """
    work = Work(clone(program), fragments)
    effects = []
    for text in calls:
        chosen, given, arguments = _bound(parse_expression(Source(SOURCE, text)), fragments)
        effect = chosen.run(work, given, **arguments)
        work.finish(given.span)
        lost = dict.fromkeys(work.lost)
        work.lost.clear()
        effect += "".join(f"; `{name}` is no longer reversible, and trains with stored activations" for name in lost)
        fragments.forget()
        check(work.program, registry(), Context)
        effects.append(Effect(text, effect, clone(work.program)))
    return Transformed(work.program, work.changes, tuple(effects), work.sources, tuple(fragments.warnings))


def _bound(call: tree.Expr, fragments: Fragments) -> tuple[Transform, Given, dict[str, Any]]:
    """The transform that is called, and its arguments."""
    known = known_transforms()
    if not isinstance(call, tree.Call) or not isinstance(call.func, tree.Name):
        fail("ARC0860", "a transform is a call", call.span, help='as in `word("layer3", [0, 2, 1])`')
    if call.func.id not in known:
        name = call.func.id
        listed = "there are " + ", ".join(f"`{n}`" for n in known)
        fail("ARC0860", f"there is no transform `{name}`", call.func.span, help=did_you_mean(name, known) or listed)
    chosen = known[call.func.id]
    parameters = {p.name: p for p in chosen.parameters}
    left = list(parameters)
    arguments: dict[str, Any] = {}
    spans: dict[str, Span] = {}
    for arg in call.args:
        name = arg.name or (left[0] if left else "")
        if arg.star or arg.context or name not in left:
            help = did_you_mean(name, left) or f"it is `{_signature(chosen)}`"
            fail("ARC0861", f"`{chosen.name}` does not take this argument", arg.span, help=help)
        left.remove(name)
        spans[name] = arg.value.span
        value = fragments.value(arg.value)
        kind = parameters[name].kind
        as_written = kind == "module" or (kind == "design" and not isinstance(value, str))
        arguments[name] = arg.value if as_written else _fitting(parameters[name], value, chosen, arg.value.span)
    for name in left:
        if parameters[name].default is REQUIRED:
            fail("ARC0861", f"`{chosen.name}` needs `{name}`", call.span, help=f"it is `{_signature(chosen)}`")
        arguments[name] = parameters[name].default
    return chosen, Given(call.span, spans), arguments


def _signature(chosen: Transform) -> str:
    parts = [p.name if p.default is REQUIRED else f"{p.name}={literal(p.default)}" for p in chosen.parameters]
    return f"{chosen.name}({', '.join(parts)})"


_WANTED = {
    "path": "a path, or a list of paths",
    "name": "a string",
    "int": "a whole number",
    "float": "a number",
    "word": "a list of whole numbers",
    "output": "a name or a whole number",
}


def _fitting(parameter: Parameter, value: Any, chosen: Transform, span: Span) -> Any:
    """The argument, of the kind that the parameter wants."""
    kind = parameter.kind
    value = list(value) if isinstance(value, (range, tuple)) else value
    whole = isinstance(value, int) and not isinstance(value, bool)
    fits = {
        "path": isinstance(value, str) or _list_of(value, str),
        "name": isinstance(value, str),
        "int": whole,
        "float": whole or isinstance(value, float),
        "word": _list_of(value, int),
        "output": whole or isinstance(value, str),
    }
    if not fits.get(kind, True):
        fail("ARC0861", f"`{parameter.name}` of `{chosen.name}` is {_WANTED[kind]}", span, "this is something else")
    return value


def _list_of(value: object, kind: type) -> bool:
    plain = isinstance(value, list) and bool(value)
    return plain and all(isinstance(v, kind) and not isinstance(v, bool) for v in value)  # type: ignore[attr-defined]
