"""Syntax errors: code, line, column and words of each, and several in one run."""

from __future__ import annotations

import time

import pytest

from archlang.report.codes import CODES
from archlang.report.diagnostic import ArchError, Source
from archlang.syntax import parse_expression

from .helpers import errors, module


def in_body(text: str) -> str:
    return "block a(x) {\n    " + text.replace("\n", "\n    ") + "\n}\n"


CASES = [
    # at the top of the file
    ("blok a(x) { }", "ARC0032", 1, 1, "`blok` is not a word of the language", "did you mean `block`?"),
    ("x = 3", "ARC0039", 1, 1, "outside of blocks, names are bound with `let`", "write `let x = ...`"),
    ("def f(x):", "ARC0032", 1, 1, "there is no `def` in the language", None),
    ("return 3", "ARC0039", 1, 1, "`return` belongs into the body of a block, and this is outside of all", None),
    ("x.y", "ARC0020", 1, 1, "expected `block`, `fn`, `let`, `use` or `verify`, found `x`", None),
    ("block (x) { }", "ARC0020", 1, 7, "expected a name after `block`, found `(`", None),
    ("block a x", "ARC0020", 1, 9, "expected `{`, `=`, `->` or `(` after `a`, found `x`", None),
    ("block for(x) { }", "ARC0029", 1, 7, "`for` is a word of the language and cannot be a name", None),
    ("block a(x: ) { }", "ARC0020", 1, 12, "expected a type after `:`, found `)`", None),
    ("block a(x, x) { }", "ARC0034", 1, 12, "two parameters are called `x`", None),
    ("block a()()() { }", "ARC0035", 1, 12, "`a` has 3 pairs of parentheses; a block has at most two", None),
    ("block a(n)(x) = f(n)",
     "ARC0035", 1, 11, "`block a ... = ` names a module and so has parameters only, no inputs", None),
    ("block a(n; c)(x) { }",
     "ARC0035", 1, 12, "`c` stands after `;` among the parameters; context belongs to the inputs", None),
    ("let x", "ARC0020", 1, 6, "expected `=` after `x`, found the end of the file", None),
    ("let x 3", "ARC0020", 1, 7, "expected `=` after `x`, found `3`", None),
    ("let x = 1 +\n\n", "ARC0020", 1, 12, "expected an expression after `+`, found the end of the file", None),
    ("use", "ARC0020", 1, 4, "expected a name after `use`, found the end of the file", None),
    ('extern block f(x) = "a:b"', "ARC0020", 1, 19, "expected `->` or `(` after `)`, found `=`", None),
    # statements
    (in_body("y = x -> -> relu"), "ARC0020", 2, 14, "expected an expression after `->`, found `->`", None),
    (in_body("y = x ->"), "ARC0020", 3, 1, "expected an expression after `->`, found `}`", None),
    (in_body("retrun x"), "ARC0032", 2, 5, "`retrun` is not a word of the language", "did you mean `return`?"),
    (in_body("if x {\n}\nesle {\n}"), "ARC0032", 4, 5, "`esle` is not a word of the language", "did you mean `else`?"),
    (in_body("elif x { }"), "ARC0032", 2, 5, "there is no `elif` in the language", "write `else if`"),
    (in_body("y = f(a b)"), "ARC0020", 2, 13, "expected `,` or `)` after `a`, found `b`", None),
    (in_body("y = f(a,,b)"), "ARC0020", 2, 13, "expected an expression or `)` after `,`, found `,`", None),
    (in_body("if x y { }"), "ARC0020", 2, 10, "expected `then` or `{` after `x`, found `y`", None),
    (in_body("for i on xs { }"), "ARC0020", 2, 11, "expected `in` or `,` after `i`, found `on`", None),
    (in_body("for i in 0..3\n  y = 2"), "ARC0020", 2, 18, "expected `{` after `3`, found the end of the line", None),
    (in_body("x y"), "ARC0020", 2, 7, "expected an operator or the end of the statement after `x`, found `y`", None),
    (in_body("f(x) = 3"), "ARC0031", 2, 5, "nothing can be assigned to this", None),
    (in_body("let in = 3"), "ARC0029", 2, 9, "`in` is a word of the language and cannot be a name", None),
    (in_body("f(in=3)"), "ARC0029", 2, 7, "`in` is a word of the language and cannot be a name", None),
    (in_body("block b(x) { }"), "ARC0039", 2, 5, "a block cannot stand inside a body", None),
    (in_body("weight w: [3] = 1, nonzer"),
     "ARC0037", 2, 24, "`nonzer` is no property of a weight", "did you mean `nonzero`?"),
    (in_body("weight w = 3"), "ARC0020", 2, 14, "expected `:` or `as` after `w`, found `=`", None),
    (in_body("// no"), "ARC0020", 2, 5, "a statement cannot start with `//`", "comments start with `#`"),
    # expressions
    (in_body("y = a if c else b"), "ARC0020", 2, 11, "expected the end of the statement after `a`, found `if`",
     "a choice is written `if condition then a else b`"),
    (in_body("y = if c then a"), "ARC0020", 3, 1, "expected `else` after `a`, found `}`", None),
    (in_body("y = fn(a) a"), "ARC0020", 2, 15, "expected `=>` after `)`, found `a`", None),
    (in_body("f(a=1, 2)"), "ARC0033", 2, 12, "an argument without a name comes after one with a name", None),
    (in_body("f(a=1, a=2)"), "ARC0033", 2, 12, "`a` is given twice", None),
    (in_body("sum(x for x in y)"), "ARC0020", 2, 11, "expected `,` or `)` after `x`, found `for`",
     "a comprehension stands in brackets: `[e for x in xs]`"),
    # brackets
    ("block a(x) {\n  y = 1\n", "ARC0021", 1, 12, "this `{` is never closed", "add the missing `}`"),
    (in_body("y = f(x"), "ARC0021", 2, 10, "this `(` is never closed", "add the missing `)`"),
    (in_body("y = f(x]"), "ARC0023", 2, 12, "`(` is closed by `]`", "write `)`"),
    ("block a(x) { return x }}\n", "ARC0022", 1, 24, "this `}` closes nothing: there is no open `{` before it", None),
    ("block a(x) {\n  for i in xs {\n    y = 1\n}\nblock b(x) { }", "ARC0021", 2, 15, "this `{` is never closed", None),
    ("let x = [1, 2\nlet y = 3", "ARC0021", 1, 9, "this `[` is never closed", None),
    # literals
    (in_body('y = "abc'), "ARC0025", 2, 9, "this string is never closed", None),
    (in_body('y = f("abc)'), "ARC0025", 2, 11, "this string is never closed", None),
    (in_body('y = "a{b"'),
     "ARC0027", 2, 11, "this `{` is never closed in its string", "a brace as text is written `{{`"),
    (in_body('y = "a{}"'), "ARC0027", 2, 11, "there is no expression between these braces", None),
    (in_body('y = "a}"'), "ARC0027", 2, 11, "this `}` closes nothing", "a brace as text is written `}}`"),
    (in_body('y = "a{b +}"'), "ARC0020", 2, 15,
     "expected an expression after `+`, found the end of the braces of a string", None),
    (in_body('y = "\\q"'), "ARC0026", 2, 10, "`\\q` is not an escape", None),
    (in_body("y = 3x"), "ARC0028", 2, 9, "`3x` is neither a number nor a name", None),
    (in_body("y = 1e999"), "ARC0028", 2, 9, "this number is too large", None),
    (in_body("y = 'a'"), "ARC0005", 2, 9, "strings are written with double quotes", None),
    (in_body("y = !x"), "ARC0005", 2, 9, "`!` is not part of the language", "write `not`"),
    (in_body("let α = 3"), "ARC0005", 2, 9, "`α` is not part of the language", None),
    # claims
    ('verify "x" r() {\n  params = 3\n}', "ARC0020", 2, 10,
     "expected an operator or the end of the statement after `params`, found `=`", "`==` compares two values"),
    ('verify "x" r() {\n  params\n}', "ARC0036", 2, 3, "this claims nothing that could be true or false", None),
    ('verify "x" r() {\n  a == 3 and b == 4\n}', "ARC0036", 2, 3, "a claim states one thing", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "line", "column", "message", "help"), CASES)
def test_one_error(text: str, code: str, line: int, column: int, message: str, help: str | None) -> None:
    (error,) = errors(text)
    assert error.span is not None
    assert (error.code, error.span.line, error.span.column, error.message) == (code, line, column, message)
    assert help is None or error.help == help
    assert code in CODES


def test_several_errors_in_one_run() -> None:
    text = "let a 1\nblock b(x) {\n  y = f(x x)\n  z = 'q'\n  if y {\n    w = = 2\n    v = 1\n  }\n"
    text += "  return z\n}\nblok c(x) { }\nlet d = (1\n"
    found = [(e.code, e.span.line if e.span else 0) for e in errors(text)]
    assert found == [("ARC0020", 1), ("ARC0020", 3), ("ARC0005", 4), ("ARC0020", 6), ("ARC0032", 11), ("ARC0021", 12)]


def test_errors_are_limited() -> None:
    assert len(errors("let a 1\n" * 100)) == 20


def test_no_message_names_a_parser_token() -> None:
    for text, *_ in CASES:
        for error in errors(text):
            whole = " ".join([error.message, error.help or "", error.label, *error.notes])
            for name in ("NAME", "NUMBER", "STRING", "_NL", "$END", "LPAR", "__", "ANON"):
                assert name not in whole, whole


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("let x = " + "(" * 10_000, 209),
        ("let x = " + "(" * 10_000 + "1" + ")" * 10_000, 209),
        ("let x = " + "a + " * 5_000 + "a", 9),
        ("let x = " + "-" * 5_000 + "a", None),
        ("let x = " + "not " * 5_000 + "a", None),
        ("let x = " + "if a then b else " * 5_000 + "a", None),
        ("let x = " + "fn() => " * 5_000 + "a", None),
        ("let x = a" + ".b" * 5_000, 9),
        ("let x = a" + "()" * 5_000, 9),
        ("block a(x: " + "[B] -> " * 5_000 + "[B]) { }", None),
        ("block a(x) {" + "if a { " * 5_000 + "} " * 5_000 + "}", None),
        ("block a(x) { if a { } " + "else if a { } " * 5_000 + "}", None),
    ],
)
def test_deep_nesting(text: str, column: int | None) -> None:
    (error,) = errors(text)
    assert error.code == "ARC0024" and error.span is not None
    assert column is None or error.span.column == column


def test_long_but_flat_texts_are_fine() -> None:
    module("let x = [" + "a, " * 20_000 + "]")
    module("let x = a" + " -> b" * 20_000)
    module("block a(x) {\n" + "y = f(y)\n" * 20_000 + "}")


@pytest.mark.parametrize(
    "unit", ["(", "a+", "a,", "}", "{", "()", "$", "let x 3\n", "block a(x) {\n", "let x = (\n", '"{a}",', "{a}"]
)
def test_a_mebibyte_of_anything_ends(unit: str) -> None:
    text = ('let x = "' if unit == "{a}" else "") + unit * ((1 << 20) // len(unit))
    start = time.process_time()
    errors(text)
    assert time.process_time() - start < 2 * _slowness()


def _slowness() -> float:
    """How much slower than a usual machine this one is just now, at least 1."""
    start = time.process_time()
    sum(i * i for i in range(2_000_000))
    return max(1.0, (time.process_time() - start) / 0.15)


def test_speed() -> None:
    """A spec of 100 KB takes a fraction of a second."""
    unit = (
        "## A unit.\nblock unit(width: int, stride: int = 1)(x) {\n"
        "    y = x -> conv1: conv(width, 3, stride, padding=1, bias=false) -> bn1: batchnorm -> relu   # one\n"
        '    for i, z in enumerate(xs) { y += [z * 2 ** i + "layer{i + 1}", *rest] }\n'
        "    return (y + x) -> relu\n}\n\n"
    )
    text = unit * (100_000 // len(unit))
    start = time.process_time()
    module(text)
    assert time.process_time() - start < 0.6 * _slowness()


@pytest.mark.parametrize("text", ["", "1 2", "[1,", "{", "f(x", "x\x00", "let x = 3", "a = 2"])
def test_expressions_that_are_none(text: str) -> None:
    with pytest.raises(ArchError) as caught:
        parse_expression(Source("--set", text))
    assert caught.value.diagnostics[0].span is not None
