"""The Python interface."""

from __future__ import annotations

import inspect
import json
import pickle
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import torch
from torch import nn

import archlang
from tests.cli.conftest import KEYS, NET

BROKEN = NET.replace("relu\n", "rellu\n")


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("net.arch").write_text(NET)
    return "net.arch"


def test_build_from_a_path_or_a_text(net: str) -> None:
    torch.manual_seed(0)
    first = archlang.build(net)
    torch.manual_seed(0)
    second = archlang.build(Path(net), "net")
    torch.manual_seed(0)
    third = archlang.build(NET)
    assert {key: tuple(value.shape) for key, value in first.state_dict().items()} == KEYS
    x = torch.randn(2, 3, 8, 8)
    assert isinstance(first, nn.Module) and first.training
    for other in (second, third):
        assert torch.equal(first(x), other(x))


def test_build_with_parameters(net: str) -> None:
    model = archlang.build(net, "net", width=4, classes=3)
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 3)


def test_compile(net: str) -> None:
    compiled = archlang.compile(net, width=4)
    assert isinstance(compiled, archlang.Compiled)
    assert compiled.entry == "net"
    assert compiled.spec == "net.arch"
    assert compiled.diagnostics == ()
    assert compiled.program.root.params["width"] == 4
    assert "class Net(nn.Module):" in compiled.source
    scope: dict[str, object] = {"__name__": "net"}
    exec(compiled.source, scope)
    assert issubclass(scope["Net"], nn.Module)  # type: ignore[arg-type]


def test_check(net: str) -> None:
    assert archlang.check(net) == []
    (found,) = archlang.check(BROKEN)
    assert isinstance(found, archlang.Diagnostic)
    assert found.span is not None
    assert (found.span.source.path, found.span.line, found.span.text) == ("<text>", 5, "rellu")
    (found,) = archlang.check("block f(x) {\n")
    assert found.code.startswith("ARC00")


def test_mistakes_are_raised_with_diagnostics() -> None:
    with pytest.raises(archlang.ArchError) as caught:
        archlang.compile(BROKEN)
    assert [d.span.line for d in caught.value.diagnostics if d.span] == [5]
    assert "<text>:5:91: error[ARC0101]" in str(caught.value)
    with pytest.raises(archlang.ArchError, match="no parameter `widht`"):
        archlang.compile(NET, widht=3)
    with pytest.raises(archlang.ArchError, match="`nett`"):
        archlang.compile(NET, "nett")
    with pytest.raises(archlang.ArchError):
        archlang.compile(NET, width="eight")
    with pytest.raises(archlang.ArchError):
        archlang.compile(NET, width=object())


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        archlang.compile("nowhere.arch")
    with pytest.raises(FileNotFoundError):
        archlang.check(tmp_path / "nowhere.arch")
    with pytest.raises(IsADirectoryError):
        archlang.check(tmp_path)


def test_built_modules_are_visible_to_python(net: str) -> None:
    model = archlang.build(net)
    cls = type(model)
    assert sys.modules[cls.__module__].Net is cls
    assert inspect.getsource(cls).startswith("class Net(nn.Module):")
    assert "return " in inspect.getsource(cls.forward)
    assert inspect.getsource(sys.modules[cls.__module__]) == archlang.compile(net).source
    assert type(archlang.build(net)) is cls
    assert type(archlang.build(net, width=16)) is not cls


def test_built_modules_can_be_pickled_and_copied(net: str, tmp_path: Path) -> None:
    import copy

    model = archlang.build(net).eval()
    x = torch.randn(1, 3, 8, 8)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(model(x), other(x))
    torch.save(model, tmp_path / "model.pth")
    assert torch.equal(torch.load(tmp_path / "model.pth", weights_only=False)(x), model(x))


def test_tracebacks_show_the_generated_lines(net: str) -> None:
    model = archlang.build(net)
    with pytest.raises(RuntimeError) as caught:
        model(torch.randn(1, 4, 8, 8))
    shown = "".join(traceback.format_exception(caught.value))
    assert 'File "<archlang net.arch: net, ' in shown
    assert "self.conv1(x)" in shown


def modules_after(program: str, folder: Path) -> list[str]:
    program += "\nimport sys, json; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return names


def test_torch_is_imported_by_build_only(net: str, tmp_path: Path) -> None:
    assert "torch" not in modules_after("import archlang", tmp_path)
    assert "torch" not in modules_after("import archlang; assert archlang.check('net.arch') == []", tmp_path)
    assert "torch" not in modules_after("import archlang; archlang.compile('net.arch')", tmp_path)
    assert "torch" in modules_after("import archlang; archlang.build('net.arch')", tmp_path)


def test_importing_archlang_loads_next_to_nothing(tmp_path: Path) -> None:
    assert not {"lark", "networkx", "pydantic", "jinja2"} & set(modules_after("import archlang", tmp_path))


def test_build_without_torch(net: str) -> None:
    program = "import sys; sys.modules['torch'] = None\nimport archlang\narchlang.build('net.arch')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "error[ARC0920]: building a network needs torch, which is not installed" in done.stderr


def test_the_public_names() -> None:
    assert set(archlang.__all__) <= set(dir(archlang))
    for name in archlang.__all__:
        assert getattr(archlang, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'biuld'"):
        _ = archlang.biuld  # type: ignore[attr-defined]
