"""Texts that are not a spec at all, command lines that do not fit one, and odd texts that are fine."""

from __future__ import annotations

import keyword
import time
from pathlib import Path

import pytest

import archlang
from archlang.cli import main
from archlang.report.diagnostic import ArchError

NET = b"""\
block net(width: int = 8)(image: [B, 3, H, W]) {
    return image -> stem: conv(width, 3) -> relu
}
"""
OLD = "# what an earlier compile wrote\n"
SECONDS = 2.0
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out.py").write_text(OLD)


def compiled(data: bytes, *options: str) -> tuple[int, float]:
    """Exit status and processor time of `archc compile`."""
    Path("net.arch").write_bytes(data)
    start = time.process_time()
    status = main(["compile", "net.arch", "-o", "out.py", *options])
    return status, time.process_time() - start


def refused(capsys: Capture, data: bytes, *options: str, status: int = 1) -> str:
    """What is reported; checks the status, the time, and that the output is untouched."""
    got, seconds = compiled(data, *options)
    shown = capsys.readouterr()
    assert got == status, shown.err
    assert seconds < SECONDS
    assert Path("out.py").read_text() == OLD
    assert "Traceback" not in shown.err
    return shown.err


# -- bytes -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("data", [b"", b"\n\n", b"# only a comment\n", b"\xef\xbb\xbf"], ids=repr)
def test_a_file_without_blocks(data: bytes, capsys: Capture) -> None:
    shown = refused(capsys, data)
    assert "error[ARC0108]: `net.arch` declares no block" in shown
    assert "--> net.arch:1:1\n" in shown


def test_nul(capsys: Capture) -> None:
    shown = refused(capsys, NET.replace(b"relu", b"re\0lu"))
    assert "error[ARC0004]: NUL character in the text" in shown
    assert "--> net.arch:2:47\n" in shown


def test_invalid_utf8(capsys: Capture) -> None:
    shown = refused(capsys, "# Ä Ö\n".encode() + NET.replace(b"relu", b"re\xfflu"))
    assert "error[ARC0003]: this is not UTF-8 text: byte 0xff" in shown
    assert "--> net.arch:3:47\n" in shown


def test_latin1_in_a_comment(capsys: Capture) -> None:
    assert "--> net.arch:1:4\n" in refused(capsys, "# M\xfcller\n".encode("latin-1") + NET)


def test_utf16(capsys: Capture) -> None:
    assert "this file is UTF-16, not UTF-8" in refused(capsys, NET.decode().encode("utf-16"))


def test_bidirectional_control(capsys: Capture) -> None:
    shown = refused(capsys, NET.replace(b"relu", "re\u202elu".encode()))
    assert "error[ARC0004]: invisible character U+202E" in shown and "--> net.arch:2:47\n" in shown


def test_random_bytes(capsys: Capture) -> None:
    refused(capsys, bytes(range(256)) * 64)


# -- size --------------------------------------------------------------------------------------------------------------
def test_ten_megabytes_are_refused_before_parsing(capsys: Capture) -> None:
    shown = refused(capsys, b"block (" * 1_500_000)
    assert "error[ARC0002]: `net.arch` has 10,500,000 bytes, more than the 1,048,576 that are read" in shown
    assert "--max-bytes" in shown
    assert "ARC0020" not in shown


def test_the_cap_is_raised_by_an_option() -> None:
    text = NET + b"# " + b"x" * 10_000_000 + b"\n"
    assert compiled(text, "--max-bytes", "5M")[0] == 1
    assert compiled(text, "--max-bytes", "20M")[0] == 0
    assert "class Net(nn.Module):" in Path("out.py").read_text()


def test_a_megabyte_of_brackets(capsys: Capture) -> None:
    assert "error[ARC0006]" in refused(capsys, b"block net(x: [B, 3]) { return " + b"(" * 1_000_000)


@pytest.mark.parametrize("opening, closing", ["()", "[]", "{}"])
def test_deep_nesting(opening: str, closing: str, capsys: Capture) -> None:
    inner = opening * 5000 + closing * 5000
    shown = refused(capsys, f"block net(x: [B, 3]) {{\n    return {inner}\n}}\n".encode())
    assert "--> net.arch:2:" in shown


def test_a_long_flow_is_fine() -> None:
    """Depth of nesting is bounded, length is not."""
    steps = " -> ".join(["relu"] * 3000)
    assert compiled(f"block net(x: [B, 3]) {{\n    return x -> {steps}\n}}\n".encode())[0] == 0


def test_a_long_sum(capsys: Capture) -> None:
    terms = " + ".join(["x"] * 3000)
    refused(capsys, f"block net(x: [B, 3]) {{\n    return {terms} +\n}}\n".encode())


# -- command line ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options, status, phrases",
    [
        (["-e", "nte"], 2, ["has no block `nte`", "did you mean `net`?"]),
        (["--set", "widht=4"], 2, ["widht", "did you mean `width`?"]),
        (["--set", "width"], 2, ["is not of the form name=value"]),
        (["--set", "width="], 2, ["is not of the form name=value"]),
        (["--set", "width=4", "--set", "width=5"], 2, ["is given twice"]),
        (["--set", "width=(4"], 2, ["--> --set width:1:1", "is never closed"]),
        (["--set", "width=wide"], 2, ["--> --set width:1:1", "there is no `wide`"]),
        (["--set", "width=0.5"], 2, ["--> --set width:1:1", "takes an `int`, not a float"]),
        (["--set", "width=4 // 3"], 2, ["--> --set width:1:1", "4 is not divisible by 3"]),
        (["--set", "width=[1]*10**9"], 2, ["--> --set width:1:1", "the limit is"]),
        (["--set", "width=-1"], 1, ["--> net.arch:2:32", "must be at least 1"]),
        (["--sett", "width=4"], 2, ["did you mean `--set`?"]),
        (["--emit", "pt"], 2, ["`pt`"]),
    ],
)
def test_options(options: list[str], status: int, phrases: list[str], capsys: Capture) -> None:
    shown = refused(capsys, NET, *options, status=status)
    for phrase in phrases:
        assert phrase in shown


def test_an_output_that_would_overwrite_the_spec() -> None:
    Path("net.arch").write_bytes(NET)
    assert main(["compile", "net.arch", "-o", "net.arch"]) == 2
    assert Path("net.arch").read_bytes() == NET


# -- odd and fine ------------------------------------------------------------------------------------------------------
def source_of(data: bytes) -> str:
    assert compiled(data)[0] == 0
    return Path("out.py").read_text()


def test_a_byte_order_mark_makes_no_difference() -> None:
    assert source_of(b"\xef\xbb\xbf" + NET) == source_of(NET)


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
def test_line_ends_make_no_difference(end: bytes) -> None:
    assert source_of(NET.replace(b"\n", end)) == source_of(NET)


def test_positions_count_characters_after_a_mark_and_with_crlf(capsys: Capture) -> None:
    broken = b"\xef\xbb\xbf" + NET.replace(b"relu", b"rellu").replace(b"\n", b"\r\n")
    assert "--> net.arch:2:45\n" in refused(capsys, broken)


def test_quoted_labels_may_be_python_keywords() -> None:
    words = [word for word in keyword.kwlist if word not in ("None", "True", "False")]
    steps = "".join(f'\n        -> "{word}": conv(3, 1, bias=false)' for word in words)
    model = archlang.build(f"block net(x: [B, 3, H, W]) {{\n    return x{steps}\n}}\n")
    assert sorted(model.state_dict()) == sorted(f"{word}.weight" for word in words)


def test_a_keyword_as_a_bare_label_is_refused() -> None:
    with pytest.raises(ArchError) as caught:
        archlang.compile("block net(x: [B, 3, H, W]) {\n    return x -> lambda: conv(3, 1)\n}\n")
    assert caught.value.diagnostics[0].code == "ARC0409"
