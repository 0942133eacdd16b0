"""Files and what they bring into scope: parsing, `use` of library, relative and zoo files, cycles."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from archlang.elaborate.bounds import deep_stack
from archlang.elaborate.errors import Poisoned, fail
from archlang.elaborate.scope import Scope
from archlang.elaborate.session import Activation, Limits, Session, StopElaboration
from archlang.elaborate.targets import assign_target, target_names
from archlang.elaborate.values import POISON, BlockTemplate, ExternTemplate, Fn, Namespace
from archlang.records import dataclass, field, replace
from archlang.report.diagnostic import ArchError, Diagnostic, Fix, Source, Span
from archlang.report.suggest import nearest
from archlang.syntax import tree
from archlang.syntax.parser import parse
from archlang.syntax.source import read_file

__all__ = ["Files", "LoadedModule", "load"]


@dataclass(eq=False)
class Files:
    """What loading a file has read: each path's source, None where there was no file. Not `complete`: and more."""

    read: dict[str, Source | None] = field(default_factory=dict)
    complete: bool = True


@dataclass(eq=False)
class LoadedModule:
    """A parsed file with its top-level names bound."""

    source: Source
    syntax: tree.Module
    scope: Scope = field(default_factory=lambda: Scope(frame=True))
    private: set[str] = field(default_factory=set)  # names that came in by `use`
    diagnostics: list[Diagnostic] = field(default_factory=list)

    @property
    def blocks(self) -> dict[str, tree.Block]:
        """The blocks that the file itself declares, in order."""
        return {item.name: item for item in self.syntax.items if isinstance(item, tree.Block)}

    @property
    def doc(self) -> str:
        return self.syntax.doc

    def template(self, name: str) -> BlockTemplate:
        value = self.scope.names[name].value
        assert isinstance(value, BlockTemplate)
        return value

    def public_names(self) -> Iterator[str]:
        return (name for name in self.scope.names if name not in self.private)


def load(source: Source, limits: Limits | None = None, files: Files | None = None) -> LoadedModule:
    """Parses a file and everything that it uses. Raises ArchError with every finding. `files` is filled in."""
    files = files or Files()
    files.read[os.path.abspath(source.path)] = source
    return _Loader(limits or Limits(), files).load(parse(source), source.path)


@lru_cache(maxsize=64)
def _parsed(path: str, text: str) -> tree.Module:
    """A file that others use. Trees never change: one serves every file that a command looks at."""
    return parse(Source(path, text))


class _Loader:
    def __init__(self, limits: Limits, files: Files) -> None:
        self.limits = limits
        self.files = files
        self.done: dict[str, LoadedModule | None] = {}  # None: it has mistakes, which were reported
        self.active: list[str] = []

    def load(self, syntax: tree.Module, path: str) -> LoadedModule:
        module = LoadedModule(syntax.span.source, syntax)
        self.active.append(_resolved(path))
        errors: list[Diagnostic] = []
        try:
            for item in module.syntax.items:
                try:
                    self._declare(module, item, path)
                except ArchError as error:
                    errors += error.diagnostics
                except Poisoned:
                    pass
        finally:
            self.active.pop()
        if errors:
            raise ArchError(errors)
        return module

    def _declare(self, module: LoadedModule, item: tree.Item, path: str) -> None:
        if isinstance(item, tree.Use):
            self._use(module, item, path)
        elif isinstance(item, tree.Block):
            _check_inputs(item)
            self._bind(module, item.name, BlockTemplate(module, item), item.name_span)
        elif isinstance(item, tree.Extern):
            self._bind(module, item.name, ExternTemplate(module, item), item.name_span)
        elif isinstance(item, tree.Function):
            fn = Fn(item.name, item.params, item.body, module.scope, item.name_span)
            self._bind(module, item.name, fn, item.name_span)
        elif isinstance(item, tree.Let):
            self._constant(module, item)

    def _bind(self, module: LoadedModule, name: str, value: Any, span: Span) -> None:
        self._once(module, name, span)
        module.scope.bind(name, value, span, fixed=True, kind="let")

    def _once(self, module: LoadedModule, name: str, span: Span) -> None:
        old = module.scope.names.get(name)
        if old is not None:
            fail(
                "ARC0103",
                f"`{name}` is defined twice in this file",
                span,
                "again here",
                related=[(old.span, "first here")] if old.span else (),
            )

    def _constant(self, module: LoadedModule, item: tree.Let) -> None:
        from archlang.elaborate.expressions import evaluate

        for name in target_names(item.target):
            self._once(module, name, item.target.span)
        session = Session(self.limits)
        cx = Activation(session, module, module.scope)
        try:
            with deep_stack():
                assign_target(cx, item.target, evaluate(cx, item.value), fixed=True)
            return
        except RecursionError:
            found = session.endless().diagnostics
        except (Poisoned, StopElaboration):
            found = session.diagnostics
        except ArchError as error:
            found = [*session.diagnostics, *error.diagnostics]
        for name in target_names(item.target):  # known, so that their uses say nothing more
            module.scope.bind(name, POISON, item.span, fixed=True, kind="let")
        if found:
            raise ArchError(found)

    # -- use ---------------------------------------------------------------------------------------------------------
    def _use(self, module: LoadedModule, use: tree.Use, path: str) -> None:
        try:
            used = self._file(self._find(use, path), use.span)
        except (ArchError, Poisoned):
            for _, name, span in use.names:  # known, so that their uses say nothing more
                module.scope.bind(name, POISON, span, fixed=True, kind="let")
            raise
        if not use.names:
            name = use.alias or use.path[-1]
            self._bind(module, name, Namespace(used), use.span)
            module.private.add(name)
            return
        for name, local, span in use.names:
            found = used.scope.names.get(name)
            if found is None or name in used.private:
                close = nearest(name, used.public_names())
                fail(
                    "ARC0102",
                    f"`{'.'.join(use.path)}` has no `{name}`",
                    span,
                    "unknown name",
                    help=f"did you mean `{close}`?" if close else None,
                    fix=Fix(span, close) if close else None,
                )
            self._bind(module, local, found.value, span)
            module.private.add(local)

    def _file(self, path: str, span: Span) -> LoadedModule:
        shown, path = path, _resolved(path)
        if path in self.active:
            cycle = " -> ".join(_stem(p) for p in [*self.active[self.active.index(path) :], path])
            fail(
                "ARC0104",
                f"`use` goes in a circle: {cycle}",
                span,
                "this closes the circle",
                help="move what both need into a third file",
            )
        if path not in self.done:
            self.done[path] = None
            try:
                source = read_file(shown, max_bytes=self.limits.source_bytes)
            except ArchError as error:  # what has no place in the file is said at the `use`
                self.files.complete = False
                raise ArchError(replace(d, span=d.span or span) for d in error.diagnostics) from None
            source.path = _display(shown)
            self.files.read[os.path.abspath(shown)] = source
            self.done[path] = self.load(_parsed(source.path, source.text), shown)
        known = self.done[path]
        if known is None:
            raise Poisoned
        return known

    def _find(self, use: tree.Use, path: str) -> str:
        """The file that a `use` names: `std.x` from the library, `zoo.x` from the specs, `.x` beside this file."""
        if use.level:
            folder = os.path.dirname(path)
            for _ in range(use.level - 1):
                folder = os.path.normpath(os.path.join(folder, os.pardir))
            roots = [folder]
            parts = use.path
        elif use.path[0] in ("std", "zoo") and len(use.path) > 1:
            roots = _library(use.path[0])
            parts = use.path[1:]
        else:
            fail(
                "ARC0105",
                f"there is no library `{use.path[0]}`",
                use.span,
                "unknown library",
                help="libraries are `std` and `zoo`; `use .name` is a file in this folder",
            )
        for root in roots:
            candidate = os.path.join(root, *parts) + ".arch"
            if os.path.isfile(candidate):
                return candidate
            self.files.read[os.path.abspath(candidate)] = None
        self.files.complete = False  # what is said below depends on the files that there are
        there = {name for root in roots for name in _specs(os.path.join(root, *parts[:-1]))}
        known = sorted(there - {_stem(path)})
        close = nearest(parts[-1], known)
        fail(
            "ARC0106",
            f"no file `{'/'.join(parts)}.arch` for this `use`",
            use.span,
            "not found",
            help=f"did you mean `{close}`?" if close else f"the files there are {', '.join(known) or '(none)'}",
        )


def _resolved(path: str) -> str:
    try:
        return os.path.realpath(path)
    except OSError:
        return path


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _specs(folder: str) -> list[str]:
    """The names of the specs in a folder."""
    try:
        return [_stem(name) for name in os.listdir(folder or os.curdir) if name.endswith(".arch")]
    except OSError:
        return []


def _display(path: str) -> str:
    """The path as it is shown: of library files the same on every machine."""
    path = os.path.normpath(path)
    for name in ("std", "zoo"):
        for root in _library(name):
            if path.startswith(root + os.sep):
                return f"{name}{path[len(root) :]}".replace(os.sep, "/")
    return path


def _library(name: str) -> list[str]:
    """Folders of the standard library, and of the zoo (in a wheel, or in a checkout)."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if name == "std":
        return [os.path.join(package, "std")]
    return [os.path.join(package, "zoo"), os.path.join(os.path.dirname(package), "specs")]


def _check_inputs(block: tree.Block) -> None:
    """Inputs are wires; what has another type belongs among the parameters."""
    for param in block.inputs or ():
        name = getattr(param.type, "name", "tensor") if param.type is not None else "tensor"
        if isinstance(param.type, tree.ListType) or name not in ("tensor", "tensors"):
            fail(
                "ARC0287",
                f"the input `{param.name}` of `{block.name}` cannot be {param.type.span.text if param.type else ''}",
                param.span,
                "inputs are wires",
                help=f"parameters stand in parentheses of their own: `block {block.name}({param.span.text})(...)`",
            )
