"""Networks to measure: those of specs/, and what torch and the interpreter say of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import archlang
from archlang.elaborate import load
from archlang.elaborate.entry import stands_alone, used_blocks
from archlang.inputs import choose_sizes
from archlang.interpret import Interpreter
from archlang.interpret.initial import initial_state
from archlang.interpret.interpreter import _Run
from archlang.ir.graph import Program
from archlang.loading import instantiate
from archlang.shapes.dim import evaluate
from archlang.syntax.source import read_file
from tests.analyze.measure import flat

SPECS = Path(__file__).parents[2] / "specs"
FILES = sorted(SPECS.glob("*.arch"))

# One design of each file that is light enough to run, and the extent of its images.
LIGHT = {
    "convmixer.arch": ("convmixer_768_32", 28),
    "crossvit.arch": ("crossvit_tiny_240", 240),
    "deeplabv3.arch": ("deeplabv3_resnet50", 33),
    "densenet.arch": ("densenet121", 32),
    "dpn.arch": ("dpn68", 32),
    "efficientnet.arch": ("efficientnet_b0", 32),
    "fcn.arch": ("fcn_resnet50", 33),
    "fractalnet.arch": ("fractalnet", 32),
    "inception_resnet_v2.arch": ("inception_resnet_v2", 75),
    "inception_v3.arch": ("inception_v3", 299),
    "inception_v4.arch": ("inception_v4", 75),
    "mlp_mixer.arch": ("mixer_s16_224", 224),
    "mobilenet_v1.arch": ("mobilenetv1_100", 32),
    "mobilenet_v2.arch": ("mobilenet_v2", 32),
    "preresnet.arch": ("preresnet56", 16),
    "pyramidnet.arch": ("pyramidnet110_a48", 16),
    "rdnet.arch": ("rdnet_tiny", 32),
    "res2net.arch": ("res2net50_26w_4s", 32),
    "resmlp.arch": ("resmlp_12_224", 224),
    "resnet.arch": ("resnet50", 32),
    "resnetv2.arch": ("resnetv2_18", 32),
    "resnext.arch": ("resnext50_32x4d", 32),
    "sparsenet.arch": ("sparsenet121", 32),
    "unet.arch": ("unet", 32),
    "vgg.arch": ("vgg11_bn", 32),
    "vit.arch": ("vit_tiny_patch16_224", 224),
    "wide_resnet.arch": ("wide_resnet50_2", 32),
}

torch.set_num_threads(1)

__all__ = ["FILES", "LIGHT", "compiled", "entries", "example", "macs_on_meta", "parameters", "peak", "small"]


@cache
def entries() -> list[tuple[str, str]]:
    """(file, block) of every design in specs/ that needs no parameters."""
    found = []
    for path in FILES:
        module = load(read_file(str(path), 10**7))
        used = used_blocks(module)
        found += [(path.name, b.name) for b in module.blocks.values() if b.name not in used and stands_alone(module, b)]
    return found


@cache
def compiled(file: str, entry: str | None = None) -> archlang.Compiled:
    return archlang.compile(SPECS / file, entry)


def small(program: Program, batch: int = 2, extent: int = 64) -> dict[str, int]:
    """Sizes as small as a test wants them."""
    wanted = {name: batch if name == "B" else extent for name in program.root.symbols}
    return choose_sizes(program.root, wanted)


def example(program: Program, sizes: dict[str, int], device: str = "cpu") -> list[Any]:
    return [
        torch.rand([evaluate(s, sizes) for s in port.values[0].type.shape], device=device)
        for port in program.root.inputs
    ]


def parameters(module: nn.Module) -> tuple[int, int, int]:
    """All, trainable ones, and numbers in buffers."""
    tensors = list(module.parameters())
    trainable = sum(p.numel() for p in tensors if p.requires_grad)
    return sum(p.numel() for p in tensors), trainable, sum(b.numel() for b in module.buffers())


def macs_on_meta(program: archlang.Compiled, sizes: dict[str, int]) -> int:
    """Half of the FLOPs that torch counts, on a device where it sees through attention."""
    with torch.device("meta"):
        module = instantiate(program).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module(*example(program.program, sizes, "meta"))
    total = counter.get_total_flops()
    assert total % 2 == 0
    return int(total // 2)


class _Recorder(_Run):
    """The interpreter's run, with every step's tensors written down."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.events: list[tuple[list[Any], list[Any]]] = []

    def op(self, frame: Any, node: Any, attrs: Any, path: Any, ins: list[Any]) -> Any:
        outs = super().op(frame, node, attrs, path, ins)
        self.events.append((list(ins), list(outs)))
        return outs

    def node(self, frame: Any, index: int, node: Any) -> Any:
        outs = super().node(frame, index, node)
        if node.op == "weight":
            self.events.append(([], list(outs)))
        return outs


def peak(program: Program, inputs: list[Any]) -> int:
    """The most bytes alive at one time in an evaluation, by brute force over every step of the interpreter."""
    torch.manual_seed(0)
    state = initial_state(program)
    interpreter = Interpreter(program)
    run = _Recorder(interpreter, state, False)
    root = program.root
    from archlang.interpret.bind import solve

    env = solve([v.type for port in root.inputs for v in port.values], [tuple(x.shape) for x in inputs])
    with torch.no_grad():
        results = flat([r for r in run.graph(root, env, "", {}, inputs) if r is not None])

    def key(tensor: Any) -> int:
        return int(tensor.untyped_storage().data_ptr())

    own = {key(t) for t in state.values()}
    tensors = [*inputs, *(t for ins, outs in run.events for t in (*ins, *outs))]
    size = {key(t): t.untyped_storage().nbytes() for t in tensors}
    births: dict[int, int] = {key(x): -1 for x in inputs}
    deaths: dict[int, int] = {}
    for time, (ins, outs) in enumerate(run.events):
        for tensor in (*ins, *outs):
            births.setdefault(key(tensor), time)
            deaths[key(tensor)] = time
    for tensor in (*results, *inputs):
        deaths[key(tensor)] = len(run.events)
    alive = [k for k in births if k not in own]
    return max(sum(size[k] for k in alive if births[k] <= t <= deaths[k]) for t in range(-1, len(run.events)))
