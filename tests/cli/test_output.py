"""Files are replaced whole or not at all."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from archlang.cli.guard import UsageError
from archlang.cli.output import keep, write, write_atomically


def test_writes_and_replaces(tmp_path: Path) -> None:
    target = tmp_path / "model.py"
    write("one\n", str(target))
    write("é\n", str(target))
    assert target.read_bytes() == "é\n".encode()
    assert os.listdir(tmp_path) == ["model.py"]


def test_new_files_obey_the_umask_and_old_ones_keep_their_mode(tmp_path: Path) -> None:
    target = tmp_path / "model.py"
    before = os.umask(0o027)
    try:
        write("one", str(target))
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    target.chmod(0o755)
    write("two", str(target))
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def test_links_stay_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "model.py", tmp_path / "link.py"
    link.symlink_to(real)
    write("one", str(link))
    write("two", str(link))
    assert link.is_symlink()
    assert real.read_text() == "two"
    assert os.listdir(tmp_path / "real") == ["model.py"]


def test_devices_and_pipes_are_written_to(tmp_path: Path) -> None:
    write("gone", "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write("through", str(pipe))
    assert os.read(reader, 100) == b"through"
    os.close(reader)


def test_dev_stdout_adds_to_what_the_shell_opened(tmp_path: Path) -> None:
    target = tmp_path / "out.py"
    program = "from archlang.cli.output import write; write('two', '/dev/stdout')"
    with target.open("w") as file:
        file.write("one ")
        file.flush()
        subprocess.run([sys.executable, "-c", program], stdout=file, check=True)
    assert target.read_text() == "one two"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model.py"
    target.write_text("old")

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(UsageError, match="No space left"):
        write("new", str(target))
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["model.py"]


def test_an_interrupt_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model.py"
    target.write_text("old")

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(str(target), b"new")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["model.py"]


@pytest.mark.parametrize(("number", "left_over"), [(signal.SIGKILL, 1), (signal.SIGTERM, 0)])
def test_a_killed_command_leaves_the_old_file(number: signal.Signals, left_over: int, tmp_path: Path) -> None:
    """At the worst moment: the new contents are written beside the old file and not yet in its place."""
    target = tmp_path / "model.py"
    target.write_text("old")
    program = f"""
        import os, sys, time
        def stop(*args):
            print("ready", flush=True)
            time.sleep(60)
        os.replace = stop
        from archlang.cli.guard import guarded
        from archlang.cli.output import write
        sys.exit(guarded(lambda: write("new", {str(target)!r}) or 0))
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        status = process.wait(timeout=20)
    assert status == (-9 if number == signal.SIGKILL else 143)
    assert target.read_text() == "old"
    assert len(os.listdir(tmp_path)) == 1 + left_over


@pytest.mark.parametrize(
    ("where", "code", "message"),
    [
        ("missing/model.py", "ARC0902", "there is no folder `{0}/missing`"),
        (".", "ARC0903", "it is a folder"),
        ("a\0b", "ARC0905", "this is no file name"),
        ("file/model.py", "ARC0905", "Not a directory"),
        ("x" * 300, "ARC0905", "File name too long"),
    ],
)
def test_what_cannot_be_written(where: str, code: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError) as caught:
        write("text", f"{tmp_path}/{where}")
    assert caught.value.diagnostic.code == code
    assert message.format(tmp_path) in caught.value.diagnostic.message


def test_protected_files_are_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model.py"
    target.write_text("old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as root, whom nothing stops
    with pytest.raises(UsageError) as caught:
        write("new", str(target))
    assert caught.value.diagnostic.code == "ARC0904"
    assert target.read_text() == "old"


def test_the_spec_is_not_overwritten(tmp_path: Path) -> None:
    spec = tmp_path / "net.arch"
    spec.write_text("block f(x) { return x }")
    (tmp_path / "same.arch").hardlink_to(spec)
    for name in ("net.arch", "same.arch"):
        with pytest.raises(UsageError) as caught:
            keep(str(spec), str(tmp_path / name))
        assert caught.value.diagnostic.code == "ARC0910"
    keep(str(spec), str(tmp_path / "net.py"))
    keep(str(spec), None)
