"""Paths, state-dict entries, counts, views and result names."""

from __future__ import annotations

import networkx as nx
import pytest
from torch import nn

from archlang.ir.graph import Child, Graph, Init, Output, TensorType, Value, WeightDecl
from archlang.ir.paths import Paths, join, shift, split_index
from archlang.ir.walk import Counts, call_graph, counts, dataflow, modules, parameters, result_fields
from tests.ir.build import Build, constant, extern
from tests.ir.nets import borrowed, phases, residual, tower


def test_path_arithmetic() -> None:
    assert (join("", "a"), join("a", ""), join("a", "b.c")) == ("a", "a", "a.b.c")
    assert (split_index("a.3"), split_index("3"), split_index("a.03"), split_index("a")) == (
        ("a", 3), ("", 3), None, None,
    )  # fmt: skip
    assert (shift("a.3", 2), shift("3", 2), shift("a", 0)) == ("a.5", "5", "a")
    with pytest.raises(ValueError, match="`a` does not end"):
        shift("a", 1)


def test_paths_find_members_of_counted_children_and_follow_aliases() -> None:
    graph = Graph("g", "g", None, aliases={"twin": "other", "other": "s.4"})
    for child in (Child("s.2", None, "relu", count=3), Child("s.7", None, "relu"), Child("s.8", None, "relu", count=2)):
        graph.children[child.path] = child
    graph.borrowed["f.0"] = Child("f.0", None, "relu", count=2)
    paths = Paths(graph)
    found = {i: paths.child(f"s.{i}") for i in range(11)}
    starts = {i: c.path for i, c in found.items() if c is not None}
    assert starts == {2: "s.2", 3: "s.2", 4: "s.2", 7: "s.7", 8: "s.8", 9: "s.8"}
    assert paths.canonical("twin") == "s.4"
    assert paths.child("twin") is graph.children["s.2"]
    assert paths.owned("f.1") is None and paths.borrowed("f.1") is graph.borrowed["f.0"]
    assert paths.lend("f.1", {"f.0": "x.6"}) == "x.7"
    assert paths.lend("f.2", {"f.0": "x.6"}) is None


def test_entries_are_torchs_state_dict_in_its_order() -> None:
    program, net = residual()
    entries = list(parameters(program))
    theirs = net.state_dict()
    assert [e.key for e in entries] == list(theirs)
    assert [e.decl.shape for e in entries] == [tuple(t.shape) for t in theirs.values()]
    assert all(e.span is not None and e.alias_of is None for e in entries)


def test_own_parameters_come_before_buffers_and_children() -> None:
    b = Build("net", "B")
    x = b.input("x", "B 2")
    b.op("linear", x, path="deep.fc", out_features=2)
    b.weight("count", (), kind="buffer", init=Init("zeros"))
    b.weight("deep.scale", (2,), init=constant(1.0))
    b.weight("gain", (2,), init=constant(1.0))
    b.output(x)
    assert [e.key for e in parameters(b.program())] == ["gain", "count", "deep.scale", "deep.fc.weight", "deep.fc.bias"]


def test_aliases_of_modules_tensors_and_what_is_inside_a_child() -> None:
    inner = Build("inner", "B")
    x = inner.input("x", "B 2")
    inner.op("linear", x, path="fc", out_features=2)
    inner.weight("w", (2,), init=constant(1.0))
    inner.graph.aliases["again"] = "fc"
    inner.output(x)
    b = Build("net", "B")
    x = b.input("x", "B 2")
    b.child("runs.0", inner.graph, count=3)
    b.op("embedding", b.input("i", "B", dtype="int64"), path="wte", num_embeddings=5, embedding_dim=2)
    b.graph.children["attn"] = Child("attn", None, "mha", weights=(WeightDecl("out.weight", (2, 2)),))
    b.graph.aliases |= {
        "head.weight": "wte.weight", "last": "runs.2", "deep.w": "runs.1.w", "f": "runs.0.fc", "o": "attn.out.weight",
    }  # fmt: skip
    b.output(x)
    entries = list(parameters(b.program()))
    inner_keys = ["w", "fc.weight", "fc.bias", "again.weight", "again.bias"]
    runs = [f"runs.{i}.{k}" for i in range(3) for k in inner_keys]
    aliases = {e.key: e.alias_of for e in entries if e.alias_of}
    assert [e.key for e in entries if e.key not in aliases] == [k for k in runs if "again" not in k] + [
        "wte.weight",
        "attn.out.weight",
    ]
    assert aliases == {
        **{k: k.replace("again", "fc") for k in runs if "again" in k},
        **{f"last.{k}": f"runs.2.{k}".replace("again", "fc") for k in inner_keys},
        "head.weight": "wte.weight", "deep.w": "runs.1.w", "o": "attn.out.weight",
        "f.weight": "runs.0.fc.weight", "f.bias": "runs.0.fc.bias",
    }  # fmt: skip
    assert counts(b.program()).parameters == 3 * (2 + 4 + 2) + 10 + 4


def test_an_alias_of_nothing_is_an_error() -> None:
    b = Build("net", "B")
    b.output(b.input("x", "B 2"))
    b.graph.aliases["a"] = "b.c"
    with pytest.raises(ValueError, match=r"alias of `b\.c`: there is no `b` in `net`"):
        list(parameters(b.program()))


def test_counts_multiply_runs() -> None:
    program, net = residual()
    assert counts(program).parameters == sum(p.numel() for p in net.parameters())
    assert counts(tower(10**9)) == Counts(15 * 10**9, 15 * 10**9, 0)
    assert counts(borrowed()).parameters == 40


def test_counts_tell_frozen_and_buffers_apart() -> None:
    b = Build("net", "B")
    b.weight("w", (3,), init=constant(1.0), trainable=False)
    b.weight("v", (5,), init=constant(1.0))
    b.weight("m", (7, 2), init=constant(1.0), kind="buffer")
    b.output(b.input("x", "B 2"))
    assert counts(b.program()) == Counts(8, 5, 14)


def test_modules_are_listed_once() -> None:
    b = Build("net", "B")
    x = b.input("x", "B 2")
    b.op("linear", x, path="a.0", count=2, out_features=2)
    b.graph.aliases["b"] = "a.1"
    extern(b, "e", "m:f", TensorType((2,)), x)
    b.output(x)
    assert [m.path for m in modules(b.program())] == ["a.0", "a.1", "e"]
    net = residual()[1]
    weighted = [name for name, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert [m.path for m in modules(residual()[0])] == weighted


def test_dataflow_is_a_graph_of_ports_nodes_and_outputs() -> None:
    graph = phases().root
    view = dataflow(graph)
    assert nx.is_directed_acyclic_graph(view)
    assert view.number_of_nodes() == len(graph.inputs) + len(graph.nodes) + len(graph.outputs)
    xs, add = graph.inputs[0], graph.nodes[0]
    assert view.edges[xs, add]["values"] == list(xs.values)
    assert set(nx.ancestors(view, graph.outputs[1])) == {*graph.inputs, *graph.nodes[:5]}
    assert list(view.nodes)[:2] == graph.inputs


def test_call_graph_counts_calls() -> None:
    view = call_graph(borrowed())
    assert set(view.edges(data="count")) == {("coupling", "apply", 1), ("net", "coupling", 2)}
    assert call_graph(tower(50)).edges["tower", "unit"]["count"] == 50
    assert list(nx.lexicographical_topological_sort(view)) == ["net", "coupling", "apply"]


def test_result_fields() -> None:
    v = (Value(TensorType(())),)
    plain, named, late = Output(v), Output(v, "aux"), Output(v, "seen", training=True)
    assert result_fields([plain], True) is None
    assert result_fields([plain, plain], True) is None
    assert result_fields([plain, late], False) is None
    assert result_fields([plain, late], True) == ("output", "seen")
    assert result_fields([plain, plain, named, late], False) == ("output0", "output1", "aux")
    assert result_fields([Output(v, "output"), plain], True) == ("output", "output_")
    assert result_fields([named], True) is None
