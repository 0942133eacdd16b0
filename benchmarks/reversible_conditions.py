"""The conditions of everyday training, for generated networks and for the peers from PyPI: which come out right.

    OMP_NUM_THREADS=1 python benchmarks/reversible.py conditions

Each cell compares with the same blocks run one after the other by plain autograd, in float64. "wrong" are other numbers
without a word; an error that says what is not supported is printed as such. In two rows an error is right, too: there
plain autograd raises one.
"""

from __future__ import annotations

import copy
import io
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import archlang
from benchmarks.reversible_peers import installed

SPEC = {
    4: """
        use std.reversible: coupling
        block f(drop: float)(x) {
            x = x -> a: conv(4, 3, padding=1) -> n: batchnorm -> relu -> d: dropout(drop)
            return x -> b: conv(4, 3, padding=1)
        }
        block net(drop: float)(a: [B, 4, H, W], b: [B, 4, H, W]) {
            return (a, b) -> body: chain([coupling(f(drop), f(drop)) for _ in 0..3])
        }""",
    3: """
        use std.reversible: coupling
        block f(drop: float)(x) {
            return x -> n: layernorm -> a: linear(8) -> gelu -> d: dropout(drop) -> b: linear(4)
        }
        block net(drop: float)(a: [B, T, 4], b: [B, T, 4]) {
            return (a, b) -> body: chain([coupling(f(drop), f(drop)) for _ in 0..3])
        }""",
}
SHAPES = {4: (2, 4, 5, 6), 3: (2, 5, 4)}


class Ours(nn.Module):
    """The generated network; the blocks under the name that peers have them under."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.blocks: Any = net.body

    def forward(self, a: Tensor, b: Tensor) -> Any:
        return self.net(a, b)


class Plain(nn.Module):
    def __init__(self, blocks: nn.ModuleList, dim: int) -> None:
        super().__init__()
        self.blocks = blocks

    def forward(self, a: Tensor, b: Tensor) -> Any:
        for block in self.blocks:
            a = a + block.f(b)
            b = b + block.g(a)
        return a, b


class Bench:
    """Makes networks with the same weights, and their inputs."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.peers = installed(rank)
        self.files: dict[float, Any] = {}

    def network(self, name: str, drop: float = 0.0) -> Any:
        if drop not in self.files:
            source = archlang.compile(SPEC[self.rank], entry="net", drop=drop).source
            name_of_file = f"generated_{self.rank}_{len(self.files)}"
            self.files[drop] = sys.modules[name_of_file] = types.ModuleType(name_of_file)  # torch.compile looks there
            exec(compile(source, f"{name_of_file}.py", "exec"), self.files[drop].__dict__)
        torch.manual_seed(0)
        net = self.files[drop].Net().double()
        dim = 1 if self.rank == 4 else 2
        if name == "archlang":
            return Ours(net)
        return (Plain if name == "plain" else self.peers[name])(net.body, dim)

    def inputs(self, seed: int = 1) -> list[Tensor]:
        made = torch.Generator().manual_seed(seed)
        return [torch.randn(SHAPES[self.rank], generator=made, dtype=torch.float64).requires_grad_() for _ in range(2)]


def loss(results: Any) -> Tensor:
    a, b = results
    return (a.sin() * a).double().sum() + (2 * b.cos() * b).double().sum()


def found(net: Any, given: list[Tensor]) -> list[Any]:
    return [t.grad for t in (*given, *net.blocks.parameters())]


# -- cells: what is done with a network; the tensors are compared ------------------------------------------------------
def step(net: Any, bench: Bench) -> list[Any]:
    given = bench.inputs()
    loss(net(*given)).backward()
    return found(net, given)


def results(net: Any, bench: Bench) -> list[Any]:
    return list(net(*bench.inputs()))


def statistics(net: Any, bench: Bench) -> list[Any]:
    step(net, bench)
    return list(net.blocks.buffers())


def twice(net: Any, bench: Bench) -> list[Any]:
    first, second = (loss(net(*bench.inputs(seed))) for seed in (1, 2))
    (first + 2 * second).backward()
    return found(net, [])


def generator(net: Any, bench: Bench) -> list[Any]:
    step(net, bench)
    return [torch.rand(3)]


def autocast(net: Any, bench: Bench) -> list[Any]:
    net.float()
    given = [t.detach().float().requires_grad_() for t in bench.inputs()]
    with torch.autocast("cpu", torch.bfloat16):
        result = loss(net(*given))
    result.backward()
    return found(net, given)


def frozen(net: Any, bench: Bench) -> list[Any]:
    for number, p in enumerate(net.blocks.parameters()):
        p.requires_grad_(number % 3 != 0)
    return step(net, bench)


def without_gradient(net: Any, bench: Bench) -> list[Any]:
    loss(net(*(t.detach() for t in bench.inputs()))).backward()
    return found(net, [])


def asked_for(net: Any, bench: Bench) -> list[Any]:
    given = bench.inputs()
    return list(torch.autograd.grad(loss(net(*given)), [*given, *net.blocks.parameters()]))


def retained(net: Any, bench: Bench) -> list[Any]:
    given = bench.inputs()
    result = loss(net(*given))
    result.backward(retain_graph=True)
    result.backward()
    return found(net, given)


def accumulated(net: Any, bench: Bench) -> list[Any]:
    step(net, bench)
    return step(net, bench)


def hooks(net: Any, bench: Bench) -> list[Any]:
    seen: list[int] = []
    for p in net.blocks.parameters():
        p.register_hook(lambda g: (seen.append(1), 3 * g)[1])
    return [*step(net, bench), torch.tensor(float(len(seen)))]


def shared(net: Any, bench: Bench) -> list[Any]:
    for kind in ("f", "g"):
        for mine, other in zip(
            getattr(net.blocks[2], kind).children(), getattr(net.blocks[0], kind).children(), strict=True
        ):
            for name, p in other.named_parameters():
                setattr(mine, name, p)
    return step(net, bench)


def unused(net: Any, bench: Bench) -> list[Any]:
    given = bench.inputs()
    net(*given)[1].square().sum().backward()
    return found(net, given)


def no_grad(net: Any, bench: Bench) -> list[Any]:
    given = bench.inputs()
    with torch.no_grad():
        return [*net(*given), *given]


def intact(net: Any, bench: Bench) -> list[Any]:
    given = bench.inputs()
    made = net(*given)
    loss(made).backward()
    return [*(t.detach() for t in (*given, *made))]


def evaluation(net: Any, bench: Bench) -> list[Any]:
    step(net, bench)
    net.eval()
    return step(net, bench)


def mode(net: Any, bench: Bench) -> list[Any]:
    given = bench.inputs()
    result = loss(net(*given))
    net.eval()
    result.backward()
    return found(net, given)


def double_backward(net: Any, bench: Bench) -> list[Any]:
    given = bench.inputs()
    first = torch.autograd.grad(loss(net(*given)), given, create_graph=True)
    return list(torch.autograd.grad(sum(g.square().sum() for g in first), given))


def in_place(net: Any, bench: Bench) -> list[Any]:
    given = bench.inputs()
    made = list(net(*given))
    made[0].mul_(2)
    loss(made).backward()
    return found(net, given)


def changed_weights(net: Any, bench: Bench) -> list[Any]:
    given = bench.inputs()
    result = loss(net(*given))
    with torch.no_grad():
        next(net.blocks.parameters()).mul_(1.5)
    result.backward()
    return found(net, given)


def deepcopied(net: Any, bench: Bench) -> list[Any]:
    step(net, bench)
    return step(copy.deepcopy(net), bench)


def saved(net: Any, bench: Bench) -> list[Any]:
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    for p in net.parameters():
        p.data.zero_()
    net.load_state_dict(torch.load(file))
    return step(net, bench)


def compiled(net: Any, bench: Bench) -> list[Any]:
    torch._dynamo.reset()
    given = bench.inputs()
    loss(torch.compile(net, fullgraph=True, backend="aot_eager")(*given)).backward()
    return found(net, given)


Cell = Callable[[Any, Bench], list[Any]]
CELLS: dict[str, tuple[Cell, float]] = {  # the cell, and how much dropout there is
    "results": (results, 0),
    "gradients": (step, 0),
    "batch statistics change once": (statistics, 0),
    "dropout": (step, 0.4),
    "dropout, two forwards before a backward": (twice, 0.4),
    "backward leaves the generator alone": (generator, 0.4),
    "autocast": (autocast, 0),
    "frozen weights": (frozen, 0),
    "inputs without gradient": (without_gradient, 0),
    "torch.autograd.grad": (asked_for, 0),
    "retained graph": (retained, 0),
    "accumulated gradients": (accumulated, 0),
    "hooks of weights": (hooks, 0),
    "shared weights": (shared, 0),
    "an unused result": (unused, 0),
    "no_grad": (no_grad, 0),
    "the caller's tensors stay": (intact, 0),
    "evaluation": (evaluation, 0),
    "another mode before backward": (mode, 0),
    "second derivative": (double_backward, 0),
    "a result changed in place": (in_place, 0),
    "weights changed before backward": (changed_weights, 0),
    "deepcopy": (deepcopied, 0),
    "saved and loaded": (saved, 0),
    "torch.compile(fullgraph=True)": (compiled, 0),
}


def outcome(cell: Cell, net: Any, bench: Bench) -> list[Any] | Exception:
    torch.manual_seed(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return cell(net, bench)
    except Exception as error:
        return error


def verdict(ours: list[Any] | Exception, plain: list[Any] | Exception, tolerance: float) -> str:
    if isinstance(plain, Exception):
        assert "modified by an inplace operation" in str(plain), plain
        return "right" if isinstance(ours, RuntimeError) else "wrong"
    if isinstance(ours, Exception):
        return "error"
    if [t is None for t in ours] != [t is None for t in plain]:
        return "wrong"
    pairs = [(a, b) for a, b in zip(ours, plain, strict=True) if a is not None]
    scale = max((float(b.abs().max()) for _, b in pairs), default=1.0)
    same = all(torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance * scale) for a, b in pairs)
    return "right" if same else "wrong"


def conditions() -> None:
    """Prints the tables."""
    for rank, kind in ((4, "convolutions"), (3, "layers over features")):
        bench = Bench(rank)
        names = ["archlang", *bench.peers]
        print(f"{kind:42}" + "".join(f"{name:>18}" for name in names))
        right = dict.fromkeys([*names, "of"], 0)
        for title, (cell, drop) in CELLS.items():
            plain = outcome(cell, bench.network("plain", drop), bench)
            if not plain:  # such as statistics of batches where there are none
                continue
            right["of"] += 1
            row = []
            for name in names:
                mine = outcome(cell, bench.network(name, drop), bench)
                row.append(verdict(mine, plain, 0.1 if cell is autocast else 1e-9))
                right[name] += row[-1] == "right"
            print(f"{title:42}" + "".join(f"{text:>18}" for text in row))
        print(f"{'right of ' + str(right['of']):42}" + "".join(f"{right[name]:18}" for name in names))
