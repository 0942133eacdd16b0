"""Work on several processes, for commands that look at many files: the results are those of one process, in order."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TypeVar

__all__ = ["mapped", "processors"]

T = TypeVar("T")
WORTH = 0.15  # seconds of work: for less, processes are not started
_WIDTH = 4  # bytes of an index in the queue
_MOST = 4_000  # indices that fit into a pipe on every system; what is left, one process does


def processors() -> int:
    """How many processes can run at the same time."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def mapped(work: Callable[[str], T], items: Sequence[str], jobs: int | None = None) -> list[T]:
    """`[work(item) for item in items]`, on up to `jobs` processes (None: as many as pay off).

    What a process other than this one could not do is done here, so that an exception is raised as if there were none.
    """
    if not items:
        return []
    start = time.perf_counter()
    done: dict[int, T] = {0: work(items[0])}  # also imports what the processes will have in common
    expected = (time.perf_counter() - start) * (len(items) - 1)
    wanted = min(processors() if jobs is None else jobs, len(items) - 1)
    if wanted > 1 and (jobs is not None or expected > WORTH) and _can_fork():
        with _workers(work, items, wanted - 1) as (queue, results):
            with suppress(Exception):  # met again below, if it is the first
                for index in _taken(queue):
                    done[index] = work(items[index])
            for pipe in results:
                done.update(_received(pipe))
    return [done[i] if i in done else work(item) for i, item in enumerate(items)]


def _can_fork() -> bool:
    """A copy of a process has only the thread that made it: locks that others hold would stay held."""
    import threading

    return hasattr(os, "fork") and threading.active_count() == 1 and "torch" not in sys.modules


@contextmanager
def _workers(work: Callable[[str], T], items: Sequence[str], count: int) -> Iterator[tuple[int, list[int]]]:
    """The queue of indices that are left to do, and a pipe from each process. None of them outlives the block."""
    queue, feed = os.pipe()
    for index in range(1, min(len(items), _MOST)):
        os.write(feed, index.to_bytes(_WIDTH, "big"))
    os.close(feed)
    pids: list[int] = []
    results: list[int] = []
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        for _ in range(count):
            receive, send = os.pipe()
            pid = os.fork()
            if pid == 0:
                _work(work, items, queue, send)
            os.close(send)
            pids.append(pid)
            results.append(receive)
        yield queue, results
    finally:
        for descriptor in (queue, *results):
            os.close(descriptor)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)  # those that are done wait to be asked after
        for pid in pids:
            os.waitpid(pid, 0)


def _taken(queue: int) -> Iterator[int]:
    """Indices, each given to one process only."""
    while index := os.read(queue, _WIDTH):
        yield int.from_bytes(index, "big")


def _work(work: Callable[[str], Any], items: Sequence[str], queue: int, send: int) -> NoReturn:
    """What the new process does: it says nothing, and ends here whatever happens."""
    try:
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_DFL)
        import pickle

        done = []
        try:
            for index in _taken(queue):
                done.append((index, work(items[index])))
        finally:  # what was done before an exception counts
            with os.fdopen(send, "wb") as pipe:
                pickle.dump(done, pipe)
    except BaseException:  # the first process meets it again
        pass
    finally:
        os._exit(0)


def _received(pipe: int) -> list[tuple[int, Any]]:
    """What a process did; nothing where it was ended from outside."""
    import pickle

    parts = []
    while part := os.read(pipe, 1 << 16):
        parts.append(part)
    try:
        found: list[tuple[int, Any]] = pickle.loads(b"".join(parts))
    except (EOFError, pickle.UnpicklingError):
        return []
    return found
