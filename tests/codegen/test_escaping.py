"""Nothing that a spec's author wrote can become code."""

from __future__ import annotations

import ast
import io
import tokenize

import pytest
import torch

from archlang.codegen import generate
from archlang.ir.graph import Program
from tests.codegen.build import B, Block, chain, program
from tests.codegen.load import load

HOSTILE = [
    'quotes """ and \\""" end"',
    "backslash at the end \\",
    'one quote "',
    "'''",
    "line\nimport os\nos.abort()",
    'x"""\nimport os\n"""',
    "\x00\x07\u202e\u2028 bell and direction",
    "{{ 7 * 7 }} {% raw %} {# no #}",
    "\\N{BULLET} \\x41 \\u0041 %s {0}",
    "\ud800 alone",
]
NAMES = [
    "class", "self", "torch", "F", "nn", "Tensor", "l", "O", "None", "list", "tuple", "range", "isinstance", "super",
    "print", "x y", "1st", "é", "", "__init__", "_", "training", "forward", "weight", "out", "NamedTuple", "layer",
]  # fmt: skip


def imports(text: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(text)))
    plain = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    return plain | {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}


def mlp(name: str, doc: str = "", *, words: str = "x") -> Program:
    f = Block("inner", block=name, doc=doc, note=doc)
    x = f.input(B, 4, name=words)
    y = f.op("linear", x, path="fc", out_features=4, bind=words)
    f.returns(f.op("add", y, x), name=words)
    f.returns(y, name=f"{words}2")
    g = Block("plain", block=f"{name}2", doc=doc)
    x = g.input(B, 4, name=words)
    g.returns(g.op("relu", x, bind=words))
    r = Block("root", block=name, doc=doc, note=doc)
    x = r.input(B, 4, name=words)
    a, b = r.calls(f.graph, x, path="inner", bind=(words, words))
    r.returns(r.op("add", r.call(g.graph, a, path="plain", bind=words), b))
    return program(r.graph)


@pytest.mark.parametrize("text", HOSTILE)
def test_docs_and_strings(text: str) -> None:
    source = generate(mlp("net", text), source_name=text, header=text)
    source.encode("utf-8")
    assert imports(source) <= {"__future__", "torch", "torch.nn.functional", "typing"}
    net = load(source).root()
    assert net(torch.ones(1, 4)).shape == (1, 4)
    list(tokenize.generate_tokens(io.StringIO(source).readline))


def test_docs_say_what_was_written() -> None:
    doc = 'A "quoted" \\ path, """thrice""", and "'
    module = load(generate(mlp("net", doc), source_name="net.arch"))
    assert module.root.__doc__.startswith(doc)


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    source = generate(mlp(name, words=name), source_name="net.arch")
    net = load(source).root()
    x = torch.randn(2, 4)
    inner = net.get_submodule("inner.fc")
    y = inner(x)
    assert torch.equal(net(x), (y + x).relu() + y)


@pytest.mark.parametrize(
    "label", ["class", "a b", 'a"b', "{i}", "0", "__mangled", "é", "None", "keys.items", "x.class.0"]
)
def test_labels(label: str) -> None:
    rest = chain("rest", (B, 4), [("linear", {"out_features": 4}), ("relu", {})])
    r = Block("net")
    x = r.op("linear", r.input(B, 4), path=f"{label}", out_features=4)
    x = r.call(rest, x, path="rest")
    r.weight(f"w.{label}", 4)
    r.returns(r.op("add", x, r.op("linear", x, path=f"deep.{label}", out_features=4)))
    net = load(generate(program(r.graph), source_name="net.arch")).root()
    modules = {f"{p}.{n}" for p in (label, f"deep.{label}", "rest.0") for n in ("weight", "bias")}
    assert set(net.state_dict()) == {*modules, f"w.{label}"}
    assert net(torch.ones(1, 4)).shape == (1, 4)


def test_two_names_that_become_one() -> None:
    r = Block("net")
    a, b = r.input(B, 4, name="a-b"), r.input(B, 4, name="a_b")
    r.returns(r.op("sub", a, b), name="a-b")
    r.returns(b, name="a_b")
    net = load(generate(program(r.graph), source_name="net.arch")).root()
    x, y = torch.ones(1, 4), torch.zeros(1, 4)
    first, second = net(x, y)
    assert torch.equal(first, x) and torch.equal(second, y)
