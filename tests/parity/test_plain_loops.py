"""Networks without public code against plain loops over the equations of their papers, with layers of others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archlang
from tests.parity.oracles import SPECS, assert_parity, randomise
from tests.references import package


def made(spec: str, entry: str, **params: Any) -> Any:
    torch.manual_seed(0)
    return archlang.build(SPECS / spec, entry, **params).double().eval()


def close(ours: Tensor, theirs: Tensor) -> bool:
    assert ours.shape == theirs.shape
    return float((ours - theirs).detach().abs().max()) <= 1e-12 * float(theirs.detach().abs().max())


@pytest.mark.parametrize("depth", [0, 3])
def test_dense_bilstm(depth: int) -> None:
    m = made("dense_bilstm.arch", "dense_bilstm", depth=depth, inner=2, last=3, words=4)

    def run(x: Tensor, width: int, path: str) -> Tensor:
        lstm = nn.LSTM(x.shape[-1], width, bidirectional=True, batch_first=True).double()
        lstm.load_state_dict(m.get_submodule(path).state_dict())
        return lstm(x)[0]

    x = torch.randn(2, 5, 4, dtype=torch.float64)
    seen = x
    for i in range(depth):
        seen = torch.cat([seen, run(seen, 2, f"layers.{i}.lstm")], -1)
    assert close(m(x), m.head(run(seen, 3, "last.lstm").mean(1)))


def test_recursive_autoencoder() -> None:
    m = made("recursive_autoencoder.arch", "recursive_autoencoder", layers=4, length=16)

    def pairs(x: Tensor, path: str, count: int = 2, last: bool = True) -> Tensor:
        for i in range(count):
            first, second = (m.get_submodule(f"{path}.{i}.{k}") for k in (0, 1))
            x = x + second(first(x).relu())
            x = x.relu() if last or i + 1 < count else x
        return x

    ids = torch.randint(0, 256, (2, 16))
    x = pairs(F.one_hot(ids, 256).mT.double(), "encoder.prefix")
    for _ in range(2):
        x = pairs(F.max_pool1d(x, 2), "encoder.recursion.layers")
    code = pairs(pairs(x.flatten(1), "encoder.postfix.layers"), "decoder.prefix.layers")
    x = code.view(2, 256, 4)
    for _ in range(2):
        even, odd = m.decoder.recursion.expand(x).relu().chunk(2, 1)
        x = torch.stack([even, odd], -1).flatten(2)
        x = pairs(m.decoder.recursion.second(x).relu(), "decoder.recursion.layers", 1)
    assert close(m(ids), pairs(x, "decoder.postfix", last=False))


@pytest.mark.parametrize(("lateral", "top"), [(False, False), (True, False), (False, True), (True, True)])
def test_recurrent_feedback(lateral: bool, top: bool) -> None:
    m = made("recurrent_feedback.arch", "feedback", lateral=lateral, top=top, width=3, steps=3)
    parts = dict(m.named_modules())

    def settle(x: Tensor, layer: int) -> Tensor:
        return parts[f"body.after.{layer}.0"](x).relu()

    x = torch.randn(2, 1, 6, 8, dtype=torch.float64)
    first = second = None
    answers = []
    for _ in range(3):
        h = parts["body.bottom.0"](x)
        if first is not None and second is not None:
            h = h + (parts["body.lateral.0"](first) if lateral else 0) + (parts["body.top.0"](second) if top else 0)
        old_second = second
        first = settle(h, 0)
        h = parts["body.bottom.1.1"](F.max_pool2d(first, 2))
        if lateral and old_second is not None:
            h = h + parts["body.lateral.1"](old_second)
        second = settle(h, 1)
        answers.append(m.head(second.mean((2, 3))))
    assert close(m(x), torch.stack(answers))


CONFORMER = {"width": 8, "heads": 2, "hidden": 6, "kernel": 3}


def conformer_layer() -> Any:
    """A block of transformers' Conformer, and the module that makes its distances."""
    code: Any = package("transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer")
    config = package("transformers").Wav2Vec2ConformerConfig(
        hidden_size=CONFORMER["width"],
        num_attention_heads=CONFORMER["heads"],
        intermediate_size=CONFORMER["hidden"],
        conv_depthwise_kernel_size=CONFORMER["kernel"],
        hidden_act="swish",
        max_source_positions=8,
        attn_implementation="eager",
    )
    return code.Wav2Vec2ConformerEncoderLayer(config), code.Wav2Vec2ConformerRelPositionalEmbedding(config)


class Stacked(nn.Module):
    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(conformer_layer()[0] for _ in range(blocks))
        self.distances = [conformer_layer()[1]]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, relative_position_embeddings=self.distances[0](x))
        return x


class Dispatched(nn.Module):
    """The `top` experts of each token, and no other, compute it."""

    def __init__(self, experts: int, top: int) -> None:
        super().__init__()
        self.top = top
        self.router = nn.Linear(CONFORMER["width"], experts, bias=False)
        self.experts = nn.ModuleList(conformer_layer()[0].ffn2 for _ in range(experts))

    def forward(self, x: Tensor) -> Tensor:
        tokens = []
        for token in x.flatten(0, 1):
            p = self.router(token).softmax(0)
            tokens.append(sum(p[e] * self.experts[int(e)](token) for e in p.argsort(descending=True)[: self.top]))
        return torch.stack(tokens).view_as(x)


def test_conformer() -> None:
    params = {**CONFORMER, "blocks": 2}
    no_gradient = r".*linear_k\.bias"  # the same for all keys
    assert_parity("shared_conformer.arch", "conformer", Stacked(2), (2, 5, 8), params, no_gradient=no_gradient)


@pytest.mark.parametrize("top", [1, 2])
def test_shared_conformer(top: int) -> None:
    m = made("shared_conformer.arch", "shared_conformer", **CONFORMER, groups=[2, 1], experts=3, top=top)
    randomise(m.float(), (2, 5, 8))
    m.double().eval()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    ours = m(x)
    for group, count in zip(m.groups, (2, 1), strict=True):
        for i in range(count):
            stack = Stacked(1)
            stack.layers[0].ffn2 = Dispatched(3, top)
            state = {}
            for key, value in group.state_dict().items():
                if key.startswith(f"layers.{i}."):
                    state[key.removeprefix(f"layers.{i}.")] = value
                elif "conv" in key and not key.startswith("layers."):
                    state[f"conv_module.{key}"] = value
                elif not key.startswith("layers."):
                    state[key.replace("ffn2.", "ffn2.experts.")] = value
            stack.layers[0].load_state_dict(state, strict=True)
            x = stack.double().eval()(x)
    assert close(ours, x)
