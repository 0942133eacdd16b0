"""Every page of docs/errors: its wrong examples give exactly the code of the page, the others nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from archlang.cli import main
from archlang.elaborate import Limits
from archlang.report.codes import CODES
from archlang.report.diagnostic import ArchError, Diagnostic, Severity
from archlang.report.explain import page
from archlang.verify.check import check_file
from tests.docs.blocks import ROOT, Block, blocks
from tests.docs.test_docs import agree, folder_of, output, written
from tests.report.test_renderings import FAULTS

FOLDER = ROOT / "docs" / "errors"
PAGES = sorted(FOLDER.glob("*.md"))
EXAMPLES = [block for path in PAGES for block in blocks(path)]
# Options of the environment's git must not reach the examples.
pytestmark = pytest.mark.usefixtures("_own_git")


@pytest.fixture
def _own_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))


def named(found: list[Block]) -> list[object]:
    return [pytest.param(block, id=block.name) for block in found]


def test_every_code_has_a_page() -> None:
    assert [path.stem for path in PAGES] == sorted(CODES)
    for path in PAGES:
        first, *rest = path.read_text(encoding="utf-8").splitlines()
        assert first == f"# {path.stem}: {CODES[path.stem]}"
        assert any(line and not line.startswith(("#", "```")) for line in rest), f"{path.stem} explains nothing"


def test_every_page_has_an_example_that_gives_its_code() -> None:
    for path in PAGES:
        shown = [b for b in EXAMPLES if b.page == path and path.stem in (b.info if b.kind == "arch" else b.text)]
        assert shown, path.stem


def test_every_code_has_a_rendering() -> None:
    """Which tests/report/test_renderings.py writes with --update-golden, and compares without."""
    renderings = ROOT / "tests" / "report" / "renderings"
    assert {path.stem for path in renderings.iterdir()} == CODES.keys()


def test_blocks_are_of_known_kinds() -> None:
    for block in EXAMPLES:
        assert block.kind in ("arch", "console") or block.info.startswith("text not-run: "), block.name
        assert block.kind != "text" or block.page.stem in FAULTS, f"{block.name}: can it be run?"


def findings(text: str, path: Path) -> list[Diagnostic]:
    from archlang.elaborate import load
    from archlang.syntax.source import read_file

    path.write_text(text, encoding="utf-8")
    try:
        return check_file(load(read_file(str(path), Limits().source_bytes)))
    except ArchError as error:
        return error.diagnostics


@pytest.mark.parametrize("block", named([b for b in EXAMPLES if b.kind == "arch"]))
def test_example(block: Block, tmp_path: Path) -> None:
    name = written(block)
    kind, code = (re.findall(r"\b(error|warning) (ARC\d+)", block.info) or [("", "")])[0]
    if name is not None and not kind:
        return  # a file for the blocks below
    path = folder_of(block.page, tmp_path) / (name or "spec.arch")
    found = findings(block.text, path)
    assert {d.code for d in found} == ({code} if code else set()), [str(d) for d in found]
    if kind:
        assert code == block.page.stem
        assert {d.severity for d in found} == {Severity(kind)}


@pytest.mark.parametrize("block", named([b for b in EXAMPLES if b.kind == "console"]))
def test_commands(block: Block, tmp_path: Path) -> None:
    folder = folder_of(block.page, tmp_path)
    for step in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, shown = step.partition("\n")
        real = output(command, folder, statuses=(0, 1, 2))
        assert agree(shown, real), f"$ {command}\n{real}"


# -- archc explain -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", ["ARC0301", "arc0301", "301", "0301"])
def test_explain(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", text]) == 0
    shown = capsys.readouterr().out
    assert shown == page("ARC0301") == (FOLDER / "ARC0301.md").read_text(encoding="utf-8")


def test_explain_lists_all_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{code}  {title}" for code, title in CODES.items()]


@pytest.mark.parametrize("text", ["ARC9999", "fish", "", "ARC03010", "²"])
def test_explain_of_no_code(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", text]) == 2
    assert "error[ARC0912]: there is no code" in capsys.readouterr().err
