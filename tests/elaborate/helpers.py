"""Short forms: a spec's text to its keys, its graph as text, its warnings, its results."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from archlang.elaborate import Elaborated, Limits, elaborate, load
from archlang.interpret import InterpreterModule
from archlang.ir.graph import Graph
from archlang.ir.text import graph_text
from archlang.ir.walk import parameters
from archlang.report.diagnostic import ArchError, Diagnostic, Source

HEAD = "block net(x: [B, 3, H, W]) {\n"


def done(
    text: str, entry: str | None = None, folder: Path = Path(), limits: Limits | None = None, **args: Any
) -> Elaborated:
    """Elaborates a spec; a text without `block` is the body of `block net(x: [B, 3, H, W])`."""
    text = textwrap.dedent(text)
    if "block" not in text:
        text = HEAD + textwrap.indent(text.strip("\n"), "    ") + "\n}\n"
    return elaborate(load(Source(str(folder / "net.arch"), text), limits), entry, args, limits)


def keys(text: str, **args: Any) -> list[str]:
    """State-dict keys in order, `.weight` left out, biases and statistics dropped."""
    found = [e.key for e in parameters(done(text, **args).program)]
    drop = ("bias", "running_mean", "running_var", "num_batches_tracked")
    return [k.removesuffix(".weight") for k in found if k.rpartition(".")[2] not in drop]


def shapes(text: str, **args: Any) -> dict[str, tuple[int, ...]]:
    return {e.key: e.decl.shape for e in parameters(done(text, **args).program)}


def graphs(text: str, **args: Any) -> list[str]:
    """Names of the program's graphs, callees first."""
    return [g.name for g in done(text, **args).program.graphs]


def root(text: str, **args: Any) -> Graph:
    return done(text, **args).program.root


def ir(text: str, **args: Any) -> str:
    """The root graph as text, without its header."""
    return textwrap.dedent(graph_text(root(text, **args)).split("\n", 1)[1])


def result(text: str, **args: Any) -> str:
    """The types that the root returns."""
    return ", ".join(str(v.type) for o in root(text, **args).outputs for v in o.values)


def warnings(text: str, **args: Any) -> list[str]:
    return [d.message for d in done(text, **args).warnings]


def error(text: str, **args: Any) -> Diagnostic:
    """The only error of a spec."""
    with pytest.raises(ArchError) as caught:
        done(text, **args)
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


def module(text: str, **args: Any) -> InterpreterModule:
    return InterpreterModule(done(text, **args).program).eval()
