"""Command lines that are wrong, files that are not there, and trouble of other kinds: diagnostics, never tracebacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import archlang
import archlang.cli.list
from archlang.cli import COMMANDS, main

NET = "block net(width: int = 8)(image: [B, 3, H, W]) { return image -> conv1: conv(width, 3) -> relu }\n"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("net.arch").write_text(NET)
    return "net.arch"


def test_version(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"archc {archlang.__version__}\n"


def test_version_loads_next_to_nothing() -> None:
    program = "import sys; from archlang.cli import main; main(['--version']); print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    loaded = {name.split(".")[0] for name in shown.splitlines()[1].split()}
    assert not loaded & {"torch", "lark", "jinja2", "networkx", "pydantic", "argparse", "numpy"}


def test_help_lists_every_command(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_commands(command: str, capsys: Capture) -> None:
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: archc {command} ")


def test_python_m_archlang() -> None:
    done = subprocess.run([sys.executable, "-m", "archlang", "-V"], capture_output=True, text=True, check=True)
    assert done.stdout == f"archc {archlang.__version__}\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", None),
        ("chekc net.arch", "archc has no command `chekc`|did you mean `check`?"),
        ("frobnicate", "archc has no command `frobnicate`|there are `check`, `compile`"),
        ("--versoin", "archc has no option `--versoin`|did you mean `--version`?"),
        ("compile", "the following arguments are required: SPEC|usage: archc compile"),
        ("compile net.arch --entyr net", "`archc compile` has no option `--entyr`|did you mean `--entry`?"),
        ("compile net.arch --zzz", "`archc compile` has no option `--zzz`|its options are --at, --dtype, --emit"),
        ("compile net.arch --emit=pyy", "--emit: there is no `pyy`; did you mean `py`?"),
        ("compile net.arch --emit tree", "--emit: there is no `tree`; it is one of `py`, `ir`, `json`"),
        ("compile net.arch --max-bytes many", "--max-bytes: `many` is not a whole number above 0"),
        ("compile net.arch --max-bytes -5", "--max-bytes"),
        ("check --format jsn net.arch", "did you mean `json`?"),
        ("compile net.arch other.arch", "unrecognized arguments: other.arch"),
        ("compile nte.arch", "cannot read `nte.arch`: there is no such file|did you mean `net.arch`?"),
        ("compile net", "cannot read `net`|did you mean `net.arch`?"),
        ("compile .", "cannot read `.`: it is a folder|`archc check` takes folders"),
        ("check net.arch missing.arch", "cannot read `missing.arch`"),
        ("check empty", "there is no .arch file in `empty`"),
        ("list net.arch/x", "cannot read `net.arch/x`: Not a directory"),
    ],
)
def test_wrong_command_lines(line: str, expected: str | None, spec: str, capsys: Capture) -> None:
    Path("empty").mkdir()
    assert main(line.split()) == 2
    shown = capsys.readouterr()
    if expected is None:
        assert shown.out.startswith("usage: archc COMMAND")
        return
    for part in expected.split("|"):
        assert part in shown.err
    assert shown.err.startswith("error[ARC09")
    assert shown.err.endswith("\n1 error\n")
    assert "Traceback" not in shown.err


def test_unreadable_files(spec: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", spec)

    with monkeypatch.context() as patch:  # the tests may run as root, whom nothing stops
        patch.setattr(builtins, "open", refuse)
        status = main(["check", spec])
    assert status == 2
    assert "error[ARC0904]: cannot read `net.arch`: permission denied" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (KeyboardInterrupt(), 130, "ARC0990"),
        (RecursionError("maximum recursion depth exceeded"), 1, "ARC0991"),
        (MemoryError(), 1, "ARC0992"),
        (OSError(5, "Input/output error", "net.arch"), 2, "ARC0905"),
        (ZeroDivisionError("division by zero"), 3, "ARC0999"),
        (AssertionError(), 3, "ARC0999"),
    ],
)
def test_whatever_is_raised(
    error: BaseException, status: int, code: str, spec: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(args: object) -> int:
        raise error

    monkeypatch.setattr(archlang.cli.list, "run", fail)
    monkeypatch.delenv("ARCHC_DEBUG", raising=False)
    assert main(["list", spec]) == status
    shown = capsys.readouterr().err
    assert shown.startswith(f"error[{code}]: ")
    assert "Traceback" not in shown
    if status == 3:
        assert f"internal error: {type(error).__name__}" in shown
        assert "please report it" in shown
        monkeypatch.setenv("ARCHC_DEBUG", "1")
        assert main(["list", spec]) == status
        assert "Traceback" in capsys.readouterr().err


def test_broken_pipe_is_silent(spec: str) -> None:
    program = "import sys; from archlang.cli import main; sys.exit(main(['--help']))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_output_that_the_terminal_cannot_show(spec: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "archlang", "check", "ne\u00fc.arch"]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 2
    assert b"ne\\xfc.arch" in done.stderr


def test_sigterm_handler_is_put_back(spec: str, capsys: Capture) -> None:
    import signal

    before = signal.getsignal(signal.SIGTERM)
    main(["--version"])
    assert signal.getsignal(signal.SIGTERM) is before
