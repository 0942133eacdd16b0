"""The JSON form: exact round trips, the published schema, and what is refused."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from archlang.ir.graph import Constraint, Init, Program, TensorType
from archlang.ir.schema import json_schema
from archlang.ir.serialize import from_json, to_json
from archlang.ir.text import to_text
from archlang.shapes.dim import Size, symbol
from tests.ir.build import Build, constant, span
from tests.ir.nets import borrowed, phases, residual, tower


def test_a_size_is_one_object() -> None:
    h, w = symbol("H"), symbol("W")
    size = (h * 2 + w) // 3
    assert size is (w + h + h) // 3 and size is not (h * 2 + w) // 4
    assert pickle.loads(pickle.dumps(size)) is size is copy.deepcopy(size)


def everything() -> Program:
    """Fields that the other programs leave at their defaults."""
    odd = float("nan"), math.inf, -math.inf, 1.0, 1, True, None, "1", ("H", symbol("H") // 2, ()), Init("ones")
    b = Build("net", "B H", odd=odd, init=Init("columns", (("a", constant(0.5)), ("n", 3))))
    x = b.input("x", "B 3 H", dtype="int64")
    b.weight("w", (2,), dtype="float32", trainable=False, constraint="nonzero", init=constant(2.0))
    b.weight("v", (), kind="buffer", persistent=False)
    b.graph.aliases["u"] = "w"
    b.graph.constraints.append(Constraint(symbol("H"), 2 * (symbol("H") // 2), "==", "halves", None))
    b.graph.doc = "Ünï ${x}\n"
    b.graph.sequential = b.graph.reversible = True
    b.output(x, name="x")
    return b.program()


@pytest.mark.parametrize("program", [residual()[0], tower(7), borrowed(), phases(), everything()], ids=str)
def test_round_trip(program: Program) -> None:
    text = to_json(program)
    again = from_json(text)
    assert to_json(again) == text
    assert to_text(again, spans=True) == to_text(program, spans=True)
    assert [g.name for g in again.graphs] == [g.name for g in program.graphs]
    assert again.root is again.graphs[-1]
    for ours, theirs in zip(program.graphs, again.graphs, strict=True):
        assert str(ours.params) == str(theirs.params)  # by text: nan is not equal to itself
        assert [type(v) for v in ours.params.values()] == [type(v) for v in theirs.params.values()]
        assert (ours.doc, ours.sequential, ours.reversible) == (theirs.doc, theirs.sequential, theirs.reversible)


def test_a_value_that_is_used_twice_stays_one() -> None:
    again = from_json(to_json(borrowed()))
    coupling = again.graphs[1]
    assert coupling.nodes[1].outputs[0] is coupling.nodes[2].inputs[0] is coupling.outputs[0].values[0]
    assert again.root.nodes[1].callee is again.root.nodes[2].callee is coupling


def test_spans_have_file_line_and_offsets() -> None:
    data = json.loads(to_json(tower(2)))
    assert data["sources"][0]["path"] == "hand.arch"
    assert data["graphs"][0]["nodes"][1]["span"] == {"file": 0, "line": 2, "column": 14, "start": 28, "end": 32}
    assert from_json(to_json(tower(2))).graphs[0].nodes[1].span.text == span(28).text  # type: ignore[union-attr]


sizes = st.recursive(
    st.integers(-5, 9) | st.sampled_from("HWBn").map(symbol),
    lambda inner: (
        st.tuples(inner, inner).map(lambda p: p[0] + p[1])
        | st.tuples(inner, inner).map(lambda p: p[0] * p[1])
        | st.tuples(inner, st.integers(1, 6)).map(lambda p: p[0] // p[1])
        | st.tuples(inner, st.sampled_from("HW").map(symbol)).map(lambda p: p[0] // p[1])
    ),
    max_leaves=6,
)


@given(sizes)
def test_sizes_round_trip(size: Size) -> None:
    b = Build("net", "H W B n", at=size)
    x = b.input("x", "B")
    x.type = TensorType((size, 1))
    b.output(x)
    again = from_json(to_json(b.program())).root
    assert again.inputs[0].values[0].type.shape[0] == size
    assert again.params["at"] == size


def resolve(schema: dict[str, Any], data: Any, root: dict[str, Any]) -> bool:
    """A small JSON Schema validator, for the keywords that the published schema uses."""
    if "$ref" in schema:
        return resolve(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], data, root)
    if "anyOf" in schema:
        return any(resolve(s, data, root) for s in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return data in schema.get("enum", [schema.get("const")])
    match schema.get("type"):
        case "object":
            known, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
            return (
                isinstance(data, dict)
                and all(name in data for name in schema.get("required", ()))
                and all(
                    resolve(known[k], v, root) if k in known else rest is True or (rest and resolve(rest, v, root))
                    for k, v in data.items()
                )
            )
        case "array":
            return isinstance(data, list) and all(resolve(schema["items"], item, root) for item in data)
        case "integer":
            return type(data) is int
        case kind:
            return isinstance(data, {"string": str, "boolean": bool, "number": (int, float), "null": type(None)}[kind])


@pytest.mark.parametrize("program", [residual()[0], everything()], ids=str)
def test_documents_fit_the_published_schema(program: Program) -> None:
    schema = json_schema()
    data = json.loads(to_json(program))
    assert resolve(schema, data, schema)
    data["graphs"][0]["colour"] = "red"
    assert not resolve(schema, data, schema)


def test_version_and_format_are_always_written() -> None:
    data = json.loads(to_json(tower(2)))
    assert (data["format"], data["version"]) == ("archlang-ir", 1)
    data["version"] = 2
    with pytest.raises(ValidationError):
        from_json(json.dumps(data))


def broken(change: str) -> str:
    data = json.loads(to_json(tower(2)))
    graph = data["graphs"][0]
    match change:
        case "value":
            graph["nodes"][2]["inputs"] = [17]
        case "again":
            graph["nodes"][2]["outputs"][0]["id"] = 0
        case "graph":
            data["graphs"].reverse()
        case "twice":
            data["graphs"].insert(0, graph)
        case "root":
            data["root"] = "nothing"
        case "span":
            graph["span"]["end"] = 10**9
        case "source":
            graph["span"]["file"] = 4
        case "factor":
            graph["params"] = {"n": {"size": {"sum": [{"factors": [{"symbol": "H", "floor": "W", "by": 2}]}]}}}
        case "zero":
            graph["params"] = {"n": {"size": {"sum": [{"factors": [{"floor": "W", "by": 0}]}]}}}
    return json.dumps(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("value", "value 17 is used before it is defined"),
        ("again", "value 0 is defined twice"),
        ("graph", "graph `unit` is used before it is defined"),
        ("twice", "two graphs are called `unit`"),
        ("root", "graph `nothing` is used before it is defined"),
        ("span", "a span lies outside of source 0"),
        ("source", "a span points into source 4, which is not listed"),
        ("factor", "a factor of a size is either"),
        ("zero", "a size divides by zero"),
    ],
)
def test_broken_documents_are_refused(change: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_json(broken(change))


def test_the_published_schema_is_that_of_the_models() -> None:
    published = Path(__file__).parents[2] / "docs" / "ir.schema.json"
    assert json.loads(published.read_text(encoding="utf-8")) == json_schema(), "python -m archlang.ir.schema writes it"
