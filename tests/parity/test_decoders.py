"""Decoders of language models against transformers. In float32, in which its norms compute whatever the weights are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import archlang
from archlang.interpret import InterpreterModule
from archlang.loading import instantiate
from tests.parity.oracles import SPECS, difference, randomise, torchvision_model
from tests.references import package

GRADIENT_TOLERANCE = 2e-5  # float32
SMALL = {"width": 48, "depth": 4, "heads": 4, "kv_heads": 2, "hidden": 80, "vocabulary": 50, "base": 10000.0}


def llama(**config: Any) -> nn.Module:
    """A small Llama; `rms_norm_eps` as in all that are published."""
    arguments: dict[str, Any] = {
        "hidden_size": SMALL["width"],
        "num_hidden_layers": SMALL["depth"],
        "num_attention_heads": SMALL["heads"],
        "num_key_value_heads": SMALL["kv_heads"],
        "intermediate_size": SMALL["hidden"],
        "vocab_size": SMALL["vocabulary"],
        "rms_norm_eps": 1e-5,
        "use_cache": False,
        **config,
    }
    transformers = package("transformers")
    model: nn.Module = transformers.LlamaForCausalLM(transformers.LlamaConfig(**arguments))
    return model


def assert_same(
    spec: str,
    params: Mapping[str, object],
    reference: nn.Module,
    run: Callable[[Tensor], Tensor],
    left_out: Sequence[str] = (),
    entry: str | None = None,
    x: Tensor | None = None,
) -> None:
    """Strict load of the reference's weights; equal outputs, also of the interpreter; equal gradients of a step.

    run: what the reference gives for x (token numbers). left_out: those of its modules whose weights ours lacks.
    """
    torch.manual_seed(0)
    randomise(reference, ())
    state = {key: value for key, value in reference.state_dict().items() if not any(name in key for name in left_out)}
    compiled = archlang.compile(SPECS / spec, entry or spec.removesuffix(".arch"), **dict(params))
    module = instantiate(compiled)
    module.load_state_dict(state, strict=True)
    ids = torch.randint(1, 50, (2, 11)) if x is None else x  # token 0 pads, and gets no gradient in some
    with torch.no_grad():
        ours, theirs = module.eval()(ids), run(ids)
        assert theirs.std() > 0 and difference(ours, theirs) <= 1e-5
        interpreter = InterpreterModule(compiled.program).eval()
        interpreter.load_state_dict(state)
        assert torch.equal(interpreter(ids), ours)
    wanted, found = gradients(reference, run, ids), gradients(module, module, ids)
    assert found.keys() == wanted.keys() == state.keys()
    for key, gradient in wanted.items():
        assert difference(found[key], gradient) <= GRADIENT_TOLERANCE, key


def gradients(model: nn.Module, run: Callable[[Tensor], Tensor], ids: Tensor) -> dict[str, Tensor]:
    logits = run(ids)
    noise = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    (logits * noise).sum().backward()  # type: ignore[no-untyped-call]
    return {key: p.grad for key, p in model.named_parameters() if p.grad is not None}


def logits(model: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda ids: model(input_ids=ids).logits


def test_llama() -> None:
    reference = llama()
    assert_same("llama.arch", SMALL, reference, logits(reference))


def test_ladder() -> None:
    """The layers of Llama, each branch reading the stream without what the branch before it gave."""
    reference: Any = llama()

    def run(ids: Tensor) -> Tensor:
        body = reference.model
        x = body.embed_tokens(ids)
        places = body.rotary_emb(x, torch.arange(ids.shape[1])[None])

        def branch(layer: Any, which: str, stream: Tensor) -> Tensor:
            if which == "mlp":
                result: Tensor = layer.mlp(layer.post_attention_layernorm(stream))
                return result
            seen: Tensor = layer.self_attn(
                layer.input_layernorm(stream), position_embeddings=places, attention_mask=None
            )[0]
            return seen

        for which in ("attention", "mlp"):  # the first layer is left as it was
            x = x + branch(body.layers[0], which, x)
        made: list[Tensor] = []
        for layer in body.layers[1:]:
            for which in ("attention", "mlp"):
                made.append(branch(layer, which, x + sum(made[:-1])))
        logits: Tensor = reference.lm_head(body.norm(x + sum(made)))
        return logits

    assert_same("ladder.arch", {**SMALL, "plain": 1}, reference, run)


def test_a_ladder_is_the_scheme_of_the_library() -> None:
    text = """
    use std.streams: ladder as of_library
    use zoo.ladder: late_layer, late_layers
    use zoo.llama: attention, mlp
    let norm = fn() => rmsnorm(eps=1e-5)
    fn attend() => attention(2, 2, 4, 100.0)
    block ours(x: [B, T, 8]) { return x -> _: late_layers([late_layer(self_attn: attend(), 16) for _ in 0..3]) }
    fn look(i) => "{i}.input_layernorm": norm() -> "{i}.self_attn": attend()
    fn think(i) => "{i}.post_attention_layernorm": norm() -> "{i}.mlp": mlp(16)
    block theirs(x: [B, T, 8]) {
        return x -> _: of_library([_: (if i % 2 == 0 then look else think)(floor(i / 2)) for i in 0..6])
    }
    """
    ours, theirs = (archlang.build(text, entry=name) for name in ("ours", "theirs"))
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(2, 5, 8)
    assert torch.allclose(ours(x), theirs(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_value_residual(share: float) -> None:
    """Llama, whose projections of values give a mixture with the first layer's."""
    reference: Any = llama(num_key_value_heads=SMALL["heads"])
    first: list[Tensor] = []

    def mixed(module: nn.Module, inputs: Any, value: Tensor) -> Tensor:
        if not first:
            first.append(value)
            return value
        return share * first[0] + (1 - share) * value if share < 1 else first[0]

    for layer in reference.model.layers:
        layer.self_attn.v_proj.register_forward_hook(mixed)

    def run(ids: Tensor) -> Tensor:
        first.clear()
        return logits(reference)(ids)

    left_out = [] if share < 1 else [f"layers.{i}.self_attn.v_proj" for i in range(1, 4)]
    params = {key: value for key, value in SMALL.items() if key not in ("kv_heads", "base")}
    assert_same("value_residual.arch", {**params, "share": share}, reference, run, left_out)


@pytest.mark.parametrize("entry", ["dynamic", "static"])
def test_hyper_connections_start_as_the_pre_norm_decoder(entry: str) -> None:
    """OLMo's weights in our streams, whose own are as they start: four copies, of which the last norm sees the sum."""
    transformers = package("transformers")
    sizes = {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 80,
        "vocab_size": 50,
    }
    reference = transformers.OlmoForCausalLM(
        transformers.OlmoConfig(**sizes, tie_word_embeddings=True, use_cache=False)
    )
    randomise(reference, ())
    reference.model.norm.register_forward_pre_hook(lambda norm, inputs: (4 * inputs[0],))
    params = {"width": 48, "depth": 3, "heads": 4, "hidden": 80, "vocabulary": 50}
    model = archlang.build(SPECS / "hyper_connections.arch", entry, **params)

    def ours(key: str) -> str:
        layer = re.fullmatch(r"model\.layers\.(\d+)\.(self_attn|mlp)\.(.*)", key)
        if layer is None:
            return key.removeprefix("model.")
        return f"layers.{2 * int(layer[1]) + (layer[2] == 'mlp')}.layer.{layer[3]}"

    state = {ours(key): value for key, value in reference.state_dict().items() if key != "lm_head.weight"}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(re.fullmatch(r"layers\.\d\.(static_\w+|dynamic_\w+|norm\.\w+)", key) for key in missing)
    ids = torch.randint(0, 50, (2, 11))
    with torch.no_grad():
        assert difference(model.eval()(ids), logits(reference.eval())(ids)) <= 1e-5


def test_laurel() -> None:
    """The block of Gemma 3n."""
    modeling: Any = package("transformers.models.gemma3n.modeling_gemma3n")
    config = package("transformers").Gemma3nTextConfig(hidden_size=48, laurel_rank=6)
    reference = modeling.Gemma3nTextLaurelBlock(config)
    params = {"width": 48, "rank": 6}
    assert_same("laurel.arch", params, reference, reference, entry="gemma3n_laurel", x=torch.randn(2, 7, 48))


@pytest.mark.parametrize("params", [{}, {"rank": 4}, {"rank": 4, "weighted": False, "previous": 2}])
def test_resnet_with_laurel_starts_as_resnet(params: dict[str, Any]) -> None:
    reference = torchvision_model("resnet50", num_classes=10)
    model = archlang.build(SPECS / "laurel.arch", "resnet50_laurel", classes=10, **params)
    missing, unexpected = model.load_state_dict(reference.state_dict(), strict=False)
    assert not unexpected and all(key.split(".")[2] in ("mix", "left", "right", "gamma") for key in missing)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert difference(model.eval()(x), reference.eval()(x)) <= 1e-5


def test_griffin() -> None:
    """Seven layers of both kinds, over sequences longer than the window."""
    transformers = package("transformers")
    sizes = {
        "hidden_size": 48,
        "intermediate_size": 160,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "lru_width": 32,
    }
    config = transformers.RecurrentGemmaConfig(
        **sizes, num_hidden_layers=7, vocab_size=50, attention_window_size=4, use_cache=False
    )
    reference: Any = transformers.RecurrentGemmaForCausalLM(config)
    params = {"width": 48, "depth": 7, "heads": 2, "kv_heads": 1, "hidden": 80, "recurrent_width": 32, "window": 4}
    tied = ["lm_head"]  # the table again
    assert_same("griffin.arch", {**params, "vocabulary": 50}, reference, logits(reference), tied)


def test_peri_ln() -> None:
    """Four layers of Gemma 2, every other one with a window shorter than the sequence."""
    transformers = package("transformers")
    sizes = {
        "hidden_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
    }
    config = transformers.Gemma2Config(
        **sizes, intermediate_size=80, vocab_size=50, sliding_window=4, query_pre_attn_scalar=24, use_cache=False
    )
    config._attn_implementation = "eager"  # with the cap on the scores
    reference: Any = transformers.Gemma2ForCausalLM(config)
    params = {"width": 48, "depth": 4, "heads": 4, "kv_heads": 2, "head": 16, "hidden": 80, "window": 4, "scalar": 24.0}
    assert_same("peri_ln.arch", {**params, "vocabulary": 50}, reference, logits(reference), ["lm_head"])
