"""Shipped specs with tokens and lines deleted, repeated, swapped and replaced, and blocks with odd arguments: whatever
comes of it compiles or ends in diagnostics that point at something; never in another exception."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import archlang
from archlang.api import compile_module
from archlang.elaborate import Limits, load
from archlang.elaborate.builtins import BUILTINS
from archlang.ops.base import registry
from archlang.ops.init import INITIALISERS
from archlang.report.diagnostic import ArchError, Source
from archlang.report.text import render_all

LIBRARY = Path(archlang.__file__).parent
SPECS = sorted([*(LIBRARY.parent / "specs").glob("*.arch"), *(LIBRARY / "std").glob("*.arch")])
TOKEN = re.compile(r'"[^"\n]*"|#[^\n]*|[A-Za-z_]\w*|\d[\w.]*|[-<>]+>|\.\.\.?|[-+*/=!<>]=|//|\*\*|\s+|.')
ODD = (
    *"()[]{},:;=+-*/%@.~_",
    *("->", "..", "...", "//", "**", "+=", "==", "=>", '"', '""', '"a.b"', '"{x}"', "0", "-1", "1e400", "10**9", "2.5"),
    *("none", "true", "training", "if", "else", "for", "in", "let", "fn", "block", "return", "weight", "emit", "use"),
    *(
        "x",
        "i",
        "relu",
        "conv(8, 3)",
        "x.channels",
        "x.shape",
        "[x, x]",
        "(x, x)",
        "chain([])",
        "batchnorm",
        "\n",
        "\t",
    ),
)
LIMITS = Limits(steps=60_000, loop=2_000, depth=40)
SETTINGS = settings(max_examples=80, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


@cache
def tokens(path: Path) -> list[str]:
    return TOKEN.findall(path.read_text())


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, str]:
    """A spec's path and its text after one to four edits."""
    path = draw(st.sampled_from(SPECS))
    words = list(tokens(path))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(words) - 1)))
        match draw(st.sampled_from(["delete", "insert", "replace", "swap", "copy", "delete line", "copy line"])):
            case "delete":
                del words[at : at + draw(st.integers(1, 3))]
            case "insert":
                words.insert(at, " " + draw(st.sampled_from(ODD)) + " ")
            case "replace":
                words[at : at + 1] = [draw(st.sampled_from(ODD))]
            case "swap":
                other = draw(st.integers(0, max(0, len(words) - 1)))
                if words:
                    words[at], words[other] = words[other], words[at]
            case "copy":
                words[at:at] = words[(start := draw(st.integers(0, len(words)))) : start + 6]
            case operation:
                lines = "".join(words).splitlines(keepends=True)
                number = draw(st.integers(0, max(0, len(lines) - 1)))
                if operation == "delete line":
                    del lines[number : number + 1]
                else:
                    lines[number:number] = lines[(start := draw(st.integers(0, len(lines)))) : start + 1]
                words = TOKEN.findall("".join(lines))
    return str(path), "".join(words)


def compiles_or_explains(path: str, text: str, entry: str | None = None, **args: Any) -> None:
    try:
        compile_module(load(Source(path, text), LIMITS), entry, args, LIMITS)
    except ArchError as error:
        assert error.diagnostics
        assert all(d.span is not None and d.message for d in error.diagnostics)
        assert render_all(error.diagnostics)


@SETTINGS
@given(mutated())
def test_mutated_specs(case: tuple[str, str]) -> None:
    compiles_or_explains(*case)


# -- arguments ---------------------------------------------------------------------------------------------------------
NUMBERS = st.one_of(
    st.integers(-3, 300), st.sampled_from([10**9, -(10**20), 2**70, 0.5, -1.5, float("inf"), float("nan")])
)
PLAIN = st.one_of(NUMBERS, st.booleans(), st.none(), st.text(max_size=4), st.lists(NUMBERS, max_size=4))
NET = (LIBRARY.parent / "specs/mobilenet_v2.arch").read_text()


@SETTINGS
@given(st.dictionaries(st.sampled_from(["classes", "width_mult", "dropout_p"]), PLAIN, max_size=3))
def test_arguments_from_outside(args: dict[str, Any]) -> None:
    compiles_or_explains("net.arch", NET, "mobilenet_v2", **args)


LITERALS = st.sampled_from(
    [
        *("0", "1", "2", "3", "-1", "7", "64", "0.0", "0.5", "-0.5", "1e30", "10**12", "10**30", "inf", "pi"),
        *("true", "false", "none", '"same"', '"zeros"', '"int64"', '"b c h w -> b (c h) w"', '"b d"', '""'),
        *("[]", "[1]", "[2, 2]", "[0, 1, 2, 3]", "[[1, 1], [1, 1]]", "[-1, 3]", "(1, 2)", "0..3", "x", "relu(x)"),
        *("[x, x]", "(x, x)", "relu", "relu()", "conv(4, 1)", "zeros", "normal(std=0.1)", "len", "x.shape", "x.rank"),
        *("x.shape[0]", "fn(y) => y", "fn() => relu", "training", "*[1, 2]", "x > 0", 'cast(x, "int64")'),
    ]
)
INPUTS = st.sampled_from(
    [
        "[B, 4, H, W]",
        "[B, 4, 8, 8]",
        "[B, 8]",
        "[B, T, 8]",
        "i64[B, T]",
        "bool[B, 4]",
        "[]",
        "[4]",
        "[0, 4]",
        "[B, C, L]",
    ]
)


@SETTINGS
@given(st.data())
@pytest.mark.parametrize("applied", ["x -> n: {name}({args})", "{name}(x, {args})", "x * {name}({args})"])
def test_ops_and_functions_with_odd_arguments(applied: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted({*registry(), *BUILTINS, *INITIALISERS})))
    names = [p.name for p in registry()[name].params] if name in registry() else []
    positional = data.draw(st.lists(LITERALS, max_size=4))
    named = data.draw(st.dictionaries(st.sampled_from(names), LITERALS, max_size=3)) if names else {}
    args = ", ".join([*positional, *(f"{key}={value}" for key, value in named.items())])
    kind = data.draw(INPUTS)
    text = f"block net(x: {kind}) {{\n    return {applied.format(name=name, args=args)}\n}}\n"
    compiles_or_explains("net.arch", text)
