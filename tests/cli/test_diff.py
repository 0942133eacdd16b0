"""`archc diff`: files, revisions of git, forms, and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from archlang.cli import main
from tests.cli.conftest import NET

Capture = pytest.CaptureFixture[str]
WIDE = NET.replace("width: int = 8", "width: int = 16")
pytestmark = pytest.mark.usefixtures("net")


def git(*words: str) -> None:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *who, *words], check=True, capture_output=True, env=environment)


@pytest.fixture
def repository(net: Path) -> Path:
    """net.arch, which uses parts.arch, in two revisions: v1 (narrow) and v2 (wide, the part renamed)."""
    text = "use .parts: unit\n" + NET.partition("## The network.")[2]
    parts = NET.partition("## The network.")[0]
    Path("lib").mkdir()
    net.rename("lib/net.arch").write_text(text)
    Path("lib/parts.arch").write_text(parts)
    git("init", "-q", ".")
    git("add", ".")
    git("commit", "-qm", "one")
    git("tag", "v1")
    Path("lib/net.arch").write_text(text.replace("width: int = 8", "width: int = 16"))
    Path("lib/parts.arch").write_text(parts.replace("conv1", "conv"))
    git("commit", "-qam", "two")
    git("tag", "v2")
    return Path("lib/net.arch")


def test_two_files(capsys: Capture) -> None:
    Path("wide.arch").write_text(WIDE)
    assert main(["diff", "net.arch", "wide.arch", "--at", "B=1,H=32,W=32"]) == 1
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == "net.arch -> wide.arch"
    assert "net at B=1, H=32, W=32\n" in shown
    assert "~ stem.conv1.weight [8, 3, 3, 3] -> [16, 3, 3, 3]" in shown
    assert "    ~ parameters: width=8 -> width=16\n" in shown


def test_equal_files(capsys: Capture) -> None:
    Path("same.arch").write_text("# other words\n" + NET)
    assert main(["diff", "net.arch", "same.arch"]) == 0
    assert capsys.readouterr().out == "net: no differences\n"


def test_parameters_of_both_sides(capsys: Capture) -> None:
    Path("wide.arch").write_text(WIDE)
    assert main(["diff", "net.arch", "wide.arch", "-e", "net", "--set", "width=4"]) == 0
    assert main(["diff", "net.arch", "wide.arch", "-e", "net", "--set", "widht=4"]) == 2
    assert "did you mean `width`" in capsys.readouterr().err
    assert main(["diff", "net.arch", "wide.arch", "--set", "width=4"]) == 2


def test_json(capsys: Capture) -> None:
    Path("wide.arch").write_text(WIDE)
    assert main(["diff", "net.arch", "wide.arch", "--format", "json", "--at", "B=1,H=32,W=32"]) == 1
    found = json.loads(capsys.readouterr().out)
    (design,) = found["designs"]
    assert not found["equal"] and not design["equal"] and design["at"] == {"B": 1, "H": 32, "W": 32}
    figures = {f["name"]: (f["old"], f["new"]) for f in design["figures"]}
    assert figures["parameters"] == (3 * 8 * 9 + 16 + 90, 3 * 16 * 9 + 32 + 170)
    assert {"key": "fc.weight", "old": "[10, 8]", "new": "[10, 16]"} in design["keys"]


def test_markdown(capsys: Capture) -> None:
    Path("wide.arch").write_text(WIDE)
    assert (
        main(["diff", "net.arch", "wide.arch", "--format", "markdown", "--at", "B=1,H=32,W=32", "--output", "o.md"])
        == 1
    )
    assert capsys.readouterr().out == ""
    text = Path("o.md").read_text()
    assert text.startswith("### archc diff: `net.arch` → `wide.arch`\n\n#### net\n\n| at B=1, H=32, W=32 |")
    assert "| parameters | 322 | 634 | +96.9 % |\n" in text
    assert text.count("<details>") == text.count("</details>") == 1


def test_designs_come_and_go(capsys: Capture) -> None:
    more = NET + "\nblock small() = net(4)\nblock large() = net(64)\n"
    less = NET + "\nblock small() = net(4)\nblock huge() = net(128)\n"
    Path("more.arch").write_text(more)
    Path("less.arch").write_text(less)
    assert main(["diff", "more.arch", "less.arch"]) == 1
    shown = capsys.readouterr().out
    assert "+ design huge\n- design large\n" in shown
    assert shown.endswith("small: no differences\n")


def test_revisions(repository: Path, capsys: Capture) -> None:
    """`use` finds the files of the revision, not those of now."""
    assert main(["diff", "--git", "v1..v2", str(repository)]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith(f"v1:{repository} -> v2:{repository}\n")
    assert "- stem.conv1.weight [8, 3, 3, 3]" in shown and "+ stem.conv.weight [16, 3, 3, 3]" in shown
    assert "  moved\n" not in shown  # its shape is another
    for line in (
        ["v1:lib/net.arch", "v2:lib/net.arch"],
        ["v1:lib/net.arch", "lib/net.arch"],
        ["--git", "v1", "lib/net.arch"],
    ):
        assert main(["diff", *line]) == 1
        assert capsys.readouterr().out.splitlines()[1:] == shown.splitlines()[1:]
    assert main(["diff", "--git", "v2", "lib/net.arch"]) == 0
    assert main(["diff", "--git", "..v1", "lib/net.arch"]) == 1


def test_revisions_from_a_folder_inside(repository: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("lib")
    assert main(["diff", "--git", "v1..v2", "net.arch"]) == 1
    assert main(["diff", "--git", "v1..v2", str(Path("net.arch").resolve())]) == 1
    assert main(["diff", "v2:net.arch", "net.arch"]) == 0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("net.arch", "compares two specs"),
        ("net.arch net.arch net.arch", "compares two specs"),
        ("--git v1..v2 a.arch b.arch", "name that file and no other"),
        ("--git v1...v2 lib/net.arch", "two points, not three"),
        ("--git v1..v9 lib/net.arch", "git does not know the revision `v9`"),
        ("--git v1 nte.arch", "`nte.arch` is not in `v1`"),
        ("--git v1 ../net.arch", "is not in `v1`"),
        ("v1:nte.arch lib/net.arch", "`nte.arch` is not in `v1`"),
        ("lib/net.arch nte.arch", "cannot read `nte.arch`"),
        ("lib/net.arch lib/net.arch --at B", "not of the form name=value"),
        ("lib/net.arch lib/net.arch --at B=0", "whole number above 0"),
        ("lib/net.arch lib/net.arch -e nett", "has no block `nett`"),
        ("lib/net.arch lib/net.arch --output lib/net.arch", "would be overwritten"),
    ],
)
def test_wrong_command_lines(line: str, expected: str, repository: Path, capsys: Capture) -> None:
    assert main(["diff", *line.split()]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("revision", ["--output=x", "-h", "$(touch x)", "v1;touch x", "`touch x`", "x\ny"])
def test_revisions_are_no_options_and_no_commands(revision: str, repository: Path, capsys: Capture) -> None:
    assert main(["diff", f"--git={revision}", "lib/net.arch"]) == 2
    assert "error[ARC0913]" in capsys.readouterr().err
    assert not Path("x").exists()


def test_without_a_repository(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert main(["diff", "--git", "HEAD", "net.arch"]) == 2
    assert "error[ARC0913]" in capsys.readouterr().err
    monkeypatch.setenv("PATH", "")
    assert main(["diff", "--git", "HEAD", "net.arch"]) == 2
    assert "git is not installed" in capsys.readouterr().err


def test_a_broken_side_is_no_difference(repository: Path, capsys: Capture) -> None:
    git("checkout", "-q", "v1")
    repository.write_text(repository.read_text().replace("linear", "linaer"))
    git("commit", "-qam", "broken")
    git("tag", "v3")
    assert main(["diff", "--git", "v3..v2", "lib/net.arch"]) == 2
    shown = capsys.readouterr()
    assert "--> v3:lib/net.arch:" in shown.err and "did you mean `linear`" in shown.err
    assert shown.out == ""
