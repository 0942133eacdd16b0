"""Layer entries against torch: emitted modules and calls, weights, shapes, the reference semantics, cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nn_cases import CASES, Case
from render import apply, call, make_module

import archlang.ops  # noqa: F401
from archlang.ir.graph import Attrs, TensorType
from archlang.ops.base import Op, registry
from archlang.report.codes import CODES


def tensor(type: TensorType, generator: torch.Generator, below: int = 10) -> torch.Tensor:
    if type.dtype == "bool":
        mask = torch.rand(type.shape, generator=generator) < 0.6
        mask[..., 0] = type.rank != 2  # every row keeps a key under either meaning of a mask
        return mask
    if type.dtype != "float":
        return torch.randint(0, below, type.shape, generator=generator, dtype=getattr(torch, type.dtype))
    return torch.randn(type.shape, generator=generator)


def random_weights(
    op: Op, attrs: Attrs, generator: torch.Generator, module: torch.nn.Module | None
) -> dict[str, torch.Tensor]:
    """Parameters and running statistics; other buffers as the module makes them."""
    weights = {}
    made = dict(module.named_buffers()) if module is not None else {}
    for decl in op.weights(attrs):
        value = tensor(TensorType(decl.shape, decl.dtype), generator)
        if decl.name == "running_var":
            value = value.abs() + 0.5
        elif decl.kind == "buffer" and not decl.name.startswith(("running", "num_batches")):
            value = made[decl.name].clone()
        # torch's recurrent kernels round otherwise where the weights need no gradient
        weights[decl.name] = torch.nn.Parameter(value) if decl.kind == "parameter" else value
    return weights


def equal(a: Any, b: Any) -> bool:
    """Bit for bit, shapes and dtypes too; nan equals nan."""
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(equal(p, q) for p, q in zip(a, b, strict=True))
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(((a == b) | (a.isnan() & b.isnan())).all())


class Setup:
    """A case with its attributes, inputs, weights and, where the entry has one, module."""

    def __init__(self, case: Case) -> None:
        generator = torch.Generator().manual_seed(7)
        self.op = registry()[case.op]
        self.attrs, self.outs, self.context = apply(self.op, case.args, case.ins)
        self.ins = [tensor(t, generator) for t in case.ins]
        self.module = make_module(self.op, self.attrs)
        self.weights = random_weights(self.op, self.attrs, generator, self.module)
        if self.module is not None:
            kept = {d.name for d in self.op.weights(self.attrs) if d.persistent}
            state = {k: v.detach().clone() for k, v in self.weights.items() if k in kept}
            self.module.load_state_dict(state, strict=True)

    def both(self, training: bool) -> tuple[Any, Any]:
        """What the emission gives, and what `run` gives, from the same state of the generator."""
        with torch.no_grad():
            torch.manual_seed(3)
            if self.module is not None:
                self.module.train(training)
            emitted = call(self.op, self.attrs, self.ins, self.module, training)
            torch.manual_seed(3)
            return emitted, self.op.run(self.ins, self.weights, self.attrs, training)


each_case = pytest.mark.parametrize("case", CASES, ids=str)


@each_case
def test_emission_is_the_reference_bit_for_bit(case: Case) -> None:
    setup = Setup(case)
    assert not setup.context.constraints
    emitted, reference = setup.both(training=False)
    assert equal(emitted, reference)
    results = reference if isinstance(reference, tuple) else (reference,)
    assert [(tuple(r.shape), r.dtype) for r in results] == [(t.shape, torch.float32) for t in setup.outs]


@each_case
def test_training_draws_and_updates_alike(case: Case) -> None:
    setup = Setup(case)
    emitted, reference = setup.both(training=True)
    assert equal(emitted, reference)
    if setup.module is not None:
        state = setup.module.state_dict()
        assert all(equal(value, setup.weights[name]) for name, value in state.items())


@each_case
def test_weights_are_the_modules(case: Case) -> None:
    setup = Setup(case)
    decls = setup.op.weights(setup.attrs)
    if setup.module is None:
        assert not decls
        return
    parameters = dict(setup.module.named_parameters())
    have = [(k, tuple(v.shape), v.dtype, k in parameters) for k, v in setup.module.state_dict().items()]
    dtypes = {"float": torch.float32, "int64": torch.int64, "uint8": torch.uint8}
    assert have == [(d.name, d.shape, dtypes[d.dtype], d.kind == "parameter") for d in decls if d.persistent]


@each_case
def test_weightless_module_is_the_call(case: Case) -> None:
    setup = Setup(case)
    if setup.module is None or setup.weights:
        return
    for training in (False, True):
        setup.module.train(training)
        torch.manual_seed(3)
        stood = setup.module(*setup.ins)
        torch.manual_seed(3)
        assert equal(stood, call(setup.op, setup.attrs, setup.ins, None, training))


COUNTED = (
    "conv",
    "conv_transpose",
    "convolve",
    "linear",
    "sdpa",
    "attention",
    "multihead_attention",
    "invertible_conv",
    "invertible_linear",
    "orthogonal_linear",
    "triangular_conv",
    "gdn",
)


@pytest.mark.parametrize("case", [c for c in CASES if c.op in COUNTED], ids=str)
def test_macs_are_half_of_torchs_flops(case: Case) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    setup = Setup(case)
    counter = FlopCounterMode(display=False)
    setup.ins = [t.requires_grad_() if t.is_floating_point() else t for t in setup.ins]  # no fused path of MHA
    if setup.module is not None:
        setup.module.train()
    with counter, sdpa_kernel(SDPBackend.MATH):
        call(setup.op, setup.attrs, setup.ins, setup.module, True)
    assert 2 * setup.op.macs(case.ins, setup.outs, setup.attrs) == counter.get_total_flops()


def test_global_avgpool_is_adaptive_pooling_flattened() -> None:
    x = torch.randn(3, 5, 7, 9).to(memory_format=torch.channels_last)
    op = registry()["global_avgpool"]
    attrs, _, _ = apply(op, {}, [TensorType((3, 5, 7, 9))])
    assert equal(call(op, attrs, [x]), torch.nn.AdaptiveAvgPool2d(1)(x).flatten(1))
    assert equal(op.run([x], {}, attrs, False), torch.nn.AdaptiveAvgPool2d(1)(x).flatten(1))


def test_codes_are_registered() -> None:
    assert {"ARC0220", "ARC0221", "ARC0222", "ARC0310", "ARC0311", "ARC0312", "ARC0313"} <= set(CODES)
