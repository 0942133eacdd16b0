"""One process of a distributed training step: our gradients against plain autograd's under the same wrapper."""

from __future__ import annotations

import datetime
import os
import signal
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tests.reversible.conditions import Pair, assert_same, loss


def step(kind: str, net: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor | None]:
    parameters = list(net.parameters())
    wrapped: Any = net
    if kind == "ddp":
        wrapped = nn.parallel.DistributedDataParallel(net)
    else:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        if kind == "fsdp-blocks":
            for block in net.body:  # type: ignore[operator,union-attr]
                fully_shard(block, mesh=mesh)
        fully_shard(net, mesh=mesh)
        parameters = list(net.parameters())
    loss(wrapped(*inputs)).backward()
    return [_whole(p.grad) for p in parameters]


def _whole(gradient: Any) -> Tensor | None:
    found: Tensor | None = gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
    return found


def main() -> None:
    signal.alarm(140)
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
    for kind in ("ddp", "fsdp", "fsdp-blocks"):
        pair = Pair(torch.float32)
        inputs = pair.inputs(int(os.environ["RANK"]))
        ours, plain = (step(kind, net, inputs) for net in pair.both)
        assert_same(ours, plain, 1e-3)
        print(f"{kind}: same gradients")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
