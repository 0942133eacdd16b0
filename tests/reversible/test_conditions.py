"""The conditions of everyday training, each on a generated network whose values are rebuilt in the backward pass.

What is compared with is the same file with its blocks run one after the other by autograd.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.codegen.load import flat
from tests.reversible.conditions import Pair, assert_same, gradients, loss, state
from tests.reversible.streams import stand_in


@pytest.fixture(params=[False, True], ids=["one stream", "two streams"])
def pair(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """In the plain order, and in that for two streams, which stand in."""
    made = Pair(overlap=request.param)
    if request.param:
        stand_in(monkeypatch, made.ours_module)
    return made


def compare(pair: Pair, run: Callable[[nn.Module], list[Tensor | None]], tolerance: float = 1e-11) -> None:
    """The same gradients, and the same buffers afterwards."""
    results = []
    for net in pair.both:
        torch.manual_seed(1)
        results.append(run(net))
    assert_same(results[0], results[1], tolerance)
    for a, b in zip(state(pair.ours), state(pair.plain), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=0)


def saved(net: nn.Module, *inputs: Tensor) -> list[Tensor]:
    """What autograd keeps of a forward."""
    found: list[Tensor] = []

    def keep(t: Tensor) -> Tensor:
        found.append(t)
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        net(*inputs)
    return found


def test_only_the_results_are_kept(pair: Pair) -> None:
    x, c = pair.inputs()
    weights = {t.data_ptr() for t in pair.ours.parameters()}
    sizes = [t.shape for t in saved(pair.ours, x, c) if t.data_ptr() not in weights]
    assert sorted(sizes) == sorted([torch.Size([2, 4, 5, 6])] * 3)  # two streams, and the context


def test_saved_tensors_may_be_moved(pair: Pair) -> None:
    """As by `save_on_cpu`, and by what offloads activations: other tensors come back."""

    def run(net: nn.Module) -> list[Tensor | None]:
        given = pair.inputs()
        with torch.autograd.graph.saved_tensors_hooks(torch.clone, torch.clone):
            results = flat(net(*given))
        sum(r.square().sum() for r in results).backward()
        return [t.grad for t in (*given, *net.parameters())]

    for a, b in zip(run(pair.ours), run(pair.plain), strict=True):
        assert (a is None) == (b is None)
        assert a is None or b is None or torch.allclose(a, b, rtol=1e-9, atol=1e-12)


def test_outputs_are_those_of_plain_autograd(pair: Pair) -> None:
    given = pair.inputs()
    for a, b in zip(flat(pair.ours(*given)), flat(pair.plain(*given)), strict=True):
        assert torch.equal(a, b)


def test_batch_statistics_change_once(pair: Pair) -> None:
    compare(pair, lambda net: gradients(net, pair.inputs()))
    assert [int(b) for b in pair.ours.buffers() if b.dim() == 0] == [1] * 8


def test_dropout_and_two_forwards_before_a_backward() -> None:
    pair = Pair(drop=0.4)

    def run(net: nn.Module) -> list[Tensor | None]:
        net.zero_grad()
        first, second = (net(*pair.inputs(seed)) for seed in (1, 2))
        (loss(first) + 2 * loss(second)).backward()
        draw = torch.rand(())  # the generator stands where it would without
        return [*(p.grad for p in net.parameters()), draw]

    compare(pair, run)


def test_backward_leaves_the_generator_alone() -> None:
    pair = Pair(drop=0.4)
    result = loss(pair.ours(*pair.inputs()))
    before = torch.get_rng_state()
    result.backward()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_dropout_on_cuda() -> None:
    pair = Pair(drop=0.4)
    for net in pair.both:
        net.cuda()
    compare(pair, lambda net: gradients(net, tuple(t.detach().cuda().requires_grad_() for t in pair.inputs())), 1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_streams(pair: Pair) -> None:
    for net in pair.both:
        net.cuda()
    given = tuple(t.detach().cuda().requires_grad_() for t in pair.inputs())

    def run(net: nn.Module) -> list[Tensor | None]:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            found = gradients(net, given)
        torch.cuda.current_stream().wait_stream(side)
        return found

    compare(pair, run, 1e-9)


@pytest.mark.parametrize("inside", [False, True])
def test_autocast(inside: bool) -> None:
    """The second evaluation has the first one's types, whether backward is called inside of autocast or not."""
    pair = Pair(torch.float32)
    types: list[list[torch.dtype]] = []

    def run(net: nn.Module) -> list[Tensor | None]:
        mine: list[torch.dtype] = []
        types.append(mine)
        norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
        real = norms[0].forward

        def spy(x: Tensor) -> Tensor:
            mine.append(x.dtype)
            return real(x)

        norms[0].forward = spy  # type: ignore[method-assign]
        given = tuple(t.detach().requires_grad_() for t in pair.inputs())
        with torch.autocast("cpu", torch.bfloat16):
            result = loss(net(*given))
            if inside:
                result.backward()
        if not inside:
            result.backward()
        return [t.grad for t in (*given, *net.parameters())]

    results = [run(net) for net in pair.both]
    assert types == [[torch.bfloat16] * 2, [torch.bfloat16]]
    assert_same(results[0], results[1], 0.1)  # bfloat16 has 8 bits


def test_frozen_parameters(pair: Pair) -> None:
    for net in pair.both:
        for number, p in enumerate(net.parameters()):
            p.requires_grad_(number % 3 != 0)
    compare(pair, lambda net: gradients(net, pair.inputs()))


def test_all_parameters_frozen(pair: Pair) -> None:
    for net in pair.both:
        net.requires_grad_(False)
    compare(pair, lambda net: gradients(net, pair.inputs()))


def test_inputs_without_gradient(pair: Pair) -> None:
    compare(pair, lambda net: gradients(net, pair.inputs(gradient=False)))


def test_autograd_grad(pair: Pair) -> None:
    def run(net: nn.Module) -> list[Tensor | None]:
        given = pair.inputs()
        found = list(torch.autograd.grad(loss(net(*given)), [*given, *net.parameters()]))
        assert all(p.grad is None for p in net.parameters())
        return [*found]

    compare(pair, run)


def test_retained_graph_and_accumulation(pair: Pair) -> None:
    def run(net: nn.Module) -> list[Tensor | None]:
        given = pair.inputs()
        result = loss(net(*given))
        result.backward(retain_graph=True)
        result.backward()
        loss(net(*given)).backward()
        return [t.grad for t in (*given, *net.parameters())]

    compare(pair, run)


def test_a_second_backward_is_refused(pair: Pair) -> None:
    result = loss(pair.ours(*pair.inputs()))
    result.backward()
    with pytest.raises(RuntimeError, match="second time"):
        result.backward()


def test_parameter_hooks(pair: Pair) -> None:
    """A hook sees the whole gradient, once, and may replace it."""
    calls: dict[int, int] = {}
    for net in pair.both:
        for p in net.parameters():

            def hook(gradient: Tensor, key: int = id(net)) -> Tensor:
                calls[key] = calls.get(key, 0) + 1
                return 3 * gradient

            p.register_hook(hook)
    compare(pair, lambda net: gradients(net, pair.inputs()))
    assert calls[id(pair.ours)] == calls[id(pair.plain)] == len(list(pair.ours.parameters()))


def test_module_hooks(pair: Pair) -> None:
    """A network whose inner modules have hooks is trained without rebuilding: a hook sees each forward once."""
    seen: list[int] = []
    for net in pair.both:
        inner = next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d))
        inner.register_forward_hook(lambda module, args, out, net=net: seen.append(id(net)))
    compare(pair, lambda net: gradients(net, pair.inputs()))
    assert seen == [id(pair.ours), id(pair.plain)]


def test_shared_blocks(pair: Pair) -> None:
    for net in pair.both:
        net.body[2] = net.body[0]  # type: ignore[operator,index]
        net.body[1].g = net.body[1].f  # type: ignore[union-attr,index]
        net.last.f.two.weight = net.last.f.one.weight  # type: ignore[union-attr]
    compare(pair, lambda net: gradients(net, pair.inputs()))


@pytest.mark.parametrize("which", [0, 1])
def test_in_place_use_of_a_result(pair: Pair, which: int) -> None:
    """Autograd's own error; without the change, the right gradient."""
    results = list(pair.ours(*pair.inputs()))
    results[which].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss(results).backward()


def test_in_place_use_of_an_input(pair: Pair) -> None:
    """The input is not needed any more: changed in place, it does no harm."""
    given = pair.inputs(gradient=False)
    x, y = given[0].clone(), given[0].clone()
    ours, plain = loss(pair.ours(x, given[1])), loss(pair.plain(y, given[1]))
    x.zero_()
    ours.backward()
    plain.backward()
    assert_same([p.grad for p in pair.ours.parameters()], [p.grad for p in pair.plain.parameters()])


@pytest.mark.parametrize("which", [0, 1])
def test_an_unused_result(pair: Pair, which: int) -> None:
    def run(net: nn.Module) -> list[Tensor | None]:
        given = pair.inputs()
        loss(net(*given)[which]).backward()
        return [t.grad for t in (*given, *net.parameters())]

    compare(pair, run)


def test_context_without_gradient(pair: Pair) -> None:
    def run(net: nn.Module) -> list[Tensor | None]:
        x, c = pair.inputs()
        loss(net(x, c.detach())).backward()
        return [x.grad, *(p.grad for p in net.parameters())]

    compare(pair, run)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients(pair: Pair, mode: Any) -> None:
    """Same results, and the caller's tensors are as they were."""
    given = pair.inputs(gradient=False)
    copies = [t.clone() for t in given]
    with mode():
        results = [flat(net(*given)) for net in pair.both]
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)
    for t, before in zip(given, copies, strict=True):
        assert torch.equal(t, before)


def test_the_callers_tensors_stay(pair: Pair) -> None:
    x, c = pair.inputs()
    results = pair.ours(x, c)
    before = [t.detach().clone() for t in (x, c, *results)]
    loss(results).backward()
    for t, copied in zip((x, c, *results), before, strict=True):
        assert torch.equal(t, copied)


def test_evaluation_mode(pair: Pair) -> None:
    gradients(pair.ours, pair.inputs())
    pair.plain.load_state_dict(pair.ours.state_dict())
    for net in pair.both:
        net.eval()
    compare(pair, lambda net: gradients(net, pair.inputs()))


def test_another_mode_before_backward(pair: Pair) -> None:
    def run(net: nn.Module) -> list[Tensor | None]:
        net.train()
        given = pair.inputs()
        result = loss(net(*given))
        net.eval()
        result.backward()
        assert not any(m.training for m in net.modules())
        return [t.grad for t in (*given, *net.parameters())]

    compare(pair, run)


@pytest.mark.parametrize("training", [True, False])
def test_double_backward(pair: Pair, training: bool) -> None:
    for net in pair.both:
        net.train(training)

    def run(net: nn.Module) -> list[Tensor | None]:
        given = pair.inputs()
        every = [*given, *net.parameters()]
        first = torch.autograd.grad(loss(net(*given)), every, create_graph=True)
        second = torch.autograd.grad(sum(g.pow(2).sum() for g in first), every, allow_unused=True)
        return [*first, *second]

    results = [run(net) for net in pair.both]
    for ours, plain in zip(*results, strict=True):
        assert ours is not None
        zero = torch.zeros_like(ours) if plain is None else plain
        scale = max(float(t.detach().abs().max()) for t in results[1] if t is not None)
        torch.testing.assert_close(ours, zero, rtol=1e-9, atol=1e-11 * scale)
    for a, b in zip(state(pair.ours), state(pair.plain), strict=True):
        torch.testing.assert_close(a, b)


def test_double_backward_with_dropout() -> None:
    pair = Pair(drop=0.4)

    def run(net: nn.Module) -> list[Tensor | None]:
        given = pair.inputs()
        first = torch.autograd.grad(loss(net(*given)), given, create_graph=True)
        return [*torch.autograd.grad(sum(g.pow(2).sum() for g in first), given)]

    compare(pair, run, 1e-9)


@pytest.mark.parametrize("what", ["weights", "running statistics", "context"])
def test_changes_between_forward_and_backward(pair: Pair, what: str) -> None:
    if what == "running statistics":
        pair.ours.eval()
    x, c = pair.inputs(gradient=False)
    result = loss(pair.ours(x, c))
    with torch.no_grad():
        changed = {"weights": pair.ours.parameters(), "running statistics": pair.ours.buffers(), "context": iter([c])}
        next(iter(changed[what])).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.backward()


def test_training_statistics_may_change(pair: Pair) -> None:
    """Batch normalisation in training writes its statistics and does not read them."""

    def run(net: nn.Module) -> list[Tensor | None]:
        given = pair.inputs()
        result = loss(net(*given))
        with torch.no_grad():
            net(*pair.inputs(5))
        result.backward()
        return [t.grad for t in (*given, *net.parameters())]

    compare(pair, run)


def test_deepcopy(pair: Pair) -> None:
    gradients(pair.ours, pair.inputs())
    net = copy.deepcopy(pair.ours)
    pair.plain.load_state_dict(net.state_dict())
    assert_same(gradients(net, pair.inputs()), gradients(pair.plain, pair.inputs()))


def test_pickle(pair: Pair) -> None:
    net = pickle.loads(pickle.dumps(pair.ours))
    assert_same(gradients(net, pair.inputs()), gradients(pair.plain, pair.inputs()))


@pytest.mark.parametrize("options", [{"every": 1}, {"every": 2}, {"keep": 1}, {"keep": 2, "every": 1}, {"keep": 9}])
def test_hybrid_regions(pair: Pair, options: dict[str, int]) -> None:
    real = pair.ours_module.rebuild
    pair.ours_module.rebuild = lambda *args, **given: real(*args, **{**given, **options})
    compare(pair, lambda net: gradients(net, pair.inputs()))


def test_float32_is_as_precise_as_plain_autograd() -> None:
    """The deviation from float64 is at most 1.5 times that of plain autograd in float32."""
    exact, single = Pair(), Pair(torch.float32)
    for net in single.both:
        net.load_state_dict(exact.plain.state_dict())
    x, c = (t.detach().float() for t in exact.inputs())
    true = gradients(exact.plain, (x.double().requires_grad_(), c.double().requires_grad_()))
    ours, plain = (gradients(net, (x.requires_grad_(), c.requires_grad_())) for net in single.both)

    def deviation(found: list[Tensor | None]) -> float:
        pairs = [(a.double(), b) for a, b in zip(found, true, strict=True) if a is not None and b is not None]
        return float(sum((a - b).pow(2).sum() for a, b in pairs) / sum(b.pow(2).sum() for _, b in pairs)) ** 0.5

    assert deviation(ours) <= 1.5 * deviation(plain)
