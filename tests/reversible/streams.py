"""Streams that run nothing by themselves, and a detector of races on them: for machines without a GPU.

An operation runs at once, on the CPU; `Races` notes on which stream it would have been, and orders operations by vector
clocks: by their place in a stream, and by waits for events. Two accesses to one memory, one of them a write, must be
ordered. Memory that is freed goes back to the stream that made it, as in torch's caching allocator: the next operation
there that makes a tensor may get it, and must be ordered after all that used it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Device", "Races", "Stream", "stand_in"]

Clock = dict["Stream", int]


class Stream:
    """Of operations; `clock` says how many of each stream are known to be done when the next one here starts."""

    def __init__(self, device: Any = None) -> None:
        self.clock: Clock = {self: 0}

    def record_event(self) -> Clock:
        return dict(self.clock)

    def wait_event(self, event: Clock) -> None:
        for stream, count in event.items():
            self.clock[stream] = max(count, self.clock.get(stream, 0))

    def wait_stream(self, other: Stream) -> None:
        self.wait_event(other.record_event())


class Device:
    """Stands for `torch.cuda`."""

    Stream = Stream

    def __init__(self) -> None:
        self.current = Stream()

    def current_stream(self, device: Any = None) -> Stream:
        return self.current

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before


def stand_in(patch: pytest.MonkeyPatch, file: Any) -> Device:
    """For the streams of a generated file."""
    device = Device()
    patch.setattr(file, "streamed", lambda devices: device if devices else None)
    patch.setattr(Tensor, "record_stream", lambda tensor, stream: None)
    return device


class Access(NamedTuple):
    stream: Stream
    place: int
    what: str

    def before(self, stream: Stream) -> bool:
        """Whether it is done when the next operation of the stream starts."""
        return stream.clock.get(self.stream, 0) >= self.place


class Memory:
    """A storage, and who used it since it was last written."""

    def __init__(self, storage: Any, home: Stream | None) -> None:
        self.alive = StorageWeakRef(storage)
        self.home = home  # whose pool it is from; None: it was there before
        self.writes: list[Access] = []
        self.reads: list[Access] = []
        self.recorded: set[Stream] = set()


class Races(TorchDispatchMode):
    """Those between the operations within it. `streams`: on how many streams operations were."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self.device = device
        self.memory: dict[int, Memory] = {}
        self.freed: list[Memory] = []
        self.found: list[str] = []
        self.streams: set[Stream] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        if view:
            return out
        stream, name = self.device.current, str(func)
        stream.clock[stream] += 1
        self.streams.add(stream)
        access = Access(stream, stream.clock[stream], name)
        self.sweep()
        given = {a.name: v for a, v in zip(func._schema.arguments, args, strict=False)} | (kwargs or {})
        written = {a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write}
        for key, value in given.items():
            for tensor in tensors(value):
                self.use(tensor, access, write=key in written)
        known = {t.untyped_storage()._cdata for v in given.values() for t in tensors(v)}
        for tensor in tensors(out):
            if tensor.untyped_storage()._cdata not in known:
                self.make(tensor, access)
        return out

    def sweep(self) -> None:
        for key, memory in list(self.memory.items()):
            if memory.alive.expired():
                self.freed.append(self.memory.pop(key))

    def use(self, tensor: Tensor, access: Access, *, write: bool) -> None:
        storage = tensor.untyped_storage()
        memory = self.memory.setdefault(storage._cdata, Memory(storage, None))
        earlier = memory.writes + (memory.reads if write else [])
        self.ordered(earlier, access, "writes" if write else "reads")
        if write:
            memory.writes, memory.reads = [access], []
        else:
            memory.reads.append(access)

    def make(self, tensor: Tensor, access: Access) -> None:
        """A new tensor, which may lie where others of the same pool have been."""
        for memory in [m for m in self.freed if m.home is access.stream]:
            self.freed.remove(memory)
            users = [a for a in (*memory.writes, *memory.reads) if a.stream not in memory.recorded]
            self.ordered(users, access, "reuses the memory of")
        storage = tensor.untyped_storage()
        self.memory[storage._cdata] = Memory(storage, access.stream)
        self.memory[storage._cdata].writes = [access]

    def ordered(self, earlier: list[Access], access: Access, what: str) -> None:
        late = [a for a in earlier if not a.before(access.stream)]
        self.found += [f"{access.what} {what} what {a.what} uses on another stream" for a in late]

    def record(self, tensor: Tensor, stream: Stream) -> None:
        """`tensor.record_stream(stream)`"""
        self.memory[tensor.untyped_storage()._cdata].recorded.add(stream)


def tensors(item: Any) -> Iterator[Tensor]:
    if isinstance(item, Tensor):
        yield item
    elif isinstance(item, (tuple, list)):
        for part in item:
            yield from tensors(part)
