"""Line ends: where a statement goes on and where it ends."""

from __future__ import annotations

import pytest

from archlang.syntax import tree

from .helpers import body, module, sketch


@pytest.mark.parametrize(
    "text",
    [
        "y = a\n  -> b", "y = a ->\n  b", "y = a +\n b", "y = a\n + b", "y = a\n - b", "y = a\n * b", "y = a\n / b",
        "y =\n a", "y = f(\n a\n ,\n b\n)", "y = [\n a\n]", "y = x\n .b", "y = if c\n then a\n else b",
        "y = a\n and b\n or c", "y = a\n == b", "y = a # comment\n # another\n -> b", "y = fn(a) =>\n a",
        "y = a,\n b", "y = a..\n b", "y = (a\n)", "y = l:\n b", "if a\n{\n}\nelse\n{\n}", "for a in\n b {\n\n}",
    ],
)  # fmt: skip
def test_a_statement_goes_on(text: str) -> None:
    assert len(body(text)) == 1
    assert len(body(text.replace("\n", "\r\n"))) == 1
    assert len(body("\n\n" + text + "\n\n# end")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "y = a\nb", "y = a; b", "y = a;;\n;b;", "y = a\n(b, c) = d", "y = a\n[b, c] = d", "y = a\n~b", "f(a)\ng(b)",
        "return\ny", "if a { }\nif b { }", "y = a # end\nb",
    ],
)  # fmt: skip
def test_a_statement_ends(text: str) -> None:
    assert len(body(text)) == 2


def test_braces_on_one_line() -> None:
    outer = body("for i in a { for j in b { c += d; e = f } }")
    assert len(outer) == 1 and len(outer[0].body) == 1 and len(outer[0].body[0].body) == 2


def test_verify_header_on_several_lines() -> None:
    (item,) = module('verify "x"\n  net(3)\n  on f32[B,\n 3],\n  f32[B]\n{\n a == 1\n\n b == 2\n}').items
    assert isinstance(item, tree.Verify) and len(item.inputs) == 2 and len(item.claims) == 2


def test_semicolons_in_parentheses_are_context() -> None:
    (statement,) = body("y = f(a;\n b)")
    assert [sketch(a.value) for a in statement.value.args] == ["a", "b"]


def test_tolerance_sign_is_two_operators_elsewhere() -> None:
    (statement,) = body("y = a +-b")
    assert sketch(statement.value) == ("+", "a", ("-", "b"))
