"""Branches that do not depend on each other, beside figures by hand and paths in networkx's view of the dataflow."""

from __future__ import annotations

import networkx as nx
import pytest

import archlang
from archlang.analyze.branches import forks
from archlang.certify.sample import usual
from archlang.cli import main
from archlang.ir.walk import dataflow
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
    one, two = fork.branches
    assert ([n.op for n in one.nodes], one.macs) == (["conv"], 8 * 8 * 9 * 40)
    assert ([n.op for n in two.nodes], two.macs) == (["call", "exp"], (8 * 4 + 4 * 8 * 9) * 40)


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
    # 64, 576, 320 and 192 multiplications a position; the first, the second and the last are on the longest way
    assert "46,080 MACs, 33,280 of them on the longest way" in text
    assert "net.arch:7): 23,040 in 1 step, 12,800 in 2 steps" in text
