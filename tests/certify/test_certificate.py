"""Certificates: sound designs agree in all figures, wrong declarations and damaged rules are found where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

import archlang
from archlang.analyze import cost
from archlang.certify.certificate import Certificate, Runner, certify
from archlang.certify.measure import Calls, Fake
from archlang.certify.places import deepest, span_at
from archlang.certify.sample import usual
from archlang.ir.graph import TensorType
from archlang.loading import instantiate
from archlang.ops.base import registry
from archlang.ops.eager import Tape
from archlang.verify.sets import domain

LAYERS = {
    "attention": "x: [B, T, 16]) { return x -> attn: multihead_attention(4, dropout=0.1) -> fc: linear(3)",
    "cross": "x: [B, T, 16], y: [B, S, 16]) { return (x, y, y) -> attn: multihead_attention(4)",
    "apart": "x: [B, T, 8], y: [B, S, 6], z: [B, S, 4]) { return (x, y, z) -> attn: multihead_attention(4, bias=false)",
    "twice": "x: [B, T, 16], y: [B, S, 16]) { return (x, x, y) -> attn: multihead_attention(4, batch_first=false)",
    "zeros": "x: [B, T, 16]) { return x -> multihead_attention(2, add_bias_kv=true, add_zero_attn=true)",
    "masked": "x: [B, T, 16], m: bool[T, T], p: bool[B, T]) { return (x, x, x, m, p) -> multihead_attention(2)",
    "lstm": "x: [B, T, 16]) { x = x -> fc: linear(8)\n"
    "    y, h, c = x -> lstm(6, num_layers=2, bidirectional=true, dropout=0.5)\n    return y * 2, h, c",
    "projected": "x: [B, T, 16]) { y, h, c = x -> lstm(6, proj_size=3)\n    return y, h, c",
    "gru": "x: [B, T, 16], s: [2, B, 6]) { y, h = (x, s) -> gru(6, num_layers=2)\n    return y -> fc: linear(3)",
    "rnn": 'x: [T, B, 16]) { y, h = x -> rnn(6, nonlinearity="relu", batch_first=false)\n    return y -> fc: linear(3)',
    "same": 'x: [B, 3, H, W]) { return x -> conv(8, [2, 3], stride=[3, 5], padding="tf_same") -> relu',
    "regrouped": 'x: [B, 8, H, W]) { y = rearrange(x, "b (g c) h w -> (b g) (h w) c", g=2)\n'
    '    return rearrange(y -> relu -> fc: linear(6), "n p c -> c (n p)") -> gelu',
}  # fmt: skip


def test_nothing_is_proved_after_a_sum_that_torch_broadcasts() -> None:
    """At H = 3, a sum of 2 and 1 has 2, and not 1: what is computed of it fits, though its formula does not."""
    compiled = archlang.compile(
        """block net(x: [B, 4, H, W]) {
            s = (x -> a: conv(4, 3, stride=2, padding=1)) + (x -> avgpool(2))
            return (s -> b: conv(4, 3, stride=2, padding=1)) + (s -> avgpool(2))
        }""",
        "net",
    )
    run = Runner(compiled)
    found = run.sizes(domain(compiled.program, "eval"), [{"B": 1, "H": h, "W": 4} for h in (3, 4, 9)])
    assert (found.inside, found.lenient, found.outside, found.wrong) == (1, 1, 1, 0)


def made(text: str, sizes: int = 6) -> Certificate:
    return certify(archlang.compile(f"block net()({text} }}\n" if "block" not in text else text, entry="net"), sizes)


@pytest.mark.parametrize("name", LAYERS)
def test_all_agrees(name: str) -> None:
    certificate = made(LAYERS[name])
    assert not certificate.found
    assert certificate.not_measured is None
    assert [ran.wrong for ran in certificate.ran] == [0, 0]
    assert all(ran.inside for ran in certificate.ran)
    figures = {figure.name for figure in certificate.figures}
    assert figures == {"parameters", "trainable", "buffers", "MACs", "saved for backward"}
    assert all(figure.measured == figure.predicted for figure in certificate.figures)


@pytest.mark.parametrize("layer", ["triangular_conv([2, 3])", "triangular_conv(1)", "invertible_conv"])
def test_products_of_inverses_agree(layer: str) -> None:
    found = made(f"x: [B, 4, H, W]) {{ return x -> inner: ~{layer}", sizes=1)
    assert not found.found
    macs = [(figure.measured, figure.predicted) for figure in found.figures if figure.name == "MACs"]
    assert macs and all(measured == predicted is not None for measured, predicted in macs)


NESTED = """
block unit(n: int)(x) { return x -> conv1: conv(n, 3, padding=1) -> act: sigmoid -> conv2: conv(n, 1) }
block net()(x: [B, 4, H, W]) { return x -> stem: unit(4) -> first: unit(8) -> last: conv(2, 1) }
"""


def _keeps_nothing(op: object, tape: Tape, ins: Any, weights: Any, outs: Sequence[TensorType], attrs: Any) -> Any:
    return tuple(tape.new(out.shape, out.dtype) for out in outs)


@pytest.mark.parametrize(
    ("method", "damaged", "figure"), [("macs", lambda *_: 0, "MACs"), ("trace", _keeps_nothing, "saved for backward")]
)
def test_findings_point_at_the_part(method: str, damaged: Any, figure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(registry()["conv"]), method, damaged)
    certificate = made(NESTED)
    assert certificate.found
    for found in certificate.found:
        assert found.code == "ARC0854" and found.message.startswith(figure)
        assert found.span is not None and found.span.text == "conv1"
    assert any(f.name == figure and f.measured != f.predicted for f in certificate.figures)


def test_charges_add_up() -> None:
    compiled = archlang.compile(NESTED, entry="net")
    (sizes, _) = usual(compiled.program)
    with torch.device("meta"):
        module = instantiate(compiled)
    charged = Fake(module).saved_by_module(compiled.program, sizes)
    tree = cost(compiled.program, sizes).tree
    assert charged[""] == tree.saved
    assert charged["stem"] == tree.children[0].saved
    assert deepest(tree, charged, "saved") == ("", tree.saved, tree.saved)


def test_the_place_of_a_path() -> None:
    program = archlang.compile(NESTED, entry="net").program
    texts = {path: (span.text if (span := span_at(program, path)) else "") for path in ("", "stem", "first.conv2")}
    assert texts == {"": "net", "stem": "stem", "first.conv2": "conv2"}


def test_where_a_call_stopped() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.Linear(3, 3)))
    calls = Calls(module)
    with pytest.raises(RuntimeError), calls.follow():
        module(torch.zeros(1, 2))
    assert calls.path == "1.0"
    with calls.follow():
        module[0](torch.zeros(1, 2))
    assert calls.path == ""
