"""Every fenced code block of README.md, docs/*.md and examples/README.md is run. What a block's info string asks for:

    arch                    a whole file: checked without findings; every design in it compiles to valid Python, and
                            there is one
    arch fragment           statements of a block's body: wrapped in FRAGMENT; `return x` is added where none stands
    arch ... error CODE...  exactly these codes are reported
    arch ... warning CODE...   compiles, and exactly these warnings are given
    arch ... file=NAME      also written to NAME, for `use` and for commands further down the page
    keys                    the state dict of the design before: a line `name [sizes]` for each parameter and buffer
    python                  run, all of a page in one process, with the page's files beside it
    python output=COMMAND   the exact output of the command, given in quotes
    console                 `$ command` lines, each followed by its exact output
    sh                      set-up commands of the README, which scripts/stranger.sh and .ci/run take from there
    text not-run: REASON    shown, not run, for the reason given

In outputs, `...` stands for any text. Any other info string, or none, is a failure.
"""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import archlang
from archlang.codegen import generate
from archlang.elaborate import Limits, check, elaborate, load
from archlang.elaborate.entry import elaborate_design, stands_alone
from archlang.ir.graph import Program
from archlang.ir.walk import parameters
from archlang.report.codes import CODES
from archlang.report.diagnostic import ArchError, Diagnostic, Severity, Source
from archlang.report.text import render_all
from archlang.syntax.tree import Verify
from tests.docs.blocks import PAGES, ROOT, Block, blocks

ALL = [block for page in PAGES for block in blocks(page)]
KINDS = {"arch", "keys", "python", "console", "sh", "text"}
FRAGMENT = "block example(x: [B, 64, H, W], y: [B, 64, H, W], tokens: [B, T, 192]) {{\n{body}\n}}\n"


def of(*kinds: str) -> list[Block]:
    return [block for block in ALL if block.kind in kinds]


def named(found: list[Block]) -> list[object]:
    return [pytest.param(block, id=block.name) for block in found]


# -- the rules themselves ----------------------------------------------------------------------------------------------
def test_every_block_says_what_is_done_with_it() -> None:
    assert len(ALL) > 60
    for block in ALL:
        assert block.kind in KINDS, f"{block.name}: nothing is known of blocks marked `{block.info}`"
        if block.kind == "text":
            assert re.fullmatch(r"text not-run: \w.{9,}", block.info), f"{block.name} needs a reason"
        elif block.kind == "sh":
            assert (block.page.name, block.section) == ("README.md", "Set-up"), block.name
        elif block.kind in ("console", "keys"):
            assert block.info == block.kind, block.name


def test_every_code_named_is_one() -> None:
    for page in PAGES:
        for code in re.findall(r"ARC\d{4}", page.read_text(encoding="utf-8")):
            assert code in CODES, f"{page.name} names {code}"


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            where = (page.parent / path) if path else page
            assert where.exists(), f"{page.name}: {target}"
            if anchor:
                assert anchor in anchors(where), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """Anchors as GitHub makes them from headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_limits_are_those_of_the_compiler() -> None:
    text = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (.*?) \| ([\d,]+)[^|]*\| ARC\d+ \|$", text, flags=re.MULTILINE))
    limits = Limits()
    from archlang.syntax.engine import MAX_HEIGHT
    from archlang.syntax.layout import MAX_BRACKETS
    from archlang.syntax.parser import MAX_TOKENS

    assert {name: int(value.replace(",", "")) for name, value in rows.items()} == {
        "bytes of a file": limits.source_bytes,
        "words and signs of a file": MAX_TOKENS,
        "brackets inside each other": MAX_BRACKETS,
        "levels of the syntax tree": MAX_HEIGHT,
        "iterations of a loop, elements of a list": limits.loop,
        "steps of an elaboration": limits.steps,
        "calls inside each other": limits.depth,
    }


def test_ops_page_is_up_to_date() -> None:
    from archlang.ops.reference import reference

    page = ROOT / "docs" / "ops.md"
    help = "run `python -m archlang.ops.reference > docs/ops.md`"
    assert page.read_text(encoding="utf-8") == reference(), help


# -- specs -------------------------------------------------------------------------------------------------------------
def spec(block: Block) -> str:
    if "fragment" not in block.words:
        return block.text
    body = block.text if re.search(r"^\s*return\b", block.text, flags=re.MULTILINE) else f"{block.text}return x\n"
    return FRAGMENT.format(body=textwrap.indent(body.rstrip("\n"), "    "))


def written(block: Block) -> str | None:
    return next((word.partition("=")[2] for word in block.words if word.startswith("file=")), None)


def folder_of(page: Path, folder: Path) -> Path:
    """A folder with the page's files, those of examples/ for its page, and the repository's specs."""
    (folder / "specs").symlink_to(ROOT / "specs")
    if page.parent == ROOT / "examples":
        for path in page.parent.iterdir():
            if path.suffix in (".arch", ".py"):
                shutil.copy(path, folder)
    for block in blocks(page):
        name = written(block) if block.kind == "arch" else None
        if name is not None:
            (folder / name).write_text(block.text, encoding="utf-8")
    return folder


def expected(block: Block) -> tuple[str, list[str]]:
    for word in ("error", "warning"):
        if word in block.words:
            codes = [w for w in block.words[block.words.index(word) + 1 :] if w.startswith("ARC")]
            assert codes, f"{block.name}: which {word}?"
            return word, sorted(codes)
    return "", []


def designs(text: str, path: Path) -> Iterator[Program]:
    """Every design of a file, elaborated: blocks that stand alone and are named nowhere else, and those of `verify`."""
    module = load(Source(str(path), text))
    for block in module.blocks.values():
        if stands_alone(module, block) and len(re.findall(rf"\b{block.name}\b", text)) == 1:
            yield elaborate(module, block.name).program
    for item in module.syntax.items:
        if isinstance(item, Verify):
            yield elaborate_design(module, item).program


def findings(text: str, path: Path) -> list[Diagnostic]:
    try:
        return check(load(Source(str(path), text)))
    except ArchError as error:
        return error.diagnostics


@pytest.mark.parametrize("block", named(of("arch")))
def test_spec(block: Block, tmp_path: Path) -> None:
    known = {"fragment", "error", "warning"}
    for word in block.words[1:]:
        assert word in known or word.startswith(("ARC", "file=")), f"{block.name}: `{word}`?"
    path = folder_of(block.page, tmp_path) / (written(block) or "spec.arch")
    text = spec(block)
    kind, codes = expected(block)
    found = findings(text, path)
    assert sorted({d.code for d in found}) == codes, f"{block.name}\n{render_all(found)}"
    if kind == "error":
        assert any(d.severity is Severity.ERROR for d in found)
        return
    assert all(d.severity is Severity.WARNING for d in found)
    programs = list(designs(text, path))
    assert programs, f"{block.name}: no design stands alone, so that nothing is elaborated"
    for program in programs:
        ast.parse(generate(program, source_name=path.name))


@pytest.mark.parametrize("block", named(of("keys")))
def test_state_dict(block: Block, tmp_path: Path) -> None:
    before = [b for b in ALL if b.kind == "arch" and b.page == block.page and b.line < block.line][-1]
    path = folder_of(block.page, tmp_path) / "spec.arch"
    path.write_text(spec(before), encoding="utf-8")
    state = archlang.build(path).state_dict()
    assert block.text.splitlines() == [f"{key} {list(value.shape)}" for key, value in state.items()], block.name


# -- programs and commands ---------------------------------------------------------------------------------------------
def environment(folder: Path) -> dict[str, str]:
    """`archc` and `python` are those of this checkout."""
    import os

    shims = folder / ".shims"
    shims.mkdir(exist_ok=True)
    for name, arguments in (("archc", "-m archlang"), ("python", "")):
        shim = shims / name
        shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n', encoding="utf-8")
        shim.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "COLUMNS", "ARCHC_DEBUG")}
    return {**kept, "PATH": f"{shims}:{kept['PATH']}", "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}


def output(command: str, folder: Path, statuses: tuple[int, ...] = (0, 1)) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert done.returncode in statuses, f"$ {command}\n{done.stdout}"
    return done.stdout


def agree(shown: str, real: str) -> bool:
    """Whether an output is as shown: line ends and blanks before them aside, `...` stands for any text."""
    clean = ["\n".join(line.rstrip() for line in text.strip("\n").splitlines()) for text in (shown, real)]
    return re.fullmatch(".*".join(map(re.escape, clean[0].split("..."))), clean[1], flags=re.DOTALL) is not None


def test_agreement_is_exact() -> None:
    assert agree("a\nb", "a\nb  \n")
    assert agree("a ... c\n...\n", "a b c\nd\ne\n")
    assert not agree("a", "a\nb")
    assert not agree("a.c", "abc")


@pytest.mark.parametrize("page", [pytest.param(p, id=p.name) for p in PAGES])
def test_python(page: Path, tmp_path: Path) -> None:
    folder = folder_of(page, tmp_path)
    steps = [b for b in blocks(page) if b.kind == "python" and b.info == "python"]
    if not steps:
        return
    program = "names = {'__name__': '__main__'}\n"
    for step in steps:
        program += f"exec(compile({step.text!r}, {step.name!r}, 'exec'), names)\n"
    (folder / "page.py").write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "page.py"],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", named([b for b in of("python") if b.info != "python"]))
def test_shown_output(block: Block, tmp_path: Path) -> None:
    asked = re.fullmatch(r'python output="([^"]+)"', block.info)
    assert asked, f"{block.name}: `{block.info}`?"
    real = output(asked[1], folder_of(block.page, tmp_path))
    assert agree(block.text, real), real


@pytest.mark.parametrize("block", named(of("console")))
def test_commands(block: Block, tmp_path: Path) -> None:
    folder = folder_of(block.page, tmp_path)
    steps = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert not steps[0] and len(steps) > 1, f"{block.name} starts with `$ `"
    for step in steps[1:]:
        command, _, shown = step.partition("\n")
        real = output(command, folder)
        assert agree(shown, real), f"$ {command}\n{real}"


def test_the_resnet_of_the_readme_is_that_of_the_specs() -> None:
    """Which is compared with torchvision's in tests/parity."""
    shown = compile_keys(of("arch")[0].text)
    assert shown == compile_keys((ROOT / "specs" / "resnet.arch").read_text(encoding="utf-8"), "resnet50")


def compile_keys(text: str, entry: str | None = None) -> list[tuple[str, tuple[int, ...]]]:
    return [(e.key, e.decl.shape) for e in parameters(archlang.compile(text, entry).program)]
