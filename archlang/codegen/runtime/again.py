"""What a second evaluation must find as it was: modes, draws, buffers, autocast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Again:
    """What a second evaluation of a region must find as the first one did."""

    def __init__(self, modules: Any, weights: Any, tensors: Any, replay: Any) -> None:
        self.weights = list(weights)  # hooks of saved tensors give others back
        self.modes = {m: m.training for m in modules}
        self.devices = sorted({t.device for t in tensors}, key=str)
        kinds = sorted({"cpu", *(d.type for d in self.devices)})
        is_on, dtype = torch.is_autocast_enabled, torch.get_autocast_dtype
        self.autocast = [(kind, dtype(kind), is_on(kind)) for kind in kinds]
        # Statistics of a batch are written in training, and not read.
        norms = [m for m in modules if m.training and hasattr(m, "track_running_stats")]
        self.written = norms
        others = [m for m in modules if m not in norms]
        self.read = [b for m in others for b in m.buffers(recurse=False)]
        self.replay = [kind(self) for kind in replay]

    @contextmanager
    def backward(self) -> Iterator[None]:
        """The modules' modes as they were; what is written goes to copies."""
        modes = {m: m.training for m in self.modes}
        buffers = [
            (m, *b) for m in self.written for b in m.named_buffers(recurse=False)
        ]
        try:
            for m, mode in self.modes.items():
                m.training = mode
            for m, name, buffer in buffers:
                setattr(m, name, buffer.clone())
            yield
        finally:
            for m, mode in modes.items():
                m.training = mode
            for m, name, buffer in buffers:
                setattr(m, name, buffer)

    def step(self, number: int, owner: nn.Module, first: bool) -> ExitStack:
        """Without autocast's cache: its weights are of an evaluation without graph."""
        stack = ExitStack()
        for kind, dtype, enabled in () if first else self.autocast:
            cast = torch.autocast(kind, dtype, enabled, cache_enabled=False)
            stack.enter_context(cast)
        for part in self.replay:
            stack.enter_context(part.step(number, owner, first))
        return stack


class Draws:
    """A step draws the random numbers that it drew first."""

    def __init__(self, again: Again) -> None:
        self.devices = [d for d in again.devices if d.type != "cpu"]
        self.before: dict[int, list[Tensor]] = {}

    @contextmanager
    def step(self, number: int, owner: nn.Module, first: bool) -> Iterator[None]:
        now = self.states()
        if first:
            self.before[number] = now
        self.draw(self.before[number])
        yield
        if not first:
            self.draw(now)

    def states(self) -> list[Tensor]:
        """Of the generators of the CPU, and of the devices that the streams are on."""
        others = [torch.get_device_module(d).get_rng_state(d) for d in self.devices]
        return [torch.get_rng_state(), *others]

    def draw(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        for device, state in zip(self.devices, states[1:], strict=True):
            torch.get_device_module(device).set_rng_state(state, device)


class Carried:
    """A step reads buffers that it changes as they were.

    Where weights change, too, the module initialised itself, and does not again.
    """

    def __init__(self, again: Again) -> None:
        self.again = again
        self.before: dict[int, list[tuple[nn.Module, str, Tensor]]] = {}

    @contextmanager
    def step(self, number: int, owner: nn.Module, first: bool) -> Iterator[None]:
        if first:
            with self.watch(number, owner):
                yield
            return
        now = [(m, name, getattr(m, name)) for m, name, _ in self.before[number]]
        for m, name, buffer in self.before[number]:
            setattr(m, name, buffer.clone())
        yield
        for m, name, buffer in now:
            setattr(m, name, buffer)

    @contextmanager
    def watch(self, number: int, owner: nn.Module) -> Iterator[None]:
        """Notes which buffers change, statistics aside, and what they were."""

        def versions(m: nn.Module) -> list[int]:
            return [p._version for p in m.parameters(recurse=False)]

        found = [
            (m, name, b, b._version, b.clone(), versions(m))
            for m in owner.modules()
            if m.training and m not in self.again.written
            for name, b in m.named_buffers(recurse=False)
        ]
        yield
        changed = [
            (m, name, b, copy)
            for m, name, b, version, copy, before in found
            if (getattr(m, name) is not b or b._version != version)
            and versions(m) == before
        ]
        self.before[number] = [(m, name, copy) for m, name, _, copy in changed]
        moved = {id(b) for _, _, b, _ in changed}
        self.again.read = [b for b in self.again.read if id(b) not in moved]
