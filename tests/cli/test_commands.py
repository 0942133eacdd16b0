"""What each command prints, writes and returns."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from archlang.cli import main
from tests.cli.conftest import KEYS, NET

Capture = pytest.CaptureFixture[str]
BROKEN = NET.replace("relu\n", "rellu\n")
pytestmark = pytest.mark.usefixtures("net")


# -- check -------------------------------------------------------------------------------------------------------------
def test_check_is_content(capsys: Capture) -> None:
    assert main(["check", "net.arch"]) == 0
    assert capsys.readouterr().out == "1 file, no mistakes found\n"


def test_check_takes_folders_and_goes_on_after_mistakes(capsys: Capture) -> None:
    Path("sub/.hidden").mkdir(parents=True)
    Path("sub/a.arch").write_text(BROKEN)
    Path("sub/b.arch").write_text("block (")
    Path("sub/.hidden/c.arch").write_text("block (")
    Path("sub/readme.txt").write_text("block (")
    assert main(["check", "."]) == 1
    shown = capsys.readouterr().out
    assert "--> sub/a.arch:5:91" in shown
    assert "did you mean `relu`?" in shown
    assert "--> sub/b.arch:1:" in shown
    assert "hidden" not in shown and "readme" not in shown
    assert shown.splitlines()[-1].startswith("2 errors")


def test_check_goes_on_after_a_file_that_nests_too_deeply(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    import archlang.verify.check

    def fail(module: archlang.elaborate.LoadedModule, limits: object, show: object) -> list[object]:
        if module.source.path == "a.arch":
            raise RecursionError
        return []

    Path("a.arch").write_text(NET)
    Path("z.arch").write_text("block (")
    monkeypatch.setattr(archlang.verify.check, "check_file", fail)
    assert main(["check"]) == 1
    shown = capsys.readouterr().out
    assert "error[ARC0991]: `a.arch` nests too deeply to be processed" in shown
    assert "--> z.arch:1:" in shown


def test_check_as_json(capsys: Capture) -> None:
    Path("broken.arch").write_text(BROKEN)
    assert main(["check", "--format", "json", "net.arch", "broken.arch"]) == 1
    *rows, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert [row["kind"] for row in rows] == ["diagnostic"]
    assert rows[0]["span"]["start"] == {"line": 5, "column": 91, "offset": BROKEN.index("rellu")}
    assert last == {"kind": "summary", "errors": 1, "warnings": 0, "files": 2}


def test_check_of_nothing_wrong_as_json(capsys: Capture) -> None:
    assert main(["check", "--format=json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"kind": "summary", "errors": 0, "warnings": 0, "files": 1}


def test_check_and_compile_without_torch() -> None:
    """With torch made impossible to import, in one process."""
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from archlang.cli import main\n"
        "assert main(['check', 'net.arch']) == 0\n"
        "assert main(['compile', 'net.arch', '-o', 'net.py']) == 0\n"
        "assert main(['list', 'net.arch']) == 0\n"
        "assert main(['run', 'net.arch']) == 2\n"
        "assert sys.modules.pop('torch') is None\n"
        "assert not [m for m in sys.modules if m.startswith('torch')]\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "error[ARC0920]: `archc run` needs torch, which is not installed" in done.stderr
    assert "pip install" in done.stderr
    assert "class Net(nn.Module):" in Path("net.py").read_text()


def test_max_bytes(capsys: Capture) -> None:
    assert main(["check", "net.arch", "--max-bytes", "100"]) == 1
    assert "--max-bytes" in capsys.readouterr().out
    Path("big.arch").write_text("# " + "x" * 2_000_000 + "\n" + NET)
    assert main(["check", "big.arch"]) == 1
    assert main(["check", "big.arch", "--max-bytes", "3M"]) == 0


# -- compile -----------------------------------------------------------------------------------------------------------
def test_compile_to_standard_output_and_to_a_file(capsys: Capture) -> None:
    assert main(["compile", "net.arch"]) == 0
    shown = capsys.readouterr()
    assert "class Net(nn.Module):" in shown.out
    assert main(["compile", "net.arch", "-o", "net.py"]) == 0
    assert main(["compile", "net.arch", "-o", "-"]) == 0
    assert Path("net.py").read_text() == shown.out == capsys.readouterr().out
    assert shown.err == ""


def test_compile_does_not_depend_on_the_folder(tmp_path: Path, capsys: Capture) -> None:
    assert main(["compile", "net.arch"]) == 0
    here = capsys.readouterr().out
    assert main(["compile", str(tmp_path / "net.arch")]) == 0
    assert capsys.readouterr().out == here
    assert str(tmp_path) not in here


def test_compile_emits_the_graph(capsys: Capture) -> None:
    from archlang.ir.serialize import from_json
    from archlang.ir.text import to_text

    assert main(["compile", "net.arch", "--emit", "ir"]) == 0
    text = capsys.readouterr().out
    assert "%fc: [B, 10] = linear(" in text
    assert main(["compile", "net.arch", "--emit", "json"]) == 0
    assert to_text(from_json(capsys.readouterr().out)) == text


def test_compile_with_parameters(capsys: Capture) -> None:
    line = ["compile", "net.arch", "-e", "net", "--emit", "ir", "--set", "width=2**4", "--set", "classes = 7"]
    assert main(line) == 0
    text = capsys.readouterr().out
    assert "net(width=16, classes=7)" in text


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-e", "nte"], "`net.arch` has no block `nte`|its blocks are `unit`, `net`|did you mean `net`?"),
        (["-e", "net", "--set", "widht=4"], "block `net` has no parameter `widht`|did you mean `width`?"),
        (["--set", "widht=4"], "has no parameter `widht`|did you mean `width`?"),
        (["--set", "width"], "`--set width` is not of the form name=value"),
        (["--set", "=3"], "`--set =3` is not of the form name=value"),
        (["--set", "width=1", "--set", "width=2"], "given twice"),
        (["--set", "width=(3"], "--> --set width:1:"),
        (["--set", "width=3 3"], "--> --set width:1:"),
        (["--set", "width=nothing"], "there is no `nothing` here"),
        (["--set", "width='eight'"], "--> --set width:1:"),
        (["-o", "net.arch"], "`net.arch` is the spec itself"),
    ],
)
def test_compile_with_wrong_options(options: list[str], expected: str, capsys: Capture) -> None:
    assert main(["compile", "net.arch", *options]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    for part in expected.split("|"):
        assert part in shown.err
    assert Path("net.arch").read_text() == NET


def test_a_failed_compile_leaves_the_old_output() -> None:
    Path("broken.arch").write_text(BROKEN)
    Path("net.py").write_text("old")
    assert main(["compile", "broken.arch", "-o", "net.py"]) == 1
    assert Path("net.py").read_text() == "old"
    assert sorted(p.name for p in Path().iterdir()) == ["broken.arch", "net.arch", "net.py"]


# -- list --------------------------------------------------------------------------------------------------------------
def test_list(capsys: Capture) -> None:
    assert main(["list", "net.arch"]) == 0
    assert capsys.readouterr().out == (
        "A small network.\n"
        "\n"
        "block unit(width: int, stride: int = 1)(x)\n"
        "    One unit.\n"
        "\n"
        "block net(width: int = 8, classes: int = 10)(image: [B, 3, H, W]) -> [B, classes]\n"
        "    The network.\n"
    )


def test_list_shows_every_kind(capsys: Capture) -> None:
    Path("all.arch").write_text(
        "fn twice(n: int) => 2 * n\n"
        "block swish(x) { return x * sigmoid(x) }\n"
        "block small(n: int = twice(2)) = linear(n)\n"
        "reversible block coupling(f: module,  # inner\n    g: module)(a, b; c) { a += f(b)\n b += g(a) }\n"
        'extern pure block fast(n: int)(x: [B, D]) -> [B, D] = "lib:Fast"\n'
    )
    assert main(["list", "all.arch"]) == 0
    assert capsys.readouterr().out.split("\n\n") == [
        "fn twice(n: int)\n"[:-1],
        "block swish(x)",
        "block small(n: int = twice(2))",
        "reversible block coupling(f: module, g: module)(a, b; c)",
        "extern pure block fast(n: int)(x: [B, D]) -> [B, D]\n",
    ]


def test_list_as_json(capsys: Capture) -> None:
    assert main(["list", "net.arch", "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in shown["items"]] == ["unit", "net"]
    assert shown["items"][0]["line"] == 4


# -- run ---------------------------------------------------------------------------------------------------------------
def test_run(capsys: Capture) -> None:
    assert main(["run", "net.arch", "--at", "B=3,H=16", "--at", "W=20", "--repeat", "1"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[:3] == [
        "net (net.arch) at B=3, H=16, W=20",
        "  input       image: float32[3, 3, 16, 20]",
        "  output      float32[3, 10]",
    ]
    count = 8 * 27 + 16 + 80 + 10
    assert rows[3] == f"  parameters  {count} (and 17 in buffers; 0.0 MiB)"
    assert rows[4].startswith("  time  ") and rows[4].endswith("a forward pass (median of 1, cpu, evaluation)")


def test_run_chooses_sizes(capsys: Capture) -> None:
    assert main(["run", "net.arch", "--repeat", "1", "--train"]) == 0
    assert "input       image: float32[2, 3, 224, 224]" in capsys.readouterr().out


def test_run_chooses_sizes_that_fit(capsys: Capture) -> None:
    Path("fit.arch").write_text(
        "block fit(x: [B, 3, H, W]) { return x -> space_to_depth(7) -> conv1: conv(4, 9) -> relu }\n"
        "block ids(i: i64[B, T]) { return i -> table: embedding(3, 4) }\n"
    )
    assert main(["run", "fit.arch", "-e", "fit", "--at", "B=1", "--repeat", "1"]) == 0
    assert main(["run", "fit.arch", "-e", "ids", "--repeat", "1"]) == 0
    shown = capsys.readouterr().out
    assert "input       i: int64[2, " in shown


@pytest.mark.parametrize(
    ("options", "status", "expected"),
    [
        (["--at", "BB=1"], 2, "the input of `net` has no size `BB`|did you mean `B`?|its free sizes are"),
        (["--at", "B"], 2, "`--at B` is not of the form name=value"),
        (["--at", "B=0"], 2, "`0` is not a whole number above 0"),
        (["--at", "B=two"], 2, "`two` is not a whole number above 0"),
        (["--device", "abacus"], 2, "torch cannot use the device `abacus`"),
        (["--repeat", "0"], 2, "not a whole number above 0"),
        (["--seed", "x"], 2, "--seed"),
    ],
)
def test_run_with_wrong_options(options: list[str], status: int, expected: str, capsys: Capture) -> None:
    assert main(["run", "net.arch", *options]) == status
    shown = capsys.readouterr().err
    for part in expected.split("|"):
        assert part in shown


# -- compare-keys ------------------------------------------------------------------------------------------------------
def checkpoint(changes: dict[str, str | tuple[int, ...] | None], path: str = "a.safetensors") -> str:
    """The net's own keys; a change renames a key, gives it another shape, or (None) drops it."""
    state = {}
    for key, shape in KEYS.items():
        change = changes.get(key, key)
        if change is not None:
            new = change if isinstance(change, str) else key
            state[new] = torch.zeros(change if isinstance(change, tuple) else shape)
    if path.endswith(".pth"):
        torch.save(state, path)
    else:
        save_file(state, path)
    return path


def test_equal_keys(capsys: Capture) -> None:
    assert main(["compare-keys", "net.arch", checkpoint({})]) == 0
    assert capsys.readouterr().out == "all 8 keys agree in name and shape\n"
    assert main(["compare-keys", "net.arch", checkpoint({}, "a.pth")]) == 0


def test_the_keys_are_those_that_the_module_loads() -> None:
    import archlang

    module = archlang.build("net.arch")
    state = torch.load(checkpoint({}, "a.pth"), weights_only=True)
    module.load_state_dict(state, strict=True)


def test_different_keys(capsys: Capture) -> None:
    path = checkpoint({"fc.weight": "fc.wieght", "fc.bias": (11,), "stem.bn1.weight": None})
    assert main(["compare-keys", "net.arch", path]) == 1
    shown = capsys.readouterr().out
    assert "error[ARC0931]: the checkpoint lacks `fc.weight` [10, 8]\n" in shown
    assert "note: the checkpoint has `fc.wieght`" in shown
    assert "error[ARC0932]: the checkpoint has `fc.wieght` [10, 8], which the spec does not make\n" in shown
    assert "error[ARC0933]: `fc.bias` is [10] here, [11] in the checkpoint\n" in shown
    assert "error[ARC0931]: the checkpoint lacks `stem.bn1.weight` [8]\n" in shown
    assert shown.count("--> net.arch:10:") == 3  # the line of `fc`
    assert shown.count("--> net.arch:5:") == 1  # the line of `bn1`
    assert shown.splitlines()[-1] == "2 missing, 1 unexpected, 1 of another shape; 5 keys agree"


def test_different_keys_as_json(capsys: Capture) -> None:
    path = checkpoint({"fc.weight": "fc.wieght", "fc.bias": (11,)})
    assert main(["compare-keys", "net.arch", path, "--format", "json"]) == 1
    rows = [json.loads(row) for row in capsys.readouterr().out.splitlines()]
    assert [(r["kind"], r.get("key"), r.get("nearest")) for r in rows] == [
        ("missing", "fc.weight", "fc.wieght"),
        ("unexpected", "fc.wieght", "fc.weight"),
        ("misshaped", "fc.bias", None),
        ("summary", None, None),
    ]
    assert rows[2]["shape"] == [10] and rows[2]["found"] == [11]
    assert all(row["span"]["line"] == 10 for row in rows[:3])


def test_a_loop_gives_one_finding_with_all_its_keys(capsys: Capture) -> None:
    Path("deep.arch").write_text(
        "block deep(x: [B, 8]) { return x -> layers: chain([linear(8, bias=false) for i in 0..20]) }\n"
    )
    save_file({"other": torch.zeros(1)}, "a.safetensors")
    assert main(["compare-keys", "deep.arch", "a.safetensors"]) == 1
    shown = capsys.readouterr().out
    assert "the checkpoint lacks 20 keys made here" in shown
    assert "`layers.7.weight`" in shown and "`layers.8.weight`" not in shown
    assert "... and 12 more (--all lists them)" in shown
    assert main(["compare-keys", "deep.arch", "a.safetensors", "--all"]) == 1
    assert "`layers.19.weight`" in capsys.readouterr().out


def test_prefixes_are_noticed_and_taken_off(capsys: Capture) -> None:
    save_file({f"module.{key}": torch.zeros(shape) for key, shape in KEYS.items()}, "a.safetensors")
    assert main(["compare-keys", "net.arch", "a.safetensors"]) == 1
    assert "try --prefix module." in capsys.readouterr().out
    assert main(["compare-keys", "net.arch", "a.safetensors", "--prefix", "module."]) == 0


def test_unreadable_checkpoints(capsys: Capture) -> None:
    Path("bad.pth").write_text("hello")
    assert main(["compare-keys", "net.arch", "bad.pth"]) == 2
    assert "error[ARC0930]: cannot read `bad.pth`: it is neither" in capsys.readouterr().err
    assert main(["compare-keys", "net.arch", "nowhere.pth"]) == 2
    assert "error[ARC0902]" in capsys.readouterr().err


def test_safetensors_need_no_torch() -> None:
    path = checkpoint({})
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from archlang.cli import main\n"
        f"sys.exit(main(['compare-keys', 'net.arch', {path!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    torch.save({}, "a.pth")
    done = subprocess.run(
        [sys.executable, "-c", program.replace(path, "a.pth")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "error[ARC0920]" in done.stderr
