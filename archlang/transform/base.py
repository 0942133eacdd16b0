"""What a transform is, and the register of all of them.

A transform is one file of this folder: a name, its parameters, and a function that rewrites a program through `Work`
and says what has become of the network's function. Its handles are paths of the state dict.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from archlang.records import dataclass, field
from archlang.report.diagnostic import Span

__all__ = ["REQUIRED", "SOURCE", "Given", "Parameter", "Transform", "known_transforms", "transforms"]

REQUIRED = object()
SOURCE = "--apply"  # what mistakes in a call point into
_FILES = ("shallow", "word", "extract", "substitute", "narrow", "stitch", "pack")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a transform.

    kind: "path" (a path, or a list of paths), "name", "int", "float", "word" (a list of places), "output" (a name or a
    place), "module" (the expression, as written, of something that can be applied), "design" (a spec's path, or the
    expression of a block), "any".
    """

    name: str
    kind: str
    default: Any = REQUIRED


@dataclass(frozen=True, slots=True)
class Given:
    """A call of a transform as its function sees it: where it stands, and where each argument does."""

    span: Span
    spans: dict[str, Span] = field(default_factory=dict)

    def at(self, name: str) -> Span:
        """Where an argument stands; the whole call for one that was left out."""
        return self.spans.get(name, self.span)


@dataclass(frozen=True, slots=True)
class Transform:
    """One rewrite. doc: what it makes of the network; run: rewrites, and says in a sentence what changed."""

    name: str
    parameters: tuple[Parameter, ...]
    doc: str
    run: Callable[..., str]


_TRANSFORMS: dict[str, Transform] = {}


def transforms(name: str, *parameters: Parameter) -> Callable[[Callable[..., str]], Callable[..., str]]:
    """Registers a function (work, given, **arguments) -> sentence; the first line of its docstring is its doc."""

    def register(run: Callable[..., str]) -> Callable[..., str]:
        doc = (run.__doc__ or "").strip().partition("\n")[0]
        _TRANSFORMS[name] = Transform(name, parameters, doc, run)
        return run

    return register


def known_transforms() -> dict[str, Transform]:
    """All transforms by name."""
    for file in _FILES:
        import_module(f"archlang.transform.{file}")
    return _TRANSFORMS
