"""The exact rendering of every code of the register, as a user sees it: `renderings/CODE.txt` for each.

The input is the first wrong example of docs/errors/CODE.md, the command `archc check` on it or, where the page shows
commands, those. What a spec or a command line cannot bring about by itself is brought about by FAULTS.
`pytest tests/report/test_renderings.py --update-golden` writes the files.
"""

from __future__ import annotations

import builtins
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archlang.cli import list as list_command
from archlang.cli import main
from archlang.ops.base import registry
from archlang.report.codes import CODES
from tests.docs.blocks import ROOT, blocks
from tests.docs.test_docs import folder_of, output, written

RENDERINGS = Path(__file__).parent / "renderings"
NET = "block net(x: [B, 3, H, W]) {\n    return x -> relu\n}\n"
Patch = pytest.MonkeyPatch


def _refused(name: str) -> Callable[[Patch], None]:
    """The system lets nobody open the file; the tests may run as root, whom nothing stops."""

    def fault(patch: Patch) -> None:
        real = builtins.open

        def refuse(path: Any, *args: Any, **options: Any) -> Any:
            if str(path).endswith(name):
                raise PermissionError(13, "Permission denied", name)
            return real(path, *args, **options)

        patch.setattr(builtins, "open", refuse)

    return fault


def _raised(error: BaseException) -> Callable[[Patch], None]:
    def raising(*args: object) -> int:
        raise error

    return lambda patch: patch.setattr(list_command, "run", raising)


def _forgetful(patch: Patch) -> None:
    """A linear layer that counts no work."""
    patch.setattr(type(registry()["linear"]), "macs", lambda *_: 0)


FAULTS: dict[str, tuple[Callable[[Patch], None], str]] = {  # code: what goes wrong, while which command runs
    "ARC0001": (_refused("parts.arch"), "archc check net.arch"),
    "ARC0854": (_forgetful, "archc verify --numeric --sizes 4 net.arch"),
    "ARC0904": (_refused("net.arch"), "archc check net.arch"),
    "ARC0920": (lambda patch: patch.setitem(sys.modules, "torch", None), "archc run net.arch"),
    "ARC0990": (_raised(KeyboardInterrupt()), "archc list net.arch"),
    "ARC0991": (_raised(RecursionError()), "archc list net.arch"),
    "ARC0992": (_raised(MemoryError()), "archc list net.arch"),
    "ARC0999": (_raised(ZeroDivisionError("division by zero")), "archc list net.arch"),
}


class Shell:
    """Runs command lines in the current folder: `archc` in this process, everything else by bash."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def shown(self, command: str) -> str:
        """What a command prints on both outputs, below the command itself, with its exit status."""
        words = shlex.split(command)
        if words[0] == "archc" and not re.search(r"[|&;<>$`*]", command):
            status = main(words[1:])
            got = self.capsys.readouterr()
            return f"$ {command}\n{got.out}{got.err}[exit status {status}]\n"
        return f"$ {command}\n{output(command, Path.cwd(), statuses=(0, 1, 2))}"


def rendering(code: str, folder: Path, shell: Shell, patch: Patch) -> str:
    page = ROOT / "docs" / "errors" / f"{code}.md"
    folder_of(page, folder)
    if code in FAULTS:
        fault, command = FAULTS[code]
        with patch.context() as within:
            fault(within)
            return shell.shown(command)
    for block in blocks(page):
        if block.kind == "arch" and code in block.words:
            name = written(block) or "spec.arch"
            (folder / name).write_text(block.text, encoding="utf-8")
            return shell.shown(f"archc check {name}")
        if block.kind == "console":
            for step in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                command = step.partition("\n")[0]
                shown = shell.shown(command)
                if f"[{code}]" in shown:
                    return shown
    raise AssertionError(f"no example of docs/errors/{code}.md gives {code}")


@pytest.fixture
def shell(
    capsys: pytest.CaptureFixture[str], monkeypatch: Patch, tmp_path: Path, request: pytest.FixtureRequest
) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for name in ("FORCE_COLOR", "ARCHC_DEBUG", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return Shell(capsys)


@pytest.mark.parametrize("code", CODES)
def test_rendering(code: str, shell: Shell, tmp_path: Path, monkeypatch: Patch, request: pytest.FixtureRequest) -> None:
    shown = rendering(code, tmp_path, shell, monkeypatch)
    assert re.search(rf"\b(error|warning)\[{code}\]: ", shown), shown
    assert str(tmp_path) not in shown
    path = RENDERINGS / f"{code}.txt"
    if request.config.getoption("--update-golden"):
        path.write_text(shown, encoding="utf-8", newline="\n")
    assert shown == path.read_text(encoding="utf-8"), f"{path.name} differs (pytest --update-golden writes it)"


def test_no_rendering_of_a_code_that_is_none() -> None:
    assert {path.stem for path in RENDERINGS.iterdir()} == CODES.keys()


@pytest.mark.parametrize("code", FAULTS)
def test_pages_show_what_faults_give(code: str) -> None:
    """No test of the pages runs these examples, which show the rendering to the letter."""
    text = (RENDERINGS / f"{code}.txt").read_text(encoding="utf-8")
    shown = [b.text for b in blocks(ROOT / "docs" / "errors" / f"{code}.md") if b.kind == "text"]
    assert [text.rpartition("[exit status")[0]] == shown


def test_explain(shell: Shell) -> None:
    for code, title in CODES.items():
        assert shell.shown(f"archc explain {code}").startswith(f"$ archc explain {code}\n# {code}: {title}\n")
