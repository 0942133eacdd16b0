"""The Python interface: from a spec, given by its path or as text, to source text or to an nn.Module."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from archlang.records import dataclass
from archlang.report.diagnostic import ArchError, Diagnostic, Source

if TYPE_CHECKING:
    from torch import nn

    from archlang.elaborate import Elaborated, Limits, LoadedModule
    from archlang.ir.graph import Program
    from archlang.transform import Transformed

__all__ = ["Applied", "Compiled", "apply", "build", "check", "compile", "compile_module", "emit", "read_source"]


@dataclass(frozen=True)
class Compiled:
    """A spec's network: the generated PyTorch text, the typed graph, what there was to warn of, and whose it is.

    `spec` is the path (or `<text>`), `entry` the block that was built.
    """

    source: str
    program: Program
    diagnostics: tuple[Diagnostic, ...]
    entry: str
    spec: str


def compile(path_or_text: str | os.PathLike[str], /, entry: str | None = None, **params: object) -> Compiled:
    """Compiles a block of a spec with the given parameters. Needs no torch.

    A string with a line end or a brace is the text of a spec, any other a path. `entry` None: the only block that can
    stand alone, else the last in the file. Raises ArchError, whose `diagnostics` point into the spec, and OSError.
    """
    from archlang.elaborate import Limits, load

    limits = Limits()
    return compile_module(load(read_source(path_or_text, limits), limits), entry, params, limits)


def build(path_or_text: str | os.PathLike[str], /, entry: str | None = None, **params: object) -> nn.Module:
    """Compiles (see `compile`), then imports torch and returns the module, in training mode and initialised.

    The generated text is an importable module of this process: tracebacks and `inspect.getsource` show it, and the
    result can be pickled within it. Raises ArchError, ImportError without torch.
    """
    from archlang.loading import instantiate

    return instantiate(compile(path_or_text, entry, **params))


@dataclass(frozen=True)
class Applied(Compiled):
    """A network after transforms; `result` has what each did, and what becomes of weights."""

    result: Transformed

    def convert(self, *trained: Mapping[str, Any]) -> dict[str, Any]:
        """Its state from the trained network's (one for each network or member that it is made of). Needs torch."""
        return self.result.convert(*trained)

    def build(self) -> nn.Module:
        """The module, in training mode and initialised. Imports torch."""
        from archlang.loading import instantiate

        return instantiate(self)


def apply(path_or_text: str | os.PathLike[str], /, *calls: str, entry: str | None = None, **params: object) -> Applied:
    """Compiles a block (see `compile`), and applies transforms to it, one after the other: docs/transforms.md.

    calls: as written in the language, `word("layer3", [0, 2, 2, 1])`. Raises ArchError, whose spans point into the spec
    or into a call, and OSError.
    """
    from archlang.codegen import generate
    from archlang.elaborate import Fragments, Limits, elaborate, load
    from archlang.transform import transform

    limits = Limits()
    module = load(read_source(path_or_text, limits), limits)
    done = elaborate(module, entry, params, limits)
    result = transform(done.program, calls, Fragments(module, limits))
    name = os.path.basename(module.source.path)
    text = generate(result.program, source_name=name, changes=result.changes, sources=result.sources)
    return Applied(text, result.program, (*done.warnings, *result.warnings), done.entry, module.source.path, result)


def check(path_or_text: str | os.PathLike[str], /) -> list[Diagnostic]:
    """All findings in a spec, errors and warnings; an empty list is a clean bill. Needs no torch. Raises OSError."""
    from archlang.elaborate import Limits, load
    from archlang.verify.check import check_file

    limits = Limits()
    try:
        return check_file(load(read_source(path_or_text, limits), limits), limits)
    except ArchError as error:
        return error.diagnostics


def compile_module(module: LoadedModule, entry: str | None, args: Mapping[str, Any], limits: Limits) -> Compiled:
    """What `compile` does with a spec that is already loaded."""
    from archlang.elaborate import elaborate

    return emit(elaborate(module, entry, args, limits), module.source.path)


def emit(done: Elaborated, spec: str, dtype: str = "float32") -> Compiled:
    """The PyTorch text of a design that is already elaborated; `spec` is the path (or `<text>`), `dtype` what branches
    of reversible blocks are trained in."""
    from archlang.codegen import generate
    from archlang.ir.check import check as check_graphs
    from archlang.ops.base import Context, registry

    check_graphs(done.program, registry(), Context)  # nothing is emitted that was not checked
    text = generate(done.program, source_name=os.path.basename(spec), dtype=dtype)
    return Compiled(text, done.program, tuple(done.warnings), done.entry, spec)


def read_source(path_or_text: str | os.PathLike[str], limits: Limits) -> Source:
    """The spec's text from wherever it is."""
    from archlang.syntax.source import read_bytes, read_file

    if isinstance(path_or_text, str) and any(mark in path_or_text for mark in "\n{"):
        return read_bytes(path_or_text.encode("utf-8", "surrogatepass"), "<text>", limits.source_bytes)
    path = os.fspath(path_or_text)
    if not os.path.isfile(path):  # the system's own error says which of the reasons it is
        with open(path, "rb"):
            pass
    return read_file(path, limits.source_bytes)
