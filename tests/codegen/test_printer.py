"""Expressions mean what their trees say: printed text, parsed by Python, against direct evaluation."""

from __future__ import annotations

import ast
import operator
import subprocess
import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archlang.codegen.exprs import Bin, Call, Choice, Get, Item, Kwarg, Leaf, Map, Measure, Py, Raw, Rep, Seq, Slice, Un
from archlang.codegen.names import Scope, camel, identifier
from archlang.codegen.printer import Printer, literal
from archlang.shapes.dim import Dim, evaluate, symbol

OPS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "//": operator.floordiv, "%": operator.mod,
    "<": operator.lt, "==": operator.eq, "&": operator.and_, "|": operator.or_,
}  # fmt: skip
leaves = st.integers(-9, 9).map(Leaf) | st.sampled_from([Raw("p"), Raw("q")])
trees = st.recursive(
    leaves,
    lambda inner: (
        st.builds(Bin, st.sampled_from(sorted(OPS)), inner, inner)
        | st.builds(Un, st.sampled_from("-~"), inner)
        | st.builds(Choice, inner, inner, inner)
    ),
    max_leaves=12,
)
NAMES = {"p": 3, "q": -4}


def value(e: Py) -> Any:
    if isinstance(e, Leaf):
        return e.value
    if isinstance(e, Raw):
        return NAMES[e.text]
    if isinstance(e, Un):
        return -value(e.operand) if e.op == "-" else ~int(value(e.operand))
    if isinstance(e, Choice):
        return value(e.then) if value(e.test) else value(e.otherwise)
    assert isinstance(e, Bin)
    return OPS[e.op](value(e.left), value(e.right))


@given(trees)
@settings(max_examples=300, deadline=None)
def test_precedence(e: Py) -> None:
    try:
        expected = value(e)
    except ZeroDivisionError:
        return
    text = Printer().text(e)
    with_warnings_off = compile(ast.parse(text, mode="eval"), "", "eval")
    assert eval(with_warnings_off, dict(NAMES)) == expected, text


sizes = st.recursive(
    st.sampled_from([symbol("H"), symbol("W")]),
    lambda inner: st.builds(
        lambda a, b, k, n: [a + b, a - b, a * k + n, (a + n) // (k + 1), (a * k - n) // 2][(k + n) % 5],
        inner, inner, st.integers(1, 5), st.integers(-4, 4),
    ),
    max_leaves=6,
)  # fmt: skip


@given(sizes, st.integers(1, 50), st.integers(1, 50))
@settings(max_examples=200, deadline=None)
def test_sizes(size: Any, h: int, w: int) -> None:
    if not isinstance(size, Dim):
        return
    text = Printer(size=str.lower).text(Measure(size))
    assert eval(text, {"h": h, "w": w}) == evaluate(size, {"H": h, "W": w}), text
    assert eval(Printer(size=str.lower).text(Bin("*", Leaf(2), Measure(size))), {"h": h, "w": w}) == 2 * evaluate(
        size, {"H": h, "W": w}
    )


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
                    lambda inner: st.tuples(inner) | st.tuples(inner, inner), max_leaves=5))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_literals(value: Any) -> None:
    text = literal(value)
    assert text.isascii() and text.isprintable()
    again = eval(text)
    assert again == value and repr(again) == repr(value)


LONG = "a_rather_long_name_of_a_function"
STATEMENTS = [
    Call(Raw(LONG), tuple(Raw(f"argument_number_{i}") for i in range(n)), (Kwarg("key", Leaf("word")),))
    for n in (1, 2, 3, 9)
] + [
    Call(Raw("nn.Sequential"), (Call(Raw("Block"), tuple(Leaf(10**9 + i) for i in range(7))), Rep(Raw("x"), Leaf(2)))),
    Call(Raw("nn.Sequential"), (Rep(Call(Raw("Block"), tuple(Leaf(10**9 + i) for i in range(8))), Leaf(2)),)),
    Call(Raw("nn.ModuleList"), (Rep(Call(Raw("Unit"), tuple(Leaf(10**9 + i) for i in range(8))), Leaf(2), False),)),
    Seq(tuple(Leaf("name" * i) for i in range(1, 9))),
    Seq(tuple(Leaf("name" * i) for i in range(1, 9)), "list"),
    Map(tuple((f"key{i}", Call(Raw("nn.Linear"), (Leaf(10**9), Leaf(10**9)))) for i in range(3))),
    Item(Raw("x"), (Raw("..."), Slice(Leaf(1), None), Slice(Raw("a.b"), Bin("+", Raw("a"), Leaf(1))), Raw(":"))),
    Item(Raw("x"), (Slice(None, None, Raw("self.a")), Slice(Raw("a.b"), None, Leaf(2)), Slice(None, None, Leaf(2)))),
    Item(Raw("x"), (Slice(Raw("a.b"), Raw("a.c"), Raw("a.d")), Slice(None, Raw("a.c"), Raw("a.d")))),
    Call(Get(Call(Get(Call(Get(Raw("image"), "reshape"), tuple(map(Leaf, (1, 3, 112, 2, 112, 2)))), "permute"),
         tuple(map(Leaf, (0, 3, 5, 1, 2)))), "flatten"), (Leaf(11), Leaf(13))),
    Call(Get(Call(Raw("torch.tensor"), (Seq(tuple(map(Leaf, range(100, 115))), "list"),)), "reshape"), (Leaf(15),)),
    Bin("**", Raw("x"), Leaf(2)), Bin("**", Get(Raw("x"), "y"), Leaf(-0.5)), Bin("**", Call(Raw("f")), Raw("y")),
    Seq((Leaf("it's"), Leaf('say "x"'), Leaf(1e-5), Leaf(float("inf")), Leaf((1,)), Leaf(()), Leaf(-1))),
]  # fmt: skip


def test_layout_is_ruffs(tmp_path: Path) -> None:
    """Every statement that we wrap is left alone by ruff format."""
    lines = ["def f():"]
    for i, e in enumerate(STATEMENTS):
        lines += Printer().statement(e, 4, f"name_{i} = ")
        lines += Printer().statement(e, 4, "return ")
        lines += [*Printer().statement(e, 4, "for one, another in ", ":"), "        pass"]
    long = Call(Get(Raw("self"), "a_module_whose_name_takes_most_of_a_line_on_its_own"), (Raw("x"),))
    lines += Printer().statement(long, 4, "one_with_a_name, another_with_a_name = ")
    sums = [Bin("+" if i % 3 else "*", Raw(f"term_number_{i}"), Raw(f"other_number_{i}")) for i in range(8)]
    lines += Printer().statement(reduce(lambda a, b: Bin("-", a, b), sums), 4, "total = ")
    lines += Printer().statement(reduce(lambda a, b: Bin("*", a, b), sums), 4, "product = ")
    text = "\n".join(lines) + "\n"
    path = tmp_path / "layout.py"
    path.write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "ruff", "format", "--isolated", str(path)], check=True, capture_output=True)
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("text", "plain", "title"),
    [("conv_bn", "conv_bn", "ConvBn"), ("class", "class_", "Class"), ("2x", "x_2x", "Block2x"), ("", "x", "Block"),
     ("max", "max_", "Max"), ("é", "x", "Block"), ("__a", "a", "A"), ("l", "l_", "L"), ("a-b", "a_b", "AB")],
)  # fmt: skip
def test_names(text: str, plain: str, title: str) -> None:
    assert identifier(text) == plain
    assert camel(text) == title


def test_scope() -> None:
    scope = Scope()
    assert [scope.take(n) for n in ("x", "x", "x", "Net", "Net", "print")] == [
        "x",
        "x_2",
        "x_3",
        "Net",
        "Net2",
        "print_2",
    ]
