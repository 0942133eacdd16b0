"""Networks whose reference is research code, against what that code computed (tests/parity/pinned)."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import pytest

import archlang
from archlang.ir.graph import Graph
from archlang.ops.base import registry
from archlang.shapes.dim import evaluate
from tests.parity.oracles import SPECS
from tests.parity.pins import PINNED, assert_pinned


@pytest.mark.parametrize("name", sorted(path.stem for path in PINNED.glob("*.json")))
def test_pinned(name: str) -> None:
    assert_pinned(name)


# Parameters and operations that the authors' code prints of itself, by thop.
REVBIFPN = {
    "revbifpn_s0": (224, 308_039_716),
    "revbifpn_s3": (288, 3_330_873_312),
    "revbifpn_s6": (352, 38_084_434_748),
}


@pytest.mark.parametrize("name", REVBIFPN)
def test_operations_of_revbifpn(name: str) -> None:
    size, published = REVBIFPN[name]
    program = archlang.compile(SPECS / "revbifpn.arch", name).program
    assert operations(program.root, {"B": 1, "H": size, "W": size}) == published


def operations(graph: Graph, sizes: Mapping[str, int]) -> int:
    """As thop counts: a product, twice a value that is normalised, eleven times one that is interpolated, a bias."""
    total = 0
    for node in graph.nodes:
        made = prod(evaluate(size, sizes) for size in node.outputs[0].type.shape)
        if node.callee is not None:
            inner = {name: evaluate(size, sizes) for name, size in node.sizes.items()}
            total += node.count * operations(node.callee, inner)
        elif node.op in ("conv", "linear"):
            macs = registry()[node.op].macs([node.inputs[0].type], [node.outputs[0].type], node.attrs)
            total += evaluate(macs, sizes) + (made if node.op == "conv" and node.attrs["bias"] else 0)
        else:
            total += {"batchnorm": 2, "interpolate": 11}.get(node.op, 0) * made
    return total
