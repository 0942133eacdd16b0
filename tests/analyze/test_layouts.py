"""Inputs that are not row-major: the strides of every op's results, and what it keeps, against torch."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from render import apply, call, make_module
from test_tensor_ops import SIZES, concrete, tensor

import archlang
from archlang.certify.certificate import Runner
from archlang.certify.measure import flat, saved
from archlang.ir.graph import TensorType
from archlang.ops.base import Op, OpError, registry
from archlang.ops.eager import Ghost, Storage, Tape
from archlang.ops.strides import suggests_channels_last
from archlang.shapes.dim import evaluate
from tests.analyze.test_saved_ops import CASES, Case

# The order of the dimensions in memory, outermost first; the dimension of which a part is taken; that which is repeated
LAYOUTS: dict[str, Any] = {
    "channels last": lambda n: ((0, *range(2, n), 1), None, None),
    "last two swapped": lambda n: ((*range(n - 2), n - 1, n - 2), None, None),
    "reversed": lambda n: (tuple(range(n))[::-1], None, None),
    "first two swapped": lambda n: ((1, 0, *range(2, n)), None, None),
    "inner two swapped": lambda n: ((0, 2, 1, *range(3, n)), None, None),
    "part": lambda n: (tuple(range(n)), 1, None),
    "part, channels last": lambda n: ((0, *range(2, n), 1), 1, None),
    "repeated": lambda n: (tuple(range(n)), None, 0),
}
REFUSED = {
    "pixel_shuffle",
    "pixel_unshuffle",
    "space_to_depth",
    "local_response_norm",
}  # torch, some of five dimensions


def placed(x: torch.Tensor, layout: str) -> torch.Tensor:
    """The same values in other memory."""
    order, part, repeated = LAYOUTS[layout](x.dim())
    if repeated is not None:
        return x.narrow(repeated, 0, 1).clone().expand(x.shape)
    sizes = [n + 3 * (d == part) for d, n in enumerate(x.shape)]
    memory = torch.zeros([sizes[d] for d in order], dtype=x.dtype).permute([order.index(d) for d in range(x.dim())])
    return memory[tuple(slice(n) for n in x.shape)].copy_(x)


def ghost_of(x: torch.Tensor) -> Ghost:
    dtype = str(x.dtype).removeprefix("torch.")
    storage = Storage(x.untyped_storage().nbytes())
    return Ghost(tuple(x.shape), x.stride(), dtype, storage, x.is_floating_point())


def seen(x: Any) -> tuple[Any, ...]:
    """Strides, but for those of sizes of 1, and what later kernels take the memory format to be."""
    shape, strides = tuple(x.shape), x.strides if isinstance(x, Ghost) else x.stride()
    if 0 in shape:
        return ()
    steps = tuple(step if n != 1 else 0 for step, n in zip(strides, shape, strict=True))
    return steps, suggests_channels_last(shape, strides)


def differs(case: Case, layouts: Sequence[str | None]) -> str | None:
    """How the op's trace differs from what torch does."""
    op, ins, args = registry()[case[0]], case[1], case[2]
    tensors = [
        (placed(t, how) if how else t).requires_grad_(t.is_floating_point())
        for t, how in zip((tensor(t, {}, seed) for seed, t in enumerate(ins)), layouts, strict=True)
    ]
    attrs, outs, _ = apply(op, args, ins)
    tape, ghosts = Tape(), [ghost_of(t) for t in tensors]
    results = traced(tape, op, ghosts, outs, attrs)
    module = make_module(op, attrs)
    own = [] if module is None else [*module.parameters(), *module.buffers()]
    try:
        found, real = saved(lambda: call(op, attrs, tensors, module, training=True), own)
    except RuntimeError:
        assert ins[0].rank >= 5 and case[0] in REFUSED
        return None
    have = tape.kept, [g.storage.kept for g in (*ghosts, *results)], [seen(g) for g in results]
    want = found.total, [found.holds(t) for t in (*tensors, *flat(real))], [seen(t) for t in flat(real)]
    return None if have == want else f"{args} of {[t.shape for t in ins]} in {layouts}: {have}, and torch {want}"


def traced(tape: Tape, op: Op, ins: Sequence[Ghost], outs: Any, attrs: Any) -> tuple[Ghost, ...]:
    weights = {w.name: tape.weight(w.shape, w.dtype, w.trainable and w.kind == "parameter") for w in op.weights(attrs)}
    return op.trace(tape, ins, weights, outs, attrs)


def variants() -> Iterator[tuple[Case, Sequence[str]]]:
    """The ops' cases and their layouts; for the first case of each number of dimensions those with sizes of 1, too."""
    met: dict[Any, int] = defaultdict(int)
    for name, ins, args in (*CASES, *MORE):
        if not ins or max(t.rank for t in ins) < 2:
            continue
        met[name, ins[0].rank] += 1
        if met[name, ins[0].rank] > 4 and met[name, ins[0].rank] % 3:
            continue
        for one in ("", *"BCHW") if met[name, ins[0].rank] == 1 else ("",):
            sizes = {**SIZES[0], **({one: 1} if one else {})}
            place = "BCHW".find(one) if one else -1
            shapes = [tuple(evaluate(s, sizes) for s in t.shape) for t in ins]
            if 0 <= place < len(shapes[0]):
                shapes[0] = (*shapes[0][:place], 1, *shapes[0][place + 1 :])
            types = [TensorType(shape, t.dtype) for shape, t in zip(shapes, ins, strict=True)]
            if not one or fits(name, types, args, sizes):
                case = name, types, {key: concrete(value, sizes) for key, value in args.items()}
                few = ("channels last", "inner two swapped") if one else ("channels last", "reversed", "part")
                yield case, few if one or met[name, ins[0].rank] > 2 else tuple(LAYOUTS)


def fits(name: str, ins: Sequence[TensorType], args: Any, sizes: dict[str, int]) -> bool:
    """Whether the op, and torch, take inputs with these sizes of 1."""
    if name in ("index_select", "gather", "take_along", "einsum") or "pool" in name or name.startswith("instance"):
        return False  # indices that are too large; sums over one element; windows that are larger than the input
    try:
        cx = apply(registry()[name], {key: concrete(value, sizes) for key, value in args.items()}, ins)[2]
    except OpError:
        return False
    return not (registry()[name].over_batch and ins[0].shape[0] == 1) and cx is not None


def more() -> Iterator[Case]:
    """What the ops' own tests try in one or two dimensions only."""
    for shape in ((2, 4, 6), (2, 4, 6, 8), (2, 4, 6, 4, 8)):
        x, n = TensorType(shape), len(shape) - 2
        for mode in ("constant", "reflect", "replicate", "circular"):
            yield "pad", [x], {"pad": (1, 0) * n, "mode": mode}
        yield "pad", [x], {"pad": (-1, 0) * n}
        for mode in ("nearest", "area", ("linear", "bilinear", "trilinear")[n - 1]):
            yield "interpolate", [x], {"scale_factor": 2, "mode": mode}
        for dim in range(1, n + 2):
            yield "concat", [x, x], {"dim": dim}
            yield "stack", [x, x], {"dim": dim}
            yield "glu", [x], {"dim": dim} if shape[dim] % 2 == 0 else {"dim": 1}
        for shifts, dims in ((1, 2), (6, 2), ((1, 2), (1, 2))):
            yield "roll", [x], {"shifts": shifts, "dims": dims}
        yield "channel_shuffle", [x], {"groups": 2}
        yield "space_to_depth", [x], {"block": 2}
        for name in ("softmax", "sort", "cumsum"):
            yield name, [x], {"dim": 1}
        yield "masked_fill", [x, TensorType(shape, "bool")], {"value": 0.0}
        yield "where", [TensorType(shape, "bool"), x, x], {}
        for name in ("flip", "reduce_mean", "reduce_max", "reduce_prod"):
            yield name, [x], {"dims" if name == "flip" else "dim": (1,)}
        for name in ("logsigmoid", "rrelu", "actnorm"):
            yield name, [x], {}


MORE = list(more())


def test_every_op_in_every_layout() -> None:
    wrong: list[str] = []
    for case, chosen in variants():
        ranks = [t.rank for t in case[1]]
        for layout in chosen:
            every = tuple(layout if rank > 1 + ("channels" in layout or "inner" in layout) else None for rank in ranks)
            alone = [tuple(how if i == at else None for i, how in enumerate(every)) for at in range(len(every))]
            for layouts in {every, *(alone if len(every) < 4 else ())} - {(None,) * len(every)}:
                with threads(2 if case[0] == "conv" and ranks[0] == 5 and case[2]["kernel_size"] == 1 else 1):
                    found = differs(case, layouts)
                wrong += [f"{case[0]}: {found}"] if found else []
    assert not wrong, f"{len(wrong)} differ, among them\n" + "\n".join(
        random.Random(0).sample(wrong, min(len(wrong), 9))
    )


CHAINED: list[tuple[str, dict[str, Any]]] = [
    *(
        (name, {})
        for name in ("relu", "gelu", "tanh", "batchnorm", "instancenorm", "layernorm", "normalize", "rmsnorm")
    ),
    *((name, {"kernel_size": 2, "stride": 1, "padding": 1}) for name in ("maxpool", "avgpool")),
    *((name, {"out_channels": 4, "kernel_size": 3, "padding": 1}) for name in ("conv", "conv_transpose")),
    *((name, {"output_size": 3}) for name in ("adaptive_avgpool", "adaptive_maxpool")),
    *((name, {"dim": 1}) for name in ("softmax", "glu", "unsqueeze")),
    *(("transpose", {"dim0": a, "dim1": b}) for a, b in ((1, -1), (1, 2), (0, 1))),
    *((name, {"dim": (d,), "keepdim": True}) for name, d in (("reduce_mean", 1), ("reduce_max", -1))),
    ("conv", {"out_channels": 2, "kernel_size": 3, "groups": 2, "padding": 1}),
    ("flatten", {"start_dim": 1, "end_dim": 2}),
    ("global_avgpool", {"keepdim": True}),
    ("chunk", {"chunks": 2, "dim": 1}),
    ("interpolate", {"scale_factor": 2}),
    ("groupnorm", {"num_groups": 2}),
    ("channel_shuffle", {"groups": 2}),
    ("linear", {"out_features": 4}),
    ("roll", {"shifts": 1, "dims": 1}),
    ("unsqueeze", {"dim": 2}),
    ("dropout", {"p": 0.5}),
    ("flip", {"dims": (1,)}),
    ("mul", {"other": 2}),
]


class Chain:
    """Ops one after the other, on a tensor and on its ghost."""

    def __init__(self, x: torch.Tensor) -> None:
        self.real, self.ghost, self.tape = x, ghost_of(x), Tape()
        self.own: list[torch.Tensor] = []
        self.done = [f"{tuple(x.shape)} {x.stride()}"]

    def add(self, name: str, args: dict[str, Any]) -> None:
        op = registry()[name]
        try:
            attrs, outs, _ = apply(op, args, [TensorType(tuple(self.real.shape))])
        except OpError:
            return
        if (op.over_batch and self.real.shape[0] == 1) or self.real.numel() > 4000:
            return
        module = make_module(op, attrs)
        self.own += [*module.parameters(), *module.buffers()] if module else []
        self.done.append(f"{name}({args})")
        self.real = flat(call(op, attrs, [self.real], module, training=True))[0]
        self.ghost = traced(self.tape, op, [self.ghost], outs, attrs)[0]
        assert seen(self.ghost) == seen(self.real), self.done

    def run(self, ops: Sequence[tuple[str, dict[str, Any]]]) -> None:
        for name, args in ops:
            self.add(name, args)


def test_chains_of_ops() -> None:
    """Strides of one op's result, those of sizes of 1 too, are what the next one meets."""
    dice, steps = random.Random(1), 0
    for _ in range(400):
        x = torch.rand((2, 4, 6, 4, 2)[: dice.choice((3, 4, 5))])
        chain, ops = Chain(placed(x, dice.choice(list(LAYOUTS))).requires_grad_()), dice.choices(CHAINED, k=6)
        found, _ = saved(lambda chain=chain, ops=ops: chain.run(ops), ())  # type: ignore[misc]
        own = {t.untyped_storage()._cdata for t in chain.own}
        kept = sum(size for key, size in found.bytes.items() if key not in own)
        assert chain.tape.kept == kept, chain.done
        steps += len(chain.done) - 1
    assert steps > 1500


@pytest.mark.parametrize("norm", ["batchnorm", "logsigmoid -> conv(4, 1)", "conv(4, 3) -> gelu"])
@pytest.mark.parametrize(("sizes", "dims"), [("8", "0, 2, 1"), ("5, 6", "0, 3, 1, 2"), ("3, 4, 5", "0, 4, 1, 2, 3")])
def test_a_certificate_says_what_real_tensors_keep(norm: str, sizes: str, dims: str) -> None:
    """Fake ones of torch have other strides after some ops."""
    text = f"x -> linear(4) -> permute(({dims})) -> {norm} -> relu -> flatten(1) -> linear(3)"
    run = Runner(archlang.compile(f"block net(x: [B, {sizes}, 4]) {{ return {text} }}", "net"))
    run.figures()
    assert run.certificate.not_measured is None
    assert all(f.measured == f.predicted for f in run.certificate.figures), run.certificate.figures


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)
