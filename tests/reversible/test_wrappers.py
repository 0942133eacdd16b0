"""Rebuilt regions under torch.compile, torch.export, DDP and FSDP2."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.codegen.load import flat
from tests.reversible.conditions import Pair, assert_same, gradients, state

ROOT = Path(__file__).parent.parent.parent
WORKER = Path(__file__).parent / "distributed_worker.py"


@pytest.mark.parametrize("drop", [0.0, 0.4])
def test_compile(drop: float) -> None:
    """One graph, forward and backward. (With dropout, the blocks are compiled as they are.)"""
    torch._dynamo.reset()
    pair = Pair(drop=drop)
    compiled = torch.compile(pair.ours, fullgraph=True, backend="aot_eager")
    torch.manual_seed(0)
    ours = gradients(compiled, pair.inputs())
    if drop == 0:
        assert_same(ours, gradients(pair.plain, pair.inputs()))
        for a, b in zip(state(pair.ours), state(pair.plain), strict=True):
            torch.testing.assert_close(a, b)
    assert all(g is not None for g in ours)
    torch._dynamo.reset()


def test_export() -> None:
    pair = Pair()
    for net in pair.both:
        net.eval()
    given = tuple(t.detach() for t in pair.inputs())
    exported = torch.export.export(pair.ours, given)
    for a, b in zip(flat(exported.module()(*given)), flat(pair.plain(*given)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("processes", [2])
def test_distributed(processes: int) -> None:
    """DDP, FSDP2 around the network, and around each block. A process has a deadline of its own, and ends with us."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes), "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    workers = [
        subprocess.Popen([sys.executable, str(WORKER)], env=env | {"RANK": str(rank)},
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for rank in range(processes)
    ]  # fmt: skip
    try:
        outputs = [worker.communicate(timeout=150)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    for worker, output in zip(workers, outputs, strict=True):
        assert worker.returncode == 0, output
        assert output.count("same gradients") == 3
