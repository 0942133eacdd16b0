"""`import archlang.importer` makes specs importable: `from designs import net; net.small(classes=10)`.

A spec `name.arch` on the import path, at top level or in a package (a plain folder will do), becomes a module whose
attributes are its blocks: calling one builds the network. Python modules of the same name take precedence. A parameter
that is called like a word of Python's has a `_` more: `from_`.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import inspect
import keyword
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from archlang.report.diagnostic import ArchError
from archlang.report.suggest import did_you_mean

if TYPE_CHECKING:
    from torch import nn

    from archlang.api import Compiled
    from archlang.elaborate import LoadedModule
    from archlang.syntax.tree import Block, Extern

__all__ = ["BlockBuilder", "install", "uninstall"]


class BlockBuilder:
    """A block of an imported spec. Call it with the block's parameters to get an nn.Module."""

    def __init__(self, module: LoadedModule, block: Block) -> None:
        from archlang.syntax.signatures import signature

        self._module = module
        self._names = [p.name for p in block.params]
        self.__name__ = self.__qualname__ = block.name
        self.__doc__ = f"{signature(block)}\n\n{block.doc}".strip()
        self.__signature__ = _signature(block)

    def __call__(self, *args: object, **params: object) -> nn.Module:
        """Builds the network: parameters in the block's order, or by name. Raises ArchError, TypeError."""
        from archlang.loading import instantiate

        return instantiate(self.compile(*args, **params))

    def compile(self, *args: object, **params: object) -> Compiled:
        """Compiles the block only: its source and its graph. Needs no torch."""
        from archlang.api import compile_module
        from archlang.elaborate import Limits

        return compile_module(self._module, self.__name__, self._bound(args, params), Limits())

    def _bound(self, args: Sequence[object], params: dict[str, object]) -> dict[str, object]:
        known = ", ".join(self._names) or "none"
        if len(args) > len(self._names):
            raise TypeError(f"{self.__name__}() takes {len(self._names)} parameters ({known}), {len(args)} were given")
        bound = dict(zip(self._names, args, strict=False))
        for word, value in params.items():
            name = word[:-1] if word[-1:] == "_" and keyword.iskeyword(word[:-1]) else word
            if name in bound:
                raise TypeError(f"{self.__name__}() got `{name}` twice")
            if name not in self._names:
                raise TypeError(f"{self.__name__}() has no parameter `{name}`{_hint(name, self._names)}")
            bound[name] = value
        return bound

    def __repr__(self) -> str:
        return f"<block {self.__name__} of {self._module.source.path}>"


class _Loader(importlib.abc.InspectLoader):
    """Loads a spec as a module of BlockBuilders."""

    def __init__(self, path: str) -> None:
        self.path = path

    def exec_module(self, module: ModuleType) -> None:
        from archlang.elaborate import Limits, load
        from archlang.syntax.source import read_file
        from archlang.syntax.tree import Block

        try:
            spec = load(read_file(self.path, Limits().source_bytes), Limits())
        except ArchError as error:
            from archlang.report.text import render_all

            text = render_all(error.diagnostics)
            raise ImportError(f"cannot import `{self.path}`\n\n{text}", name=module.__name__, path=self.path) from error
        module.__doc__ = spec.doc or None
        module.__file__ = self.path
        blocks = {name: BlockBuilder(spec, b) for name, b in spec.blocks.items() if isinstance(b, Block)}
        for name, block in blocks.items():
            setattr(module, name, block)
        module.__dict__["__all__"] = list(blocks)
        module.__dict__["__getattr__"] = _missing(self.path, list(blocks))

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def get_source(self, fullname: str) -> str:
        with open(self.path, encoding="utf-8-sig") as file:
            return file.read()

    def get_code(self, fullname: str) -> None:
        return None

    def is_package(self, fullname: str) -> bool:
        return False


class _Finder(importlib.abc.MetaPathFinder):
    """Looks for `name.arch` where Python found no module of that name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        name = fullname.rpartition(".")[2]
        for folder in sys.path if path is None else path:
            candidate = os.path.join(folder or os.getcwd(), f"{name}.arch")
            if os.path.isfile(candidate):
                loader = _Loader(candidate)
                spec = importlib.machinery.ModuleSpec(fullname, loader, origin=candidate)
                spec.has_location = True
                return spec
        return None


def install() -> None:
    """Makes specs importable; importing this module has done it already."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def uninstall() -> None:
    """Takes it back; modules already imported stay."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]


def _missing(path: str, names: Sequence[str]) -> Any:
    def getattribute(name: str) -> Any:
        message = f"`{path}` has no block `{name}`{_hint(name, names)}"
        if not (name.startswith("__") and name.endswith("__")):
            message += f" (its blocks: {', '.join(names) or 'none'})"
        raise AttributeError(message, name=name)

    return getattribute


def _hint(name: str, known: Sequence[str]) -> str:
    hint = did_you_mean(name, known)
    return f"; {hint}" if hint else ""


def _signature(block: Block | Extern) -> inspect.Signature:
    """The block's parameters for `help()` and editors; defaults are shown as they are written."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    empty = inspect.Parameter.empty
    params: list[inspect.Parameter] = []
    for p in block.params:
        default = _Written(p.default.span.text) if p.default is not None else empty
        if default is empty and params and params[-1].default is not empty:
            default = _Written("...")  # Python wants defaults last; a spec does not
        name = f"{p.name}_" if keyword.iskeyword(p.name) else p.name
        params.append(inspect.Parameter(name, kind, default=default))
    return inspect.Signature(params)


class _Written:
    """Prints as the spec's author wrote it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


install()
