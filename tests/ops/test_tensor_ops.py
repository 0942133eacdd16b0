"""Tensor functions: predicted types against torch, emitted code against reference semantics, refusals."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import nn_cases
import pytest
import torch
import torch.nn.functional as F
from render import apply, call, make_module, text

import archlang.ops  # noqa: F401  (fills the registry)
from archlang.ir.graph import TensorType
from archlang.ops.base import OpError, registry
from archlang.report.codes import CODES
from archlang.shapes.dim import Dim, evaluate, symbol

B, C, H, W, N = map(symbol, "BCHWN")
SIZES = [
    {"B": 2, "C": 4, "H": 6, "W": 8, "N": 3},
    {"B": 3, "C": 2, "H": 12, "W": 4, "N": 5},
]
F64, I64, BOOL, U8, I32 = "float64", "int64", "bool", "uint8", "int32"


def T(*shape: Any, dtype: str = "float") -> TensorType:
    return TensorType(shape, dtype)


def real_dtype(dtype: str) -> torch.dtype:
    return torch.float32 if dtype == "float" else getattr(torch, dtype)


def tensor(t: TensorType, sizes: Mapping[str, int], seed: int) -> torch.Tensor:
    shape = [evaluate(s, sizes) for s in t.shape]
    generator = torch.Generator().manual_seed(seed)
    if t.dtype == "bool":
        return torch.randint(0, 2, shape, generator=generator).bool()
    if t.dtype.startswith(("int", "uint")):
        return torch.randint(1, 3, shape, generator=generator).to(real_dtype(t.dtype))
    return torch.rand(shape, generator=generator).add(0.1).to(real_dtype(t.dtype))


def concrete(attr: Any, sizes: Mapping[str, int]) -> Any:
    """Symbolic sizes as ints, as the interpreter hands them to `run`."""
    if isinstance(attr, tuple):
        return tuple(concrete(a, sizes) for a in attr)
    return evaluate(attr, sizes) if isinstance(attr, Dim) else attr


def several(result: Any) -> tuple[torch.Tensor, ...]:
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.nan_to_num(7), b.nan_to_num(7))


x4 = T(B, C, H, W)
x3 = T(B, N, 8)
# name, wires, arguments
CASES: list[tuple[str, Sequence[TensorType], dict[str, Any]]] = [
    *(
        (name, [x4, x4], {})
        for name in [
            "add",
            "sub",
            "mul",
            "div",
            "floordiv",
            "mod",
            "pow",
            "eq",
            "ne",
            "lt",
            "le",
            "gt",
            "ge",
            "maximum",
            "minimum",
        ]
    ),
    *((name, [T(H, 4), T(4)], {}) for name in ["add", "sub", "mul", "div", "pow", "lt", "maximum"]),
    *((name, [T(H, 1), T(1, 4)], {}) for name in ("add", "sub", "gt")),
    *((name, [x4], {"other": 2}) for name in ["add", "sub", "mul", "div", "floordiv", "mod", "pow", "eq", "lt", "ge"]),
    *(
        (name, [x4], {"other": 2.5, "reverse": True})
        for name in ["add", "sub", "mul", "div", "floordiv", "mod", "pow", "eq", "lt"]
    ),
    *((name, [T(4, dtype=I64)], {"other": 2}) for name in ["add", "sub", "mul", "div", "floordiv", "mod", "pow", "lt"]),
    *(
        (name, [T(4, dtype=I64)], {"other": 2.5})
        for name in ["add", "sub", "mul", "div", "floordiv", "mod", "pow", "lt"]
    ),
    *((name, [T(4, dtype=BOOL)], {"other": 2}) for name in ["add", "mul", "div", "floordiv", "mod", "pow", "lt"]),
    ("mul", [x4], {"other": H}),
    ("add", [x4, x4, T(1, 1, 1)], {}),
    ("add", [x4], {}),
    ("mul", [x4, T(4, 1, 1, 1, 1), x4], {}),
    ("mean", [x4, x4, x4], {}),
    ("mean", [T(3, dtype=I64), T(3, dtype=I64)], {}),
    ("maximum", [x4, T(1), x4], {}),
    ("minimum", [T(3, dtype=I64), T(3)], {}),
    *(
        (n, [T(4, dtype=a), T(4, dtype=b)], {})
        for n in ("logical_and", "logical_or")
        for a, b in ((BOOL, BOOL), (I64, "float"))
    ),
    ("logical_not", [T(4, dtype=BOOL)], {}),
    ("logical_not", [x4], {}),
    ("neg", [x4], {}),
    *(
        (n, [x4], {})
        for n in [
            "abs",
            "asinh",
            "atan",
            "atanh",
            "ceil",
            "cos",
            "erf",
            "exp",
            "exp2",
            "expm1",
            "floor",
            "log",
            "log10",
            "log1p",
            "logit",
            "log2",
            "reciprocal",
            "round",
            "rsqrt",
            "sign",
            "sin",
            "sinh",
            "sqrt",
            "square",
            "tan",
            "trunc",
        ]
    ),
    *(
        (n, [T(4, dtype=I64)], {})
        for n in [
            "abs",
            "cos",
            "exp",
            "floor",
            "log",
            "reciprocal",
            "round",
            "rsqrt",
            "sign",
            "sqrt",
            "square",
            "trunc",
        ]
    ),
    *((n, [T(4, dtype=BOOL)], {}) for n in ["cos", "exp", "sign", "sqrt", "square"]),
    *(
        ("cast", [T(3, dtype=a)], {"dtype": b})
        for a in ("float", I64, BOOL)
        for b in ("float", F64, I64, BOOL, "float16", U8)
    ),
    ("cast", [T(3, dtype=I64), T(2)], {"dtype": "float"}),
    ("detach", [x4], {}),
    ("contiguous", [x4], {}),
    ("clamp", [x4], {"min": 0.2}),
    ("clamp", [x4], {"min": 0, "max": 0.5}),
    ("clamp", [T(3, dtype=I64)], {"max": 1.5}),
    ("concat", [x4, x4, T(B, 5, H, W)], {}),
    ("concat", [x4, T(B, C, H, 3)], {"dim": -1}),
    ("concat", [T(2, 3, dtype=I64), T(2, 3)], {"dim": 0}),
    ("stack", [x4, x4], {}),
    ("stack", [x4, x4, x4], {"dim": -1}),
    ("stack", [T(), T()], {}),
    ("split", [T(B, 10)], {"split_size_or_sections": 4, "dim": 1}),
    ("split", [T(B, 10)], {"split_size_or_sections": 10, "dim": 1}),
    ("split", [T(B, 4 * C)], {"split_size_or_sections": C, "dim": 1}),
    ("split", [T(B, 10)], {"split_size_or_sections": (3, 7), "dim": -1}),
    ("split", [T(B, C + 3)], {"split_size_or_sections": (C, 3), "dim": -1}),
    ("chunk", [T(B, 9, H)], {"chunks": 3, "dim": 1}),
    ("chunk", [x4], {"chunks": 2, "dim": 3}),
    ("chunk", [x4], {"chunks": 1, "dim": 3}),
    ("halves", [x4], {}),
    ("unbind", [T(3, B, H)], {}),
    ("unbind", [T(B, 1, H)], {"dim": -2}),
    ("flatten", [x4], {}),
    ("flatten", [x4], {"start_dim": 0}),
    ("flatten", [x4], {"start_dim": -3, "end_dim": 2}),
    ("flatten", [T()], {"start_dim": 0}),
    ("reshape", [x4], {"shape": (B, -1)}),
    ("reshape", [x4], {"shape": (B, C, H * W)}),
    ("reshape", [x4], {"shape": (-1, 2, W)}),
    ("reshape", [T(1, 1)], {"shape": ()}),
    ("unflatten", [T(B, 8, H)], {"dim": 1, "sizes": (2, -1)}),
    ("unflatten", [T(B, C * H)], {"dim": -1, "sizes": (C, H)}),
    ("permute", [x4], {"dims": (0, 2, -1, 1)}),
    ("permute", [T()], {"dims": ()}),
    ("transpose", [x4], {"dim0": 1, "dim1": -1}),
    ("squeeze", [T(B, 1, H, 1)], {}),
    ("squeeze", [T(B, 1, H, 1)], {"dim": -1}),
    ("squeeze", [T(B, 1, H, 1)], {"dim": (1, 3)}),
    ("squeeze", [T(B, H)], {}),
    ("unsqueeze", [x4], {"dim": -1}),
    ("unsqueeze", [x4], {"dim": 0}),
    ("expand", [T(B, 1, H)], {"sizes": (-1, 4, H)}),
    ("expand", [T(1)], {"sizes": (B, H, 3)}),
    ("space_to_depth", [x4], {"block": 2}),
    ("depth_to_space", [T(B, 8, H, W)], {"block": 2}),
    ("index", [x4], {"items": ((None, None, None), 0)}),
    ("index", [x4], {"items": ("...", 0)}),
    ("index", [x4], {"items": ("...", 1, (None, None, None))}),
    ("index", [x4], {"items": (-1, (1, None, None), None, (None, -1, 2))}),
    ("index", [x4], {"items": ("...", (1, None, None), (None, None, None))}),
    ("index", [x4], {"items": ((None, None, None), (None, None, None), (None, H // 2, None), (0, None, 3))}),
    ("index", [x4], {"items": ((None, None, None), C - 1)}),
    ("index", [x4], {"items": (None, "...", None)}),
    ("index", [x4], {"items": ("...",)}),
    ("index_select", [x4, T(7, dtype=I64)], {"dim": 2}),
    ("index_select", [x4, T(3, dtype=I32)], {"dim": -1}),
    ("gather", [x4, T(B, C, 2, W, dtype=I64)], {"dim": 2}),
    ("gather", [T(4, 3), T(2, 5, dtype=I64)], {"dim": 1}),
    ("take_along", [x4, T(B, 1, 2, W, dtype=I64)], {"dim": 2}),
    ("where", [T(B, 1, dtype=BOOL), T(B, 4), T(4)], {}),
    ("where", [T(4, dtype=BOOL), T(4, dtype=I64)], {"if_false": 0.5}),
    ("where", [T(4, dtype=BOOL), T(3, 1)], {"if_true": -1e9}),
    ("where", [T(4, dtype=BOOL)], {"if_true": 1, "if_false": 0}),
    ("where", [T(4, dtype=BOOL)], {"if_true": 1.0, "if_false": 0}),
    ("masked_fill", [x4, T(H, W, dtype=BOOL)], {"value": float("-inf")}),
    ("masked_fill", [T(4), T(3, 4, dtype=BOOL)], {"value": 0}),
    ("one_hot", [T(B, N, dtype=I64)], {"num_classes": 4}),
    ("tril", [T(B, N, H)], {}),
    ("triu", [T(N, N)], {"diagonal": 1}),
    ("triu", [T(N, H, dtype=BOOL)], {"diagonal": -1}),
    ("flip", [x4], {"dims": (-1, 0)}),
    ("roll", [x4], {"shifts": 3, "dims": 1}),
    ("roll", [x4], {"shifts": (-2, 5), "dims": (2, 3)}),
    ("pad", [x4], {"pad": (1, 2, 0, 3)}),
    ("pad", [x4], {"pad": (-1, 2), "value": 0.5}),
    ("pad", [x4], {"pad": (0, H, 0, W)}),
    *(("pad", [x4], {"pad": (1, 2, 0, 3), "mode": m}) for m in ("reflect", "replicate", "circular")),
    ("pad", [T(B, C, H)], {"pad": (2, 1), "mode": "reflect"}),
    ("tile", [x4], {"dims": (2, 1, 1, 1, 2)}),
    ("tile", [x4], {"dims": (2, 3)}),
    ("tile", [T(1, 8)], {"dims": (B, 1)}),
    ("repeat_interleave", [x4], {"repeats": 3, "dim": 1}),
    ("matmul", [T(B, N, 8), T(B, 8, H)], {}),
    ("matmul", [T(B, 1, N, 8), T(C, 8, H)], {}),
    ("matmul", [T(8), T(B, 8, H)], {}),
    ("matmul", [T(B, N, 8), T(8)], {}),
    ("matmul", [T(8), T(8)], {}),
    ("matmul", [T(3, 2, dtype=I64), T(2, 3, dtype=I64)], {}),
    ("bmm", [T(B, N, 8), T(B, 8, H)], {}),
    ("outer", [T(N), T(H)], {}),
    ("einsum", [T(B, N, 8), T(B, N, 3)], {"equation": "bnd,bnk->bkd"}),
    ("einsum", [T(B, H, N, 8), T(B, H, N, 3)], {"equation": "... n d, ... n k -> ... k d"}),
    ("einsum", [T(B, 8), T(B, N)], {"equation": "... d, ... n -> ... n d"}),
    ("einsum", [T(B, 8), T(8, N), T(N, 3)], {"equation": "batch deep, deep neck, neck d -> batch d"}),
    ("einsum", [T(N, N)], {"equation": "ii->i"}),
    ("einsum", [T(N, H), T(H, W)], {"equation": "ij,jk"}),
    ("einsum", [T(B, N, 8)], {"equation": "b n d -> d"}),
    *(
        (n, [x4], {"dim": d, "keepdim": k})
        for n in [
            "reduce_sum",
            "reduce_mean",
            "reduce_max",
            "reduce_min",
            "reduce_prod",
            "reduce_var",
            "reduce_std",
            "reduce_any",
            "reduce_all",
            "norm",
        ]
        for d, k in ((1, False), ((2, -1), True), ((0, 2), False), (None, False), (None, True))
    ),
    *(
        (n, [T(3, 4, dtype=dt)], {"dim": 1})
        for n in ["reduce_sum", "reduce_max", "reduce_prod", "reduce_any"]
        for dt in (I64, BOOL, U8)
    ),
    ("reduce_var", [x4], {"dim": (2, 3), "correction": 0}),
    *(("norm", [x4], {"p": p, "dim": 1}) for p in (1, 2.0, 3, 0, float("inf"), float("-inf"))),
    ("argmax", [x4], {}),
    ("argmax", [x4], {"dim": 1}),
    ("argmin", [x4], {"dim": -1, "keepdim": True}),
    ("argmin", [x4], {"keepdim": True}),
    ("logsumexp", [x4], {"dim": (1, 2)}),
    ("logsumexp", [T(3, dtype=I64)], {"dim": 0}),
    ("cumsum", [x4], {"dim": 2}),
    ("cumsum", [T(3, dtype=BOOL)], {"dim": 0}),
    ("topk", [x4], {"k": 2}),
    ("topk", [x4], {"k": 1, "dim": 1, "largest": False, "sorted": False}),
    ("sort", [x4], {}),
    ("sort", [x4], {"dim": 1, "descending": True, "stable": True}),
    *(
        ("full", ins, {"shape": (B, 3), "value": v, "dtype": dt})
        for ins in ([], [T(2)])
        for v in (2, 0.5, True)
        for dt in (None, "float", I64)
    ),
    *(
        ("arange", ins, a)
        for ins in ([], [T(2)], [T(2, dtype=I64)])
        for a in ({"start": N}, {"start": 1, "end": 2 * N, "step": 2})
    ),
    *(
        ("arange", ins, a)
        for ins in ([], [T(2)])
        for a in ({"start": 5, "dtype": "float"}, {"start": 0.5, "end": 2.2, "step": 0.3})
    ),
    *(("linspace", ins, {"start": 0, "end": 1, "steps": H}) for ins in ([], [T(2)])),
    *(("eye", ins, a) for ins in ([], [T(2)]) for a in ({"n": N}, {"n": 2, "m": H}, {"n": 3, "dtype": BOOL})),
    *(("randint", ins, {"low": 2, "high": 9, "shape": (B, 5)}) for ins in ([], [T(2)])),
    *((name, ins, {"shape": (B, 1, 50)}) for ins in ([], [T(2)]) for name in ("rand", "randn")),
    *(("bernoulli", ins, {"p": 0.6, "shape": (B, 1, 50)}) for ins in ([], [T(2)])),
    ("rearrange", [x4], {"pattern": "b c h w -> b (h w) c"}),
    ("rearrange", [x4], {"pattern": "b c (h p) (w q) -> b (h w) (p q c)", "axes": (("p", 2), ("q", 2))}),
    ("rearrange", [T(B, N, 24)], {"pattern": "b t (three h d) -> three b h t d", "axes": (("three", 3), ("h", 2))}),
    ("rearrange", [T(B, 2, N, 4)], {"pattern": "b h t d -> b t (h d)"}),
    ("rearrange", [x4], {"pattern": "... h w -> ... (h w)"}),
    ("rearrange", [x4], {"pattern": "b ... -> b (...)"}),
    ("rearrange", [T(B, 1, H)], {"pattern": "b 1 h -> h b ()"}),
    ("rearrange", [T(B, H)], {"pattern": "b h -> b h 1"}),
    ("rearrange", [T(B, 1, H)], {"pattern": "b 1 h -> b h"}),
    ("rearrange", [T(B, C * 4)], {"pattern": "b (c k) -> b c k", "axes": (("k", 4),)}),
    ("rearrange", [x4], {"pattern": "b c h w -> w h c b"}),
    ("rearrange", [T(1, 1)], {"pattern": "1 1 -> "}),
    ("rearrange", [x4], {"pattern": "b c h w -> b c h w"}),
    ("repeat", [T(B, N)], {"pattern": "b n -> b n r", "axes": (("r", 3),)}),
    ("repeat", [T(B, N)], {"pattern": "b n -> b (n 2) 3"}),
    ("repeat", [T(1, 1, 8)], {"pattern": "1 1 d -> b 1 d", "axes": (("b", B),)}),
    ("repeat", [T(1, 1, 8)], {"pattern": "1 1 d -> 1 (r) d", "axes": (("r", 3),)}),
    ("repeat", [T(1, 8)], {"pattern": "1 d -> d r", "axes": (("r", 3),)}),
    ("repeat", [T(H, W)], {"pattern": "h w -> (h a) (w b)", "axes": (("a", 2), ("b", 3))}),
    *(
        ("reduce", [x4], {"pattern": "b c (h p) (w q) -> b c h w", "reduction": r, "axes": (("p", 2), ("q", 2))})
        for r in ("mean", "sum", "max", "min", "prod", "any", "all")
    ),
    ("reduce", [x4], {"pattern": "b c ... -> b c", "reduction": "mean"}),
    ("reduce", [x4], {"pattern": "b c h w -> c 1 1", "reduction": "max"}),
    ("reduce", [T(B, 6, dtype=I64)], {"pattern": "b (n 2) -> n b", "reduction": "sum"}),
]


def case_id(case: Any) -> str:
    name, ins, args = case
    return f"{name}({', '.join([*map(str, ins), *(f'{k}={v}' for k, v in args.items())])})"


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_prediction_run_and_emission_agree(case: tuple[str, Sequence[TensorType], dict[str, Any]]) -> None:
    name, ins, args = case
    op = registry()[name]
    attrs, predicted, cx = apply(op, args, ins)
    for sizes in SIZES:
        for constraint in cx.constraints:
            left, right = evaluate(constraint.left, sizes), evaluate(constraint.right, sizes)
            assert left == right if constraint.relation == "==" else left >= right
        tensors = [tensor(t, sizes, seed) for seed, t in enumerate(ins)]
        module = make_module(op, attrs) if op.weights(attrs) else None
        weights = dict(module.named_buffers()) if module is not None else {}
        plain = {k: concrete(v, sizes) for k, v in attrs.items()}
        torch.manual_seed(3)
        ran = several(op.run(tensors, weights, plain, False))
        torch.manual_seed(3)
        emitted = several(call(op, attrs, tensors, module, sizes=sizes))
        assert len(ran) == len(emitted) == len(predicted)
        for r, e, t in zip(ran, emitted, predicted, strict=True):
            assert tuple(r.shape) == tuple(evaluate(s, sizes) for s in t.shape)
            assert r.dtype == real_dtype(t.dtype)
            assert same(r, e)
        # the same sizes written as numbers give the same type
        numbers = [TensorType(tuple(concrete(t.shape, sizes)), t.dtype) for t in ins]
        exact = apply(op, {k: concrete(v, sizes) for k, v in args.items()}, numbers)[1]
        assert [t.dtype for t in exact] == [t.dtype for t in predicted]
        assert [t.shape for t in exact] == [tuple(r.shape) for r in ran]


def test_every_op_has_a_case() -> None:
    elsewhere = {"linear_recurrence", "quantize", "require_nonzero"}  # test_scan.py, tests/reversible
    assert {*registry()} == {case[0] for case in CASES} | {case.op for case in nn_cases.CASES} | elsewhere


# -- the text --------------------------------------------------------------------------------------------------------
TEXTS: list[tuple[str, Sequence[TensorType], dict[str, Any], str]] = [
    ("add", [x4, x4], {}, "a + b"),
    ("add", [x4, x4, x4], {}, "(a + b) + c"),
    ("mul", [x4], {"other": 2, "reverse": True}, "2 * a"),
    ("mean", [x4, x4], {}, "(a + b) / 2"),
    ("concat", [x4, x4], {}, "torch.cat([a, b], dim=1)"),
    ("flatten", [x4], {}, "a.flatten(1)"),
    ("flatten", [x4], {"start_dim": 2, "end_dim": -1}, "a.flatten(2)"),
    ("permute", [x4], {"dims": (0, 2, 3, 1)}, "a.permute(0, 2, 3, 1)"),
    ("split", [T(B, 9)], {"split_size_or_sections": (4, 5), "dim": 1}, "torch.split(a, [4, 5], dim=1)"),
    ("split", [T(B, 9)], {"split_size_or_sections": 9, "dim": 1}, "torch.split(a, 9, dim=1)[0]"),
    ("halves", [x4], {}, "a.chunk(2, dim=1)"),
    ("index", [x3], {"items": ((None, None, None), 0)}, "a[:, 0]"),
    ("index", [x3], {"items": ("...", (1, None, None), (None, None, None))}, "a[:, 1:]"),
    ("index", [x3], {"items": ("...", (None, None, 2))}, "a[:, :, ::2]"),
    ("einsum", [x3, T(B, N, 3)], {"equation": "... n d, ... n k -> ... k d"},
     "torch.einsum('...nd,...nk->...kd', a, b)"),
    ("einsum", [T(H, W)], {"equation": "height width -> width"}, "torch.einsum('hw->w', a)"),
    ("einsum", [T(H, W)], {"equation": "head here -> head"}, "torch.einsum('hH->h', a)"),
    ("matmul", [x3, T(8, 4)], {}, "a @ b"),
    ("reduce_mean", [x4], {"dim": (2, 3), "keepdim": True}, "a.mean(dim=(2, 3), keepdim=True)"),
    ("reduce_max", [x4], {"dim": -1}, "a.amax(dim=3)"),
    ("cast", [x4], {"dtype": "bfloat16"}, "a.to(torch.bfloat16)"),
    ("full", [x4], {"shape": (4,), "value": 0.0}, "a.new_full((4,), 0.0)"),
    ("full", [], {"shape": (4,), "value": 0.0}, "self.op.reference.new_full((4,), 0.0)"),
    ("arange", [x4], {"start": 5}, "torch.arange(5, dtype=torch.int64, device=a.device)"),
    ("rearrange", [x4], {"pattern": "b c h w -> b (h w) c"}, "a.flatten(2).transpose(1, 2)"),
    ("rearrange", [x4], {"pattern": "b c h w -> b h w c"}, "a.permute(0, 2, 3, 1)"),
    ("rearrange", [T(2, 8, N, 4)], {"pattern": "b h n d -> b n (h d)"}, "a.transpose(1, 2).flatten(2)"),
    ("rearrange", [T(2, N, 24)], {"pattern": "b n (h d) -> b h n d", "axes": (("h", 3),)},
     "torch.unflatten(a, 2, (3, 8)).transpose(1, 2)"),
    ("rearrange", [T(2, 4, N)], {"pattern": "b h n -> b h n"}, "a"),
    ("reduce", [x4], {"pattern": "b c h w -> b c", "reduction": "mean"}, "a.mean(dim=(2, 3))"),
    ("repeat", [T(1, 1, 8)], {"pattern": "1 1 d -> 5 1 d"}, "a.expand(5, -1, -1)"),
]  # fmt: skip


@pytest.mark.parametrize("case", TEXTS, ids=lambda case: case[3])
def test_emission_reads_as_written_by_hand(case: tuple[str, Sequence[TensorType], dict[str, Any], str]) -> None:
    name, ins, args, expected = case
    attrs, _, _ = apply(registry()[name], args, ins)
    assert text(registry()[name].call(attrs, len(ins)), ["a", "b", "c"][: len(ins)]) == expected


# -- refusals --------------------------------------------------------------------------------------------------------
# name, wires, arguments, code, and the call that torch refuses too (None: where we are stricter, see the entry)
REFUSED: list[tuple[str, Sequence[TensorType], dict[str, Any], str, Any]] = [
    ("add", [T(2, 64), T(2, 256)], {}, "ARC0350", lambda a, b: a + b),
    ("mul", [T(2, 3, 4), T(3, 3, 4)], {}, "ARC0350", lambda a, b: a * b),
    ("maximum", [T(3), T(2, 4)], {}, "ARC0350", torch.maximum),
    ("sub", [T(3, dtype=BOOL)], {"other": 1}, "ARC0241", lambda a: a - 1),
    ("sub", [T(3)], {"other": True}, "ARC0241", lambda a: a - True),
    ("mod", [T(3, dtype=BOOL), T(3, dtype=BOOL)], {}, "ARC0241", lambda a, b: a % b),
    ("floordiv", [T(3, dtype=BOOL), T(3, dtype=BOOL)], {}, "ARC0241", lambda a, b: a // b),
    ("pow", [T(3, dtype=BOOL), T(3, dtype=BOOL)], {}, "ARC0241", lambda a, b: a**b),
    ("pow", [T(3, dtype=I64)], {"other": -1}, "ARC0242", lambda a: a**-1),
    ("add", [T(3), T(3)], {"other": 1}, "ARC0240", None),
    ("sub", [T(3)], {}, "ARC0240", None),
    ("neg", [T(3, dtype=BOOL)], {}, "ARC0241", lambda a: -a),
    ("floor", [T(3, dtype=BOOL)], {}, "ARC0241", torch.floor),
    ("clamp", [T(3)], {}, "ARC0240", lambda a: a.clamp()),
    ("concat", [T(2, 3, 4), T(2, 3, 5)], {}, "ARC0356", lambda a, b: torch.cat([a, b], 1)),
    ("concat", [T(2, 3, 4), T(2, 3)], {}, "ARC0353", lambda a, b: torch.cat([a, b], 1)),
    ("concat", [T(2, 3), T(2, 3)], {"dim": 2}, "ARC0351", lambda a, b: torch.cat([a, b], 2)),
    ("concat", [T(), T()], {"dim": 0}, "ARC0353", lambda a, b: torch.cat([a, b], 0)),
    ("stack", [T(2, 3), T(2, 4)], {}, "ARC0356", lambda a, b: torch.stack([a, b])),
    ("split", [T(2, 9)], {"split_size_or_sections": (4, 4), "dim": 1}, "ARC0358", lambda a: a.split([4, 4], 1)),
    ("split", [T(2, H)], {"split_size_or_sections": 4, "dim": 1}, "ARC0305", None),
    ("split", [T(2, 9)], {"split_size_or_sections": -3, "dim": 1}, "ARC0354", lambda a: a.split(-3, 1)),
    ("chunk", [T(2, 9)], {"chunks": 2, "dim": 1}, "ARC0304", None),
    ("chunk", [T(2, 9)], {"chunks": 0, "dim": 1}, "ARC0242", lambda a: a.chunk(0, 1)),
    ("halves", [T(2, 9)], {}, "ARC0304", None),
    ("flatten", [T(2, 3)], {"start_dim": 2}, "ARC0351", lambda a: a.flatten(2)),
    ("flatten", [T(2, 3, 4)], {"start_dim": 2, "end_dim": 1}, "ARC0351", lambda a: a.flatten(2, 1)),
    ("reshape", [T(3, 4)], {"shape": (5, -1)}, "ARC0355", lambda a: a.reshape(5, -1)),
    ("reshape", [T(3, 4)], {"shape": (2, 5)}, "ARC0355", lambda a: a.reshape(2, 5)),
    ("reshape", [T(3, 4)], {"shape": (-1, -1)}, "ARC0354", lambda a: a.reshape(-1, -1)),
    ("reshape", [T(3, 4)], {"shape": (-2, 6)}, "ARC0354", lambda a: a.reshape(-2, 6)),
    ("unflatten", [T(3, 4)], {"dim": 1, "sizes": (3, -1)}, "ARC0355", lambda a: a.unflatten(1, (3, -1))),
    ("permute", [T(3, 4)], {"dims": (0, 0)}, "ARC0352", lambda a: a.permute(0, 0)),
    ("permute", [T(3, 4)], {"dims": (0,)}, "ARC0352", lambda a: a.permute(0)),
    ("transpose", [T(3, 4)], {"dim0": 0, "dim1": 2}, "ARC0351", lambda a: a.transpose(0, 2)),
    ("squeeze", [T(3, 4)], {"dim": 1}, "ARC0357", None),
    ("unsqueeze", [T(3, 4)], {"dim": 3}, "ARC0351", lambda a: a.unsqueeze(3)),
    ("expand", [T(3, 4)], {"sizes": (3, 5)}, "ARC0357", lambda a: a.expand(3, 5)),
    ("expand", [T(3, 4)], {"sizes": (3,)}, "ARC0353", lambda a: a.expand(3)),
    ("expand", [T(3, 4)], {"sizes": (-1, 3, 4)}, "ARC0354", lambda a: a.expand(-1, 3, 4)),
    ("space_to_depth", [T(1, 2, 5, 4)], {"block": 2}, "ARC0304", lambda a: torch.pixel_unshuffle(a, 2)),
    ("depth_to_space", [T(1, 2, 5, 4)], {"block": 2}, "ARC0304", lambda a: torch.pixel_shuffle(a, 2)),
    ("index", [T(3, 4)], {"items": (3,)}, "ARC0361", lambda a: a[3]),
    ("index", [T(3, 4)], {"items": (-4,)}, "ARC0361", lambda a: a[-4]),
    ("index", [T(3, 4)], {"items": (0, 0, 0)}, "ARC0360", lambda a: a[0, 0, 0]),
    ("index", [T(3, 4)], {"items": ((None, None, -1),)}, "ARC0362", lambda a: a[::-1]),
    ("index", [T(3, 4)], {"items": ((None, 9, None),)}, "ARC0361", None),
    ("index_select", [T(3, 4), T(2)], {"dim": 0}, "ARC0241", lambda a, b: a.index_select(0, b)),
    ("gather", [T(3, 4), T(2, dtype=I64)], {"dim": 0}, "ARC0353", lambda a, b: a.gather(0, b)),
    ("gather", [T(3, 4), T(2, 5, dtype=I64)], {"dim": 0}, "ARC0302", lambda a, b: a.gather(0, b)),
    ("where", [T(3), T(3), T(3)], {}, "ARC0241", torch.where),
    ("masked_fill", [T(3, dtype=I64), T(3, dtype=BOOL)], {"value": 0.5}, "ARC0241", None),
    ("one_hot", [T(3)], {"num_classes": 4}, "ARC0241", lambda a: F.one_hot(a, 4)),
    ("tril", [T(3)], {}, "ARC0353", torch.tril),
    ("flip", [T(3, 4)], {"dims": (0, -2)}, "ARC0352", lambda a: a.flip(0, -2)),
    ("roll", [T(3, 4)], {"shifts": (1, 2), "dims": 0}, "ARC0352", lambda a: a.roll((1, 2), 0)),
    ("pad", [T(1, 1, 4)], {"pad": (4, 0), "mode": "reflect"}, "ARC0302", lambda a: F.pad(a, (4, 0), "reflect")),
    ("pad", [T(1, 1, 4)], {"pad": (5, 0), "mode": "circular"}, "ARC0302", lambda a: F.pad(a, (5, 0), "circular")),
    ("pad", [T(4)], {"pad": (1, 1), "mode": "reflect"}, "ARC0363", lambda a: F.pad(a, (1, 1), "reflect")),
    ("pad", [T(4)], {"pad": (1,)}, "ARC0363", lambda a: F.pad(a, (1,))),
    ("pad", [T(4)], {"pad": (-3, -3)}, "ARC0302", lambda a: F.pad(a, (-3, -3))),
    ("matmul", [T(3, 4), T(3, 4)], {}, "ARC0364", lambda a, b: a @ b),
    ("matmul", [T(2, 3, 4), T(5, 4, 3)], {}, "ARC0350", lambda a, b: a @ b),
    ("matmul", [T(3, 4), T()], {}, "ARC0353", lambda a, b: a @ b),
    ("matmul", [T(3, 4), T(4, 3, dtype=I64)], {}, "ARC0241", lambda a, b: a @ b),
    ("bmm", [T(1, 3, 4), T(2, 4, 3)], {}, "ARC0364", torch.bmm),
    ("einsum", [T(3, 4), T(3, 4)], {"equation": "ij,jk->ik"}, "ARC0364", lambda a, b: torch.einsum("ij,jk->ik", a, b)),
    ("einsum", [T(3, 4)], {"equation": "ij,jk->ik"}, "ARC0240", lambda a: torch.einsum("ij,jk->ik", a)),
    ("einsum", [T(3, 4)], {"equation": "i->i"}, "ARC0353", lambda a: torch.einsum("i->i", a)),
    ("einsum", [T(3, 4)], {"equation": "ij->k"}, "ARC0245", lambda a: torch.einsum("ij->k", a)),
    ("einsum", [T(3, 4)], {"equation": "ij->ii"}, "ARC0245", lambda a: torch.einsum("ij->ii", a)),
    ("reduce_sum", [T(3, 4)], {"dim": 2}, "ARC0351", lambda a: a.sum(2)),
    ("reduce_sum", [T(3, 4)], {"dim": (0, -2)}, "ARC0352", lambda a: a.sum((0, -2))),
    ("reduce_mean", [T(3, dtype=I64)], {}, "ARC0241", lambda a: a.mean()),
    ("reduce_std", [T(3, dtype=I64)], {}, "ARC0241", lambda a: a.std()),
    ("norm", [T(3, dtype=I64)], {}, "ARC0241", lambda a: torch.linalg.vector_norm(a)),
    ("argmax", [T(3, dtype=BOOL)], {}, "ARC0241", lambda a: a.argmax()),
    ("topk", [T(3, 4)], {"k": 5}, "ARC0302", lambda a: a.topk(5)),
    ("arange", [], {"start": 5, "end": 2}, "ARC0302", lambda: torch.arange(5, 2)),
    ("arange", [], {"start": 5, "step": 0}, "ARC0242", lambda: torch.arange(0, 5, 0)),
    ("full", [], {"shape": (-1,), "value": 0}, "ARC0354", lambda: torch.full((-1,), 0)),
    ("full", [T(3, dtype=I64)], {"shape": (1,), "value": 0.5}, "ARC0244", None),
    ("randint", [], {"low": 3, "high": 3, "shape": (1,)}, "ARC0242", lambda: torch.randint(3, 3, (1,))),
    ("bernoulli", [], {"p": 1.5}, "ARC0242", lambda: torch.empty(1).bernoulli_(1.5)),
    ("rearrange", [T(2, 3)], {"pattern": "b c d -> b c d"}, "ARC0353", None),
    ("rearrange", [T(2, 3)], {"pattern": "b c -> b"}, "ARC0247", None),
    ("rearrange", [T(2, 3)], {"pattern": "b c -> b c d"}, "ARC0247", None),
    ("rearrange", [T(2, 3)], {"pattern": "b b -> b"}, "ARC0246", None),
    ("rearrange", [T(2, 3)], {"pattern": "b c -> c b b"}, "ARC0246", None),
    ("rearrange", [T(2, 3)], {"pattern": "b c"}, "ARC0246", None),
    ("rearrange", [T(2, 3)], {"pattern": "(b c -> c b"}, "ARC0246", None),
    ("rearrange", [T(2, 3)], {"pattern": "b c) -> c b"}, "ARC0246", None),
    ("rearrange", [T(2, 3)], {"pattern": "b ((c) d) -> c b d"}, "ARC0246", None),
    ("rearrange", [T(2, 3)], {"pattern": "b c, -> c b"}, "ARC0246", None),
    ("rearrange", [T(2, 3)], {"pattern": "b c -> c b", "axes": (("d", 3),)}, "ARC0247", None),
    ("rearrange", [T(2, 6)], {"pattern": "b c -> c b", "axes": (("c", "6"),)}, "ARC0354", None),
    ("rearrange", [T(2, 6)], {"pattern": "b (c d) -> b c d"}, "ARC0248", None),
    ("rearrange", [T(2, 6)], {"pattern": "b (c d) -> b c d", "axes": (("c", 4),)}, "ARC0359", None),
    ("rearrange", [T(2, 6)], {"pattern": "b (c d) -> b c d", "axes": (("c", 2), ("d", 2))}, "ARC0359", None),
    ("rearrange", [T(2, 6)], {"pattern": "b c -> c b", "axes": (("b", 3),)}, "ARC0359", None),
    ("rearrange", [T(2, 6)], {"pattern": "b 1 -> b"}, "ARC0359", None),
    ("repeat", [T(2, 6)], {"pattern": "b c -> b c r"}, "ARC0248", None),
    ("reduce", [T(2, 6, dtype=I64)], {"pattern": "b c -> b", "reduction": "mean"}, "ARC0241", None),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case_id(case[:3]))
def test_mistakes_are_refused_where_torch_refuses_them(case: tuple[str, Any, Any, str, Any]) -> None:
    name, ins, args, code, torch_call = case
    with pytest.raises(OpError) as caught:
        apply(registry()[name], args, ins)
    assert caught.value.code == code
    assert code in CODES
    if torch_call is not None:
        with pytest.raises((RuntimeError, IndexError, ValueError, TypeError)):
            torch_call(*(tensor(t, SIZES[0], 0) for t in ins))


def message(name: str, ins: Sequence[TensorType], **args: Any) -> OpError:
    with pytest.raises(OpError) as caught:
        apply(registry()[name], args, ins)
    return caught.value


def test_messages_name_both_types_and_the_dimension() -> None:
    error = message("add", [T(B, 64, H, W), T(B, 256, H, W)])
    assert error.message == (
        "`+` needs equal sizes: dimension 1 is 64 on the left and 256 on the right, in [B, 64, H, W] and [B, 256, H, W]"
    )
    assert error.inputs == (0, 1)
    error = message("add", [T(3, 4), T(3, 4), T(1, 5)])
    assert "dimension 1 is 4 in the first and 5 in the third" in error.message
    assert error.inputs == (0, 2)
    error = message("concat", [T(2, 3, 28), T(2, 5, 56)])
    assert "dimension 2 is 28 in the first and 56 in the second" in error.message
    error = message("rearrange", [T(2, 64, 5)], pattern="b (h d) t -> b h t d", axes=(("d", 5),))
    assert "(h d) = 64 (dimension 1 of [2, 64, 5]) with `d` = 5 (argument `d`): 5 * h = 64" in error.message


def test_symbolic_sizes_must_agree_and_only_a_literal_one_broadcasts() -> None:
    _, (out,), cx = apply(registry()["add"], {}, [T(B, H), T(B, 7)])
    assert out == T(B, 7)
    assert [str(c) for c in cx.constraints] == ["H == 7"]
    _, (out,), cx = apply(registry()["add"], {}, [T(B, H), T(B, 1)])
    assert out == T(B, H)
    assert not cx.constraints
    assert message("add", [T(B, H), T(B, H + 2)]).code == "ARC0350"


def test_divisibility_of_symbolic_sizes_becomes_a_constraint() -> None:
    args = {"pattern": "b c (h p) -> b (c p) h", "axes": (("p", 2),)}
    _, (out,), cx = apply(registry()["rearrange"], args, [T(B, 3, H)])
    assert out == T(B, 6, H // 2)
    assert [str(c) for c in cx.constraints] == ["H == 2*(H // 2)"]


# -- brute force -------------------------------------------------------------------------------------------------------
def test_rearrange_of_random_patterns_moves_every_element_to_its_place() -> None:
    rng = random.Random(5)
    op = registry()["rearrange"]
    for _ in range(60):
        axes = {name: rng.choice([1, 2, 3]) for name in "abcde"[: rng.randint(1, 5)]}
        left, right = (groups(rng, list(axes), shuffle) for shuffle in (False, True))
        pattern = " -> ".join(" ".join(side_text(g) for g in side) for side in (left, right))
        shape = [math.prod(axes[a] for a in g) for g in left]
        x = torch.arange(math.prod(shape)).reshape(shape)
        args = {"pattern": pattern, "axes": tuple(axes.items())}
        attrs, (predicted,), _ = apply(op, args, [TensorType(tuple(shape), I64)])
        expected = torch.full(predicted.shape, -1)
        for place in torch.cartesian_prod(*(torch.arange(n) for n in axes.values())).reshape(-1, len(axes)).tolist():
            at = dict(zip(axes, place, strict=True))
            expected[position(right, at, axes)] = x[position(left, at, axes)]
        assert torch.equal(op.run([x], {}, attrs, False), expected), pattern
        assert torch.equal(call(op, attrs, [x]), expected), pattern


def groups(rng: random.Random, axes: list[str], shuffle: bool) -> list[list[str]]:
    if shuffle:
        rng.shuffle(axes)
    result: list[list[str]] = []
    for axis in axes:
        if result and rng.random() < 0.4:
            result[-1].append(axis)
        else:
            result.append([axis])
        if rng.random() < 0.15:
            result.append([])
    return result


def side_text(group: list[str]) -> str:
    return group[0] if len(group) == 1 else f"({' '.join(group)})"


def position(side: list[list[str]], at: Mapping[str, int], sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Row-major place of an element in the merged dimensions."""
    result = []
    for group in side:
        place = 0
        for axis in group:
            place = place * sizes[axis] + at[axis]
        result.append(place)
    return tuple(result)


def test_einsum_sums_over_every_assignment_of_the_names() -> None:
    a, b = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 3, 5, dtype=torch.float64)
    op = registry()["einsum"]
    attrs, _, _ = apply(op, {"equation": "... row deep, ... row wide -> ... wide deep"}, [T(2, 3, 4), T(2, 3, 5)])
    expected = torch.zeros(2, 5, 4, dtype=torch.float64)
    for i, n, d, k in torch.cartesian_prod(*map(torch.arange, (2, 3, 4, 5))).tolist():
        expected[i, k, d] += a[i, n, d] * b[i, n, k]
    assert torch.allclose(op.run([a, b], {}, attrs, False), expected)
    assert torch.allclose(call(op, attrs, [a, b]), expected)


@pytest.mark.parametrize(
    ("name", "shapes", "args"),
    [
        ("matmul", [(2, 3, 4), (2, 4, 5)], {}),
        ("matmul", [(2, 3, 4), (4, 5)], {}),
        ("matmul", [(6, 1, 3, 4), (2, 4, 5)], {}),
        ("bmm", [(2, 3, 4), (2, 4, 5)], {}),
        ("einsum", [(2, 3, 4), (2, 3, 5)], {"equation": "bnd,bnk->bkd"}),
        ("einsum", [(2, 3, 4), (2, 3, 5)], {"equation": "... n d, ... n k -> ... k d"}),
        ("einsum", [(2, 4), (2, 3)], {"equation": "bd,bn->bnd"}),
        ("einsum", [(2, 3, 4), (2, 5)], {"equation": "bnd,bk->bk"}),
        ("einsum", [(2, 3, 4)], {"equation": "bnd->d"}),
    ],
)
def test_macs_are_those_that_torch_counts(name: str, shapes: list[tuple[int, ...]], args: dict[str, Any]) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    op = registry()[name]
    ins = [TensorType(shape) for shape in shapes]
    attrs, outs, _ = apply(op, args, ins)
    with FlopCounterMode(display=False) as counter:
        call(op, attrs, [torch.randn(shape) for shape in shapes])
    assert op.macs(ins, outs, attrs) == counter.get_total_flops() // 2


def test_constants_follow_the_module() -> None:
    op = registry()["linspace"]
    attrs, _, _ = apply(op, {"start": 0, "end": 1, "steps": 7}, [])
    module = make_module(op, attrs)
    assert module is not None and not module.state_dict()
    module.double()
    emitted = call(op, attrs, [], module)
    assert emitted.dtype == torch.float64
    assert torch.equal(emitted, torch.linspace(0, 1, 7, dtype=torch.float64))


def test_cast_to_the_module_type_follows_the_module() -> None:
    op = registry()["cast"]
    attrs, _, _ = apply(op, {"dtype": "float"}, [T(3, dtype=I64)])
    module = make_module(op, attrs)
    assert module is not None
    assert call(op, attrs, [torch.ones(3, dtype=torch.int64)], module.double()).dtype == torch.float64
