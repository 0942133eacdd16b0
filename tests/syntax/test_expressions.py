"""Expressions: forms, precedence, literals, flows."""

from __future__ import annotations

import ast
import random

import pytest

from archlang.syntax import tree
from archlang.syntax.tokens import SOFT_WORDS

from .helpers import body, errors, expr, sketch


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("25_557_032", 25557032), ("0.5", 0.5), ("1e-5", 1e-5), ("4.08G", 4_080_000_000), ("2k", 2000),
        ("1.5M", 1_500_000), ("3T", 3 * 10**12), ("4KiB", 4096), ("2MiB", 2 << 20), ("4GiB", 4 << 30),
        ("1%", 0.01), ("0.5%", 0.005), ("7", 7), ("1.23456k", 1234.56),
    ],
)  # fmt: skip
def test_numbers(text: str, value: float) -> None:
    number = expr(text)
    assert number.value == value and type(number.value) is type(value)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("a + b * c", ("+", "a", ("*", "b", "c"))),
        ("a - b - c", ("-", ("-", "a", "b"), "c")),
        ("-a ** 2", ("-", ("**", "a", 2))),
        ("a ** b ** c", ("**", "a", ("**", "b", "c"))),
        ("a ** -b", ("**", "a", ("-", "b"))),
        ("not a == b and c or d", ("or", ("and", ("not", ("==", "a", "b")), "c"), "d")),
        ("a not in b", ("not in", "a", "b")),
        ("a < b <= c", ("and", ("<", "a", "b"), ("<=", "b", "c"))),
        ("0..n + 1", ("Range", 0, ("+", "n", 1))),
        ("x in 1 .. 2", ("in", "x", ("Range", 1, 2))),
        ("0..3", ("Range", 0, 3)),
        ("a // 2 % 3 @ b / c", ("/", ("@", ("%", ("//", "a", 2), 3), "b"), "c")),
        ("i%2", ("%", "i", 2)),
        ("10 % 3", ("%", 10, 3)), ("1% .. 2%", ("Range", 0.01, 0.02)), ("1%..2%", ("Range", 0.01, 0.02)),
        ("~codec", ("~", "codec")),
        ("if a then b else if c then d else e", ("Conditional", "a", "b", ("Conditional", "c", "d", "e"))),
        ("m[..., 1:, ::2, i]",
         ("Index", "m", (("Ellipsis",), ("Slice", 1, None, None), ("Slice", None, None, 2), "i"))),
        ("x.shape[0].y", ("Attribute", ("Index", ("Attribute", "x", "shape"), (0,)), "y")),
        ("()", ("TupleDisplay", (), ())),
        ("(a,)", ("TupleDisplay", ("a",), ())),
        ("(a, b,)", ("TupleDisplay", ("a", "b"), ())),
        ("(a, *b; c)", ("TupleDisplay", ("a", ("Star", "b")), ("c",))),
        ("(a; c, d)", ("TupleDisplay", ("a",), ("c", "d"))),
        ("(a)", ("()", "a")),
        ("[]", ("ListDisplay", ())),
        ("[e if c, *rest,]", ("ListDisplay", (("Guarded", "e", "c"), ("Star", "rest")))),
        ("true", True),
        ("none", None),
        ("training", "training"),
        ("[a, true]", ("ListDisplay", ("a", True))),
    ],
)  # fmt: skip
def test_forms(text: str, form: object) -> None:
    assert sketch(expr(text)) == form


def test_precedence_agrees_with_python() -> None:
    """Operators that both languages have are grouped as Python groups them."""
    rng = random.Random(0)
    operators = ["+", "-", "*", "/", "//", "%", "**", "@", "and", "or", "==", "in", "not in"]
    names = {
        ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**",
        ast.MatMult: "@", ast.And: "and", ast.Or: "or", ast.Eq: "==", ast.In: "in", ast.NotIn: "not in",
        ast.USub: "-", ast.Not: "not", ast.Invert: "~",
    }  # fmt: skip

    def python(node: ast.expr) -> object:
        match node:
            case ast.BinOp():
                return (names[type(node.op)], python(node.left), python(node.right))
            case ast.UnaryOp():
                return (names[type(node.op)], python(node.operand))
            case ast.BoolOp():
                result = python(node.values[0])
                for value in node.values[1:]:
                    result = (names[type(node.op)], result, python(value))
                return result
            case ast.Compare():
                parts = [node.left, *node.comparators]
                result = None
                for left, op, right in zip(parts, node.ops, parts[1:], strict=False):
                    one = (names[type(op)], python(left), python(right))
                    result = one if result is None else ("and", result, one)
                return result
            case ast.Name():
                return node.id
        raise AssertionError(node)

    for _ in range(300):
        words = [rng.choice(["a", "-a", "~a", "- ~a"])]
        for _ in range(rng.randrange(1, 7)):
            words += [rng.choice(operators), rng.choice(["b", "-b", "~b"])]
        text = " ".join(words)
        assert sketch(expr(text)) == python(ast.parse(text, mode="eval").body), text


def test_calls() -> None:
    assert [(a.name, a.star, a.context) for a in expr("f(a, *rest, width=3; ctx, mask=m)").args] == [
        (None, False, False), (None, True, False), ("width", False, False), (None, False, True), ("mask", False, True),
    ]  # fmt: skip
    named = expr("f(name=lbl: e)").args[0]
    assert named.name == "name" and named.value.label.parts == ("lbl",)


def test_flow_with_labels() -> None:
    flow = expr('a -> label: b -> "layer{s + 1}": chain(xs) -> _: (c -> d)')
    first, second, third, fourth = flow.steps
    assert isinstance(flow, tree.Flow) and sketch(first) == "a"
    assert second.label.parts == ("label",) and sketch(second.value) == "b"
    assert third.label.parts[0] == "layer" and sketch(third.label.parts[1]) == ("+", "s", 1)
    assert fourth.label is None and fourth.label_span.text == "_" and isinstance(fourth.value, tree.Paren)
    assert isinstance(expr("[a: b -> c]").items[0], tree.Flow)
    assert isinstance(expr("(a: b)").value, tree.Labelled)


def test_the_body_of_a_function_reaches_to_the_end() -> None:
    function = expr("fn(a, b = 2) => a -> b")
    assert [p.name for p in function.params] == ["a", "b"] and isinstance(function.body, tree.Flow)


@pytest.mark.parametrize("step", ["y + x", "if a then b else c", "a == b", "not a", "0..3"])
def test_an_operator_as_a_step_is_unclear(step: str) -> None:
    (error,) = errors(f"let m = {step} -> relu")
    assert (error.code, error.span.text, error.help) == ("ARC0030", step, f"write `({step})`")
    assert error.fix is not None and error.fix.replacement == f"({step})"
    assert isinstance(expr(f"({step}) -> relu"), tree.Flow)


def test_comprehension_with_several_clauses() -> None:
    value = expr("[f(a, b) for a, (i, *r) in xs if a > 1 if i for b in 0..a]")
    assert [sketch(c.target) for c in value.clauses] == [
        ("TupleDisplay", ("a", ("TupleDisplay", ("i", ("Star", "r")), ())), ()),
        "b",
    ]
    assert [len(c.conditions) for c in value.clauses] == [2, 0]


def test_strings() -> None:
    assert expr(r'"a\n\t\\\"\u00e9{{x}}"').parts == ('a\n\t\\"é{x}',)
    assert expr('""').parts == ("",)
    value = expr('"a{x + 1}b{f(y)}"')
    assert [p if isinstance(p, str) else p.span.text for p in value.parts] == ["a", "x + 1", "b", "f(y)"]
    assert [p if isinstance(p, str) else p.span.start for p in value.parts][1::2] == [3, 11]


def test_soft_words_are_names_elsewhere() -> None:
    for word in [*sorted(SOFT_WORDS - {"_"}), "frozen", "nonzero"]:
        assert sketch(expr(f"{word} + x.{word}")) == ("+", word, ("Attribute", "x", word))
        assert expr(f"f({word}=1)").args[0].name == word
        assert sketch(body(f"{word} = 3")[0].target) == word
