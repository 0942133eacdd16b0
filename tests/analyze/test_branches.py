"""Branches that do not depend on each other, beside figures by hand and paths in networkx's view of the dataflow."""

from __future__ import annotations

import json

import networkx as nx
import pytest

import archlang
from archlang.analyze import cost
from archlang.analyze.branches import forks
from archlang.certify.sample import usual
from archlang.cli import main
from archlang.ir.walk import dataflow, parameters
from tests.analyze.networks import compiled

SPEC = """
block arm(width: int)(x) { return x -> a: conv(width, 1) -> relu -> b: conv(8, 3, padding=1) }
block net(x: [B, 8, H, W]) {
    stem = x -> stem: conv(8, 1)
    one = stem -> one: conv(8, 3, padding=1)
    two = stem -> two: arm(4) -> exp
    y = concat([one, two, stem])
    return y -> tail: conv(8, 1)
}
"""


def test_by_hand() -> None:
    (fork,) = forks(archlang.compile(SPEC, "net").program, {"B": 2, "H": 4, "W": 5})
    assert fork.join is not None and fork.join.op == "concat" and fork.graph.name == "net"
    assert (fork.path, fork.runs, fork.longest, fork.saved, fork.streams) == ("", 1, 23040, 12800, 2)
    one, two = fork.branches
    assert ([n.op for n in one.nodes], one.macs) == (["conv"], 8 * 8 * 9 * 40)
    assert ([n.op for n in two.nodes], two.macs) == (["call", "exp"], (8 * 4 + 4 * 8 * 9) * 40)


def test_what_runs_in_training_alone_is_no_branch() -> None:
    spec = """
    block net(x: [B, 8, H, W]) {
        one = x -> one: conv(8, 3, padding=1)
        if training { aux = x -> two: conv(8, 3, padding=1) } else { aux = x }
        return concat([one, aux]) -> tail: conv(8, 1)
    }
    """
    program = archlang.compile(spec).program
    assert forks(program, {"B": 1, "H": 4, "W": 4}) == []


def test_where_and_how_often() -> None:
    """A graph at two sizes, in a run and lent: each choice of sizes by itself, under the path of the first instance."""
    spec = """
    block cell(x) {
        return concat([x -> a: conv(8, 3, padding=1), x -> b: conv(8, 1), x -> c: conv(8, 1)]) -> d: conv(8, 1)
    }
    block twice(f: module)(x) { return x -> f -> f }
    block net(x: [B, 8, H, W]) {
        shared = cell()
        y = x -> body: chain([cell() for _ in 0..3]) -> maxpool(2)
        return y -> last: twice(own: shared)
    }
    """
    program = archlang.compile(spec, "net").program
    keys = {entry.key for entry in parameters(program)}
    sizes = {"B": 1, "H": 4, "W": 4}
    lent, run = forks(program, sizes)
    assert [(f.path, f.runs, f.saved, f.streams) for f in (lent, run)] == [
        ("shared", 2, 2 * 128 * 4, 2),
        ("body.0", 3, 3 * 128 * 16, 2),
    ]
    assert {f"{fork.path}.a.weight" for fork in (lent, run)} < keys
    figures = cost(program, sizes)  # no fork is inside of another: together they save what is not on the longest way
    assert isinstance(figures.macs, int) and figures.critical.known == figures.macs - lent.saved - run.saved


@pytest.mark.parametrize("file", ["inception_v3.arch", "fractalnet.arch", "lite_hrnet.arch", "crossvit.arch"])
def test_no_way_leads_from_a_branch_to_another(file: str) -> None:
    program = compiled(file, None if file != "lite_hrnet.arch" else "lite_hrnet_18").program
    found = forks(program, usual(program)[0])
    assert found
    for fork in found:
        view = dataflow(fork.graph)
        for branch in fork.branches:
            others = {node for b in fork.branches if b is not branch for node in b.nodes}
            for node in branch.nodes:
                below = nx.descendants(view, node)
                assert not below & others
                assert fork.join is None or fork.join in below


def test_the_report(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    path = f"{tmp_path}/net.arch"
    with open(path, "w", encoding="utf-8") as file:
        file.write(SPEC)
    assert main(["optimize", path, "-e", "net", "--at", "B=2,H=4,W=5", "--explain"]) == 0
    text = capsys.readouterr().out
    # 64, 576, 320 and 192 multiplications a position; the first, the second and the last are on the longest way: 33,280
    assert "72% of 46,080 MACs are on the longest way" in text
    branches = f"28% on 2 streams: `concat` in the network ({path}:7)\n    23,040  one\n    12,800  two\n"
    assert text.endswith(branches)
    assert main(["optimize", path, "-e", "net", "--at", "B=2,H=4,W=5", "--explain", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    (fork,) = data["side_by_side"]
    assert (data["longest_way_macs"], fork["macs_saved"], fork["path"], fork["join"]) == (33280, 12800, "", "concat")
    assert [branch["layers"] for branch in fork["branches"]] == [["one"], ["two"]]
