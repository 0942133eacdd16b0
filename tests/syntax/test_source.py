"""Reading bytes, and the table that the parser runs on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from archlang.report.diagnostic import ArchError, Diagnostic
from archlang.syntax import parse, read_bytes, read_file


def refused(data: bytes, **options: int) -> list[Diagnostic]:
    with pytest.raises(ArchError) as caught:
        read_bytes(data, "f.arch", **options)
    return caught.value.diagnostics


def test_byte_order_mark_and_line_ends() -> None:
    source = read_bytes("\ufefflet α = 1\r\nlet b = 2\r\n".replace("α", "a").encode())
    module = parse(source)
    assert [item.span.text for item in module.items] == ["let a = 1", "let b = 2"]
    assert (module.items[0].span.column, module.items[1].span.line, source.line(2)) == (1, 2, "let b = 2")
    assert len(parse(read_bytes(b"let a = 1\rlet b = 2\r")).items) == 2


def test_invalid_utf8() -> None:
    (error,) = refused("let é = 1\nlet ".encode() + b"\xff = 2")
    assert error.span is not None
    assert (error.code, error.span.line, error.span.column) == ("ARC0003", 2, 5)
    assert error.message == "this is not UTF-8 text: byte 0xff"
    assert refused("let a = 1".encode("utf-16"))[0].message == "this file is UTF-16, not UTF-8"


def test_nul_and_control_characters() -> None:
    found = refused(b"let a\x00 = 1\nlet \x1b b = 2")
    assert [(e.code, e.span.line, e.span.column) for e in found if e.span] == [("ARC0004", 1, 6), ("ARC0004", 2, 5)]
    assert found[0].message == "NUL character in the text"
    assert refused("let a = 1 # \u202e".encode())[0].message == "invisible character U+202E in the text"


def test_size_cap(tmp_path: Path) -> None:
    (error,) = refused(b"\xff" * 11, max_bytes=10)
    assert error.code == "ARC0002" and "11 bytes" in error.message
    path = tmp_path / "big.arch"
    path.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ArchError) as caught:
        read_file(path)
    assert caught.value.diagnostics[0].code == "ARC0002" and "1,048,577" in str(caught.value)
    assert parse(read_file(path, max_bytes=1 << 21)).items == ()
    with pytest.raises(ArchError, match="cannot read"):
        read_file(tmp_path / "none.arch")


def test_empty_file_is_a_module_without_items() -> None:
    assert parse(read_bytes(b"")).items == ()
    assert parse(read_bytes(b"\n\n# only this\n")).comments[0][1] == "# only this"


@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_table_is_that_of_the_grammar(seed: str) -> None:
    """Whatever order Lark finds it in: `python grammars/generate.py > archlang/syntax/table.py`."""
    root = Path(__file__).resolve().parents[2]
    line = [sys.executable, str(root / "grammars" / "generate.py")]
    env = {**os.environ, "PYTHONHASHSEED": seed}
    made = subprocess.run(line, env=env, capture_output=True, text=True, timeout=60, check=True).stdout
    assert made == (root / "archlang" / "syntax" / "table.py").read_text(encoding="utf-8")
