"""Initialisers: values against torch.nn.init, emitted code against values, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from render import text
from torch import nn

from archlang.ir.graph import Init
from archlang.ops.base import OpError
from archlang.ops.code import Fixed
from archlang.ops.init import INITIALISERS, as_init, check, emit, make, run
from archlang.report.codes import CODES

# name, arguments, shape, emitted text
CASES: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...], str]] = [
    ("zeros", (), {}, (3, 4), "nn.init.zeros_(w)"),
    ("ones", (), {}, (3,), "nn.init.ones_(w)"),
    ("constant", (0.01,), {}, (), "nn.init.constant_(w, 0.01)"),
    ("uniform", (), {}, (3, 4), "nn.init.uniform_(w)"),
    ("uniform", (-0.5, 0.5), {}, (3, 4), "nn.init.uniform_(w, a=-0.5, b=0.5)"),
    ("normal", (), {"std": 0.02}, (3, 4), "nn.init.normal_(w, std=0.02)"),
    ("trunc_normal", (), {"std": 0.02}, (30, 4), "nn.init.trunc_normal_(w, std=0.02)"),
    ("xavier_uniform", (), {}, (3, 4), "nn.init.xavier_uniform_(w)"),
    ("xavier_normal", (2,), {}, (3, 4, 3, 5), "nn.init.xavier_normal_(w, gain=2.0)"),
    ("kaiming_uniform", (), {"a": 5**0.5}, (3, 4, 3), f"nn.init.kaiming_uniform_(w, a={5**0.5})"),
    ("kaiming_normal", (), {"mode": "fan_out", "nonlinearity": "relu"}, (8, 4, 3, 3),
     "nn.init.kaiming_normal_(w, mode='fan_out', nonlinearity='relu')"),
    ("orthogonal", (), {"gain": 0.5}, (6, 4), "nn.init.orthogonal_(w, gain=0.5)"),
    ("dirac", (), {}, (4, 6, 3, 3), "nn.init.dirac_(w)"),
    ("dirac", (2,), {}, (8, 3, 5), "nn.init.dirac_(w, groups=2)"),
    ("eye", (), {}, (3, 5), "nn.init.eye_(w)"),
    ("eye", (4,), {}, (4, 4), "nn.init.eye_(w)"),
    ("unit", (4, 1), {}, (4,), "w.data.copy_(torch.eye(4)[1])"),
    ("values", ([0.4488, 0.4371, 1],), {}, (3,), "w.data.copy_(torch.tensor([0.4488, 0.4371, 1.0]))"),
    ("values", ([1, 2, 3, 4],), {}, (3, 1, 2, 2), "w.data.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))"),
    ("columns", (make("values", ((1, 2),)), make("zeros")), {}, (2, 3),
     "w.data.copy_(torch.column_stack([torch.tensor([1.0, 2.0]), torch.zeros(2, 2)]))"),
    ("columns", (make("unit", (4, 1)), make("eye", (4,))), {}, (4, 5),
     "w.data.copy_(torch.column_stack([torch.eye(4)[1], torch.eye(4)]))"),
    ("columns", (make("zeros"), make("normal"), make("unit", (3, 0))), {}, (3, 7),
     "w.data.copy_(torch.column_stack([torch.zeros(3, 3), nn.init.normal_(torch.empty(3, 3)), torch.eye(3)[0]]))"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[4])
def test_values_and_emission_agree(case: tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...], str]) -> None:
    name, positional, named, shape, expected = case
    init = make(name, positional, named)
    check(init, shape)
    code = text(emit(init, Fixed("w"), shape))
    assert code == expected
    torch.manual_seed(1)
    weight = nn.Parameter(torch.full(shape, 7.0))
    eval(code, {"torch": torch, "nn": nn, "w": weight})
    torch.manual_seed(1)
    assert torch.equal(weight.detach(), run(init, shape, torch.float32))
    assert weight.requires_grad and weight.is_leaf


def test_every_initialiser_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(INITIALISERS)


def test_columns_of_a_hyper_connection() -> None:
    init = make("columns", (make("unit", (3, 2)), make("eye", (3,))))
    assert run(init, (3, 4), torch.float64).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 1]]


REFUSED: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...], str]] = [
    ("constant", (), {}, (3,), "ARC0251"),
    ("constant", (1, 2), {}, (3,), "ARC0251"),
    ("normal", ("a",), {}, (3,), "ARC0251"),
    ("normal", (0,), {"mean": 1}, (3,), "ARC0251"),
    ("normal", (), {"sd": 1}, (3,), "ARC0251"),
    ("normal", (), {"std": -1}, (3,), "ARC0252"),
    ("uniform", (1, 0), {}, (3,), "ARC0252"),
    ("unit", (3, 3), {}, (3,), "ARC0252"),
    ("unit", (3, 2), {}, (4,), "ARC0254"),
    ("unit", (3, 2), {}, (3, 1), "ARC0253"),
    ("kaiming_normal", (), {"mode": "fan"}, (3, 3), "ARC0252"),
    ("kaiming_normal", (), {}, (3,), "ARC0253"),
    ("xavier_uniform", (), {}, (3,), "ARC0253"),
    ("orthogonal", (), {}, (3,), "ARC0253"),
    ("eye", (), {}, (3, 3, 3), "ARC0253"),
    ("eye", (4,), {}, (3, 3), "ARC0254"),
    ("eye", (3,), {}, (3, 4), "ARC0254"),
    ("dirac", (), {}, (3, 3), "ARC0253"),
    ("dirac", (2,), {}, (3, 3, 3), "ARC0254"),
    ("dirac", (0,), {}, (3, 3, 3), "ARC0252"),
    ("values", (), {}, (3,), "ARC0251"),
    ("values", (0.5,), {}, (3,), "ARC0251"),
    ("values", ([],), {}, (3,), "ARC0251"),
    ("values", (["a"],), {}, (1,), "ARC0251"),
    ("values", ([1, 2],), {}, (3,), "ARC0254"),
    ("values", ([1, 2],), {}, (2, 3), "ARC0254"),
    ("values", ([1, 2, 3],), {}, (), "ARC0253"),
    ("columns", (), {}, (3, 3), "ARC0251"),
    ("columns", (make("eye", (3,)), "x"), {}, (3, 3), "ARC0251"),
    ("columns", (make("eye", (3,)), make("unit", (3, 0))), {}, (3, 3), "ARC0254"),
    ("columns", (make("zeros"), make("ones")), {}, (3, 5), "ARC0254"),
]


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_misuse_is_refused(case: tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...], str]) -> None:
    name, positional, named, shape, code = case
    with pytest.raises(OpError) as caught:
        check(make(name, positional, named), shape)
    assert caught.value.code == code
    assert code in CODES


def test_coercion_of_what_stands_for_an_initialiser() -> None:
    assert as_init(0.5) == Init("constant", (("value", 0.5),))
    assert as_init("zeros") == Init("zeros")
    assert as_init(make("eye", (3,))) == make("eye", (3,))
    assert [as_init(v) for v in (True, None, "constant", "nothing", [1])] == [None] * 5
    assert make("normal", (0,), {"std": 1.0}) == make("normal")
