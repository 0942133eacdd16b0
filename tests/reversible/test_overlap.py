"""A step rebuilt on a second stream beside the gradients of the one before: nothing races, and nothing changes.

Without a GPU, streams stand in (`streams.py`). That kernels run at the same time is for benchmarks/reversible.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from archlang.codegen import generate
from tests.reversible.conditions import Pair, gradients, loss, namespace, source
from tests.reversible.helpers import program
from tests.reversible.streams import Device, Races, stand_in

SWAPPED = ("streams[place % 2], streams[1 - place % 2]", "streams[1 - place % 2], streams[place % 2]")
BROKEN = {
    "rebuilding does not wait": [("here.wait_stream(other)", "pass")],
    "gradients do not wait": [("other.wait_event(done)", "pass")],
    "the caller does not wait": [("caller.wait_stream(streams[1])", "pass"), SWAPPED],
    "the second stream does not wait": [("streams[1].wait_stream(caller)", "pass")],
    "what was rebuilt from is freed": [("held = [*self.values.values()]", "held = [1]")],
    "gradients are freed": [("gradient.record_stream(caller)", "pass")],
}


def overlapped(patch: pytest.MonkeyPatch, *changes: tuple[str, str]) -> tuple[Any, Device]:
    """The file, its text changed, on streams that stand in."""
    text = source(overlap=True, drop=0.3)
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    file = namespace(text, "generated_overlapped")
    return file, stand_in(patch, file)


def raced(patch: pytest.MonkeyPatch, *changes: tuple[str, str]) -> Races:
    """Two steps of training, then somebody else on the second stream, who got the same one; what races in them."""
    file, device = overlapped(patch, *changes)
    net, pair = file.Net().double(), Pair()
    with Races(device) as races:
        patch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: races.record(tensor, stream))
        for _ in range(2):
            gradients(net, pair.inputs())
        with torch.no_grad():
            for p in net.parameters():
                p.sub_(0.01 * p.grad)
        net.zero_grad()
        for stream in file.Overlap.beside.values():
            with device.stream(stream):
                torch.ones(3)
    assert len(races.streams) == 2
    return races


@pytest.mark.parametrize("changes", [[], [SWAPPED]], ids=["odd", "even"])
def test_nothing_races(changes: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    assert not raced(monkeypatch, *changes).found


@pytest.mark.parametrize("name", BROKEN)
def test_the_detector_finds_races(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert raced(monkeypatch, *BROKEN[name]).found


def test_sums_in_place_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph whose gradients are still to come reads the streams that the next step rebuilds."""
    file, _ = overlapped(monkeypatch, ("self.own.clear()\n                    next", "next"))
    with pytest.raises(RuntimeError, match="inplace operation"):
        gradients(file.Net().double(), Pair().inputs())


def test_gradients_are_taken_a_step_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is rebuilt; and they are those of the plain order, bit for bit."""
    file, _ = overlapped(monkeypatch)
    net, order = file.Net().double(), []
    real = file.Overlap.once

    def once(self: Any, number: int, *given: Any) -> Any:
        parts = real(self, number, *given)
        order.append(f"rebuild {number}")
        yield next(parts)
        order.append(f"gradients {number}")
        yield from parts

    given = Pair().inputs()
    torch.manual_seed(1)
    monkeypatch.setattr(file.Overlap, "once", once)
    found = gradients(net, given)
    assert order[:5] == ["rebuild 8", "rebuild 7", "gradients 8", "rebuild 6", "gradients 7"]
    assert order[-3:] == ["rebuild 0", "gradients 1", "gradients 0"]
    monkeypatch.setattr(file, "streamed", lambda devices: None)
    torch.manual_seed(1)
    for ours, plain in zip(found, gradients(net, given), strict=True):
        assert ours is not None and plain is not None and torch.equal(ours, plain)
    assert len(order) == 18 + 18 and order[18:20] == ["rebuild 8", "gradients 8"]


def test_on_the_cpu_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no streams: no stand-in, either."""
    pair = Pair(overlap=True)
    monkeypatch.setattr(pair.ours_module.Overlap, "alternate", None)
    gradients(pair.ours, pair.inputs())


def test_it_is_copied_where_it_is_asked_for() -> None:
    plain = source()
    asked = source(overlap=True)
    assert "Overlap" not in plain
    assert "rebuild(self.region, a, b, c, rewind=Overlap)" in asked
    nothing = program("block net(x: [B, 8]) { return x -> linear(8) }", "net")
    assert "Overlap" not in generate(nothing, source_name="net.arch", overlap=True)


# -- with a GPU --------------------------------------------------------------------------------------------------------
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("autocast", [False, True])
def test_on_a_gpu(autocast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradients of the plain order, bit for bit, with the same masks; the generator stands where it would."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    file = namespace(source(overlap=True, drop=0.4), "generated_gpu")
    net = file.Net().cuda()
    given = [t.detach().float().cuda() for t in Pair().inputs()]

    def run() -> list[Tensor | None]:
        torch.manual_seed(1)
        inputs = [t.clone().requires_grad_() for t in given]
        net.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
            first, second = net(*inputs), net(*inputs)
        (loss([t.cpu() for t in first]) + loss([t.cpu() for t in second])).backward()
        return [*(t.grad for t in (*inputs, *net.parameters())), torch.rand(3, device="cuda")]

    ours = run()
    assert file.Overlap.beside
    monkeypatch.setattr(file, "streamed", lambda devices: None)
    for a, b in zip(ours, run(), strict=True):
        assert a is not None and b is not None and torch.equal(a, b)
