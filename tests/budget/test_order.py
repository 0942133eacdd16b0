"""Orders of a graph's nodes for plans, beside all orders there are."""

from __future__ import annotations

import random

import networkx as nx
import pytest

import archlang
from archlang.analyze.cost import recorded
from archlang.analyze.plan import Plans
from archlang.analyze.trace import Trace
from archlang.budget import Budget
from archlang.budget.order import orders
from archlang.ir.graph import Graph
from tests.budget.test_generated import BRAID, SIZES, at

WIDTHS = (1, 2, 4, 16)


def traced(text: str) -> Trace:
    program = archlang.compile(text, "net").program
    return recorded(program, Plans(), {name: SIZES[name] for name in program.root.symbols})


def at_random(rng: random.Random, count: int) -> str:
    """Wires of several widths, each from one or two before it; what nobody reads is summed up."""
    lines, left = [], []
    for i in range(count):
        sources = rng.sample([f"w{k}" for k in range(i)] or ["x"], min(max(i, 1), rng.randrange(1, 3)))
        lines.append(f"    w{i} = concat({', '.join(sources)}) -> c{i}: conv({rng.choice(WIDTHS)}, 1)")
        left = [w for w in left if w not in sources] + [f"w{i}"]
    return "block net(x: [B, 3, H, W]) {\n" + "\n".join(lines) + f"\n    return ({', '.join(left)})\n}}\n"


def waiting(graph: Graph, order: list[int]) -> int:
    """Elements that wait for their last reader, over all places of an order; from the graph's types."""
    place = {id(graph.nodes[i]): p for p, i in enumerate(order)}
    total = 0
    for node in graph.nodes:
        for value in node.outputs:
            readers = [place[id(n)] for n in graph.nodes if any(v is value for v in n.inputs)]
            shape = value.type.shape
            total += int(str(shape[1])) * (max(readers) - place[id(node)]) if readers else 0
    return total


def dag(graph: Graph) -> nx.DiGraph:
    view = nx.DiGraph()
    view.add_nodes_from(range(len(graph.nodes)))
    made = {id(v): i for i, n in enumerate(graph.nodes) for v in n.outputs}
    view.add_edges_from((made[id(v)], i) for i, n in enumerate(graph.nodes) for v in n.inputs if id(v) in made)
    return view


def test_orders_are_near_the_best_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of small graphs at random, all orders are tried."""
    monkeypatch.setattr("archlang.budget.order.GAIN", 1.0)  # whatever is gained
    written = found = best = 0
    for seed in range(30):
        trace = traced(at_random(random.Random(seed), 6))
        assert trace.plan is not None
        graph = trace.plan.graph
        order = orders(trace).get(id(graph), list(range(len(graph.nodes))))
        every = [waiting(graph, list(o)) for o in nx.all_topological_sorts(dag(graph))]
        figures = waiting(graph, list(range(len(graph.nodes)))), waiting(graph, order), min(every)
        assert figures[2] <= figures[1] <= figures[0]
        written, found, best = written + figures[0], found + figures[1], best + figures[2]
    assert (found - best) <= 0.2 * (written - best)


def test_branches_come_one_after_the_other_but_for_their_effects() -> None:
    """Dropout draws in the same order, and statistics of a module with two uses change in it."""
    trace = traced(BRAID)
    assert trace.plan is not None
    nodes = trace.plan.graph.nodes
    (order,) = orders(trace).values()
    assert order != sorted(order) == list(range(len(nodes)))
    position = {i: p for p, i in enumerate(order)}
    assert all(position[i] < position[j] for i, j in dag(trace.plan.graph).edges)
    for effect in ("dropout", "batchnorm"):
        places = [position[i] for i, node in enumerate(nodes) if node.op == effect]
        assert len(places) > 1 and places == sorted(places)


def test_another_order_computes_less_again() -> None:
    budget = Budget(archlang.compile(BRAID, "net").program, {name: SIZES[name] for name in "BHW"})
    as_written, ordered = budget.layouts
    fits = [fit for i in range(10) if (fit := at(budget, i / 10)).layout is ordered]
    for fit in fits:
        other = as_written.within(fit.peak)
        assert other is None or fit.again < other.again
    planned = budget.planned(fits[0]).program.root
    assert [n.path for n in planned.nodes] != [n.path for n in budget.program.root.nodes]


def test_modes_stay_in_their_places() -> None:
    modal = BRAID.replace("    norm = batchnorm\n", "    norm = batchnorm\n    if training { a = a -> relu }\n")
    assert modal != BRAID and orders(traced(modal)) == {}
