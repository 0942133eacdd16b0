"""Generated source as a module of this process, and the network in it as an object. Imports torch."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import linecache
import re
import sys
from types import ModuleType
from typing import TYPE_CHECKING

from archlang.report.diagnostic import ArchError, Diagnostic

if TYPE_CHECKING:
    from torch import nn

    from archlang.api import Compiled

__all__ = ["instantiate", "module_of", "require_torch", "root_class"]

PACKAGE = "archlang_built"
TORCH_HELP = "install torch into this environment: pip install 'archlang[torch]', or pip install torch"


def instantiate(compiled: Compiled) -> nn.Module:
    """Executes the generated source and makes the network. Raises ArchError (ARC0920) where torch is missing."""
    require_torch("building a network")
    return root_class(module_of(compiled))()


def require_torch(what: str) -> None:
    """ArchError with the way to install it unless torch can be imported."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "torch"
        why = "which is not installed" if missing else f"which cannot be imported: {error}"
        raise ArchError(Diagnostic("ARC0920", f"{what} needs torch, {why}", None, help=TORCH_HELP)) from None


def root_class(module: ModuleType) -> type[nn.Module]:
    """The class of the entry block: the last that the generated file defines, after all that it uses."""
    from torch import nn

    own = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, nn.Module)]
    return [c for c in own if c.__module__ == module.__name__][-1]


def module_of(compiled: Compiled) -> ModuleType:
    """The generated source as a module in `sys.modules`; equal sources give one and the same module.

    inspect, tracebacks and debuggers find its lines, and pickle its classes, for as long as this process lives.
    """
    digest = hashlib.sha256(compiled.source.encode()).hexdigest()[:12]
    name = f"{PACKAGE}.{re.sub(r'[^0-9A-Za-z_]', '_', compiled.entry)}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    if PACKAGE not in sys.modules:
        package = ModuleType(PACKAGE, "Modules that archlang.build has generated in this process.")
        package.__path__ = []
        sys.modules[PACKAGE] = package
    loader = _TextLoader(compiled.source, f"<archlang {compiled.spec}: {compiled.entry}, {digest}>")
    spec = importlib.machinery.ModuleSpec(name, loader, origin=loader.filename)
    module = importlib.util.module_from_spec(spec)
    module.__file__ = loader.filename
    lines = compiled.source.splitlines(keepends=True)
    linecache.cache[loader.filename] = (len(compiled.source), None, lines, loader.filename)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


class _TextLoader(importlib.machinery.SourceFileLoader):
    """Loads from a string. (A SourceFileLoader, because inspect and pdb look for its `get_source`.)"""

    def __init__(self, text: str, filename: str) -> None:
        super().__init__(filename, filename)
        self.text = text
        self.filename = filename

    def get_source(self, fullname: str) -> str:
        return self.text

    def get_code(self, fullname: str):  # type: ignore[no-untyped-def]
        return compile(self.text, self.filename, "exec")
