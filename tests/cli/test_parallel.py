"""`archc check` on several processes: the report of one, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from archlang.cli.parallel import mapped, processors
from tests.cli.conftest import NET

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

SPECS = {
    "a.arch": NET,
    "b.arch": NET.replace("relu\n", "rellu\n"),
    "c.arch": "block (",
    "d.arch": "use .a: net\nblock unused(x) { return x }\nblock outer(x: [B, 3, H, W]) { return x -> body: net() }\n",
    "e.arch": "use std.schemes: residual\nblock lost(width: int)(x: [B, 8]) { return x -> nothing }\n",
    "f.arch": "let x = " + "(" * 400 + "1" + ")" * 400,
}
START = """
import os, signal, sys, time
from archlang.cli.parallel import mapped
main = os.getpid()
"""


def check(folder: Path, *options: str) -> tuple[int, str, str]:
    line = [sys.executable, "-m", "archlang", "check", *options]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in SPECS.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("form", ["text", "json", "sarif"])
def test_parallel_equals_serial(folder: Path, form: str) -> None:
    serial = check(folder, "--jobs", "1", "--format", form)
    assert serial[0] == 1
    assert "rellu" in serial[1]
    assert check(folder, "--jobs", "3", "--format", form) == serial
    assert check(folder, "--format", form) == serial


def test_what_processes_find_is_remembered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHC_CACHE", str(folder / "cache"))
    first = check(folder, "--jobs", "3")
    assert len(list((folder / "cache").iterdir())) >= 4
    assert check(folder, "--jobs", "3") == check(folder, "--jobs", "1") == first


def script(body: str, stop: bool = False) -> tuple[int, str]:
    """Runs Python text in a session of its own; `stop`: interrupts it, as a terminal does, when three lines came."""
    line = [sys.executable, "-c", START + body]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        try:
            head = [process.stdout.readline() for _ in range(3)] if stop else []
            if stop:
                os.killpg(process.pid, signal.SIGINT)
            rest = process.communicate(timeout=60)[0]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, "".join(head) + rest


def test_an_interrupt_leaves_no_process() -> None:
    status, said = script(
        """
def work(item):
    if item != "0":
        os.write(1, f"{os.getpid()}\\n".encode())
        time.sleep(50)
try:
    mapped(work, [str(i) for i in range(8)], 3)
except KeyboardInterrupt:
    os.write(1, b"stopped\\n")
""",
        stop=True,
    )
    *pids, last = said.split()
    assert (status, last) == (0, "stopped")
    assert len(set(pids)) == 3
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_what_an_ended_process_left_is_done() -> None:
    body = """
def work(item):
    if os.getpid() != main:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    return 2 * int(item)
print(mapped(work, [str(i) for i in range(20)], 3))
"""
    assert script(body) == (0, f"{[2 * i for i in range(20)]}\n")


def test_the_first_exception_is_raised() -> None:
    body = """
def work(item):
    time.sleep(0.01)
    if int(item) > 3:
        raise ValueError(item)
try:
    mapped(work, [str(i) for i in range(12)], 3)
except ValueError as error:
    print(error)
"""
    assert script(body) == (0, "4\n")


def test_results_are_in_order_and_come_from_several_processes() -> None:
    body = """
def work(item):
    time.sleep(0.02)
    return item, os.getpid()
found = mapped(work, [str(i) for i in range(12)], 3)
print([int(item) for item, _ in found] == list(range(12)), len({pid for _, pid in found}) > 1)
"""
    assert script(body) == (0, "True True\n")


def test_one_process_where_there_are_threads_or_torch() -> None:
    assert set(mapped(lambda _: os.getpid(), ["a", "b", "c"], 1)) == {os.getpid()}
    body = """
import threading
threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
print({os.getpid() for _ in mapped(lambda item: item, ["a", "b", "c"], 3)} == {main})
print(set(mapped(lambda item: os.getpid(), ["a", "b", "c"], 3)) == {main})
"""
    assert script(body) == (0, "True\nTrue\n")
    assert mapped(str, [], 3) == []
    assert processors() >= 1
