"""Specs as Python modules."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import archlang.importer
from tests.cli.conftest import NET


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`designs/net.arch` and `top.arch` on the import path."""
    (tmp_path / "designs").mkdir()
    (tmp_path / "designs" / "net.arch").write_text(NET)
    (tmp_path / "top.arch").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.split(".")[0] in {"designs", "top", "broken", "rival"}:
            del sys.modules[name]


def test_import_from_a_folder(folder: Path) -> None:
    from designs import net  # type: ignore[import-not-found]

    model = net.net(classes=7)
    assert isinstance(model, torch.nn.Module)
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 7)
    assert net.net(4, 5)(torch.randn(2, 3, 8, 8)).shape == (2, 5)
    assert net.__doc__ == "A small network."
    assert net.__file__ == str(folder / "designs" / "net.arch")
    assert net.__all__ == ["unit", "net"]


def test_import_at_top_level(folder: Path) -> None:
    import top  # type: ignore[import-not-found]

    assert top.net.compile(width=4).program.root.params["width"] == 4
    assert "class Net" in top.net.compile().source


def test_a_parameter_called_like_a_word_of_python(folder: Path) -> None:
    text = "block net(from: int = 3)(x: [B, from]) -> [B, 2] { return x -> out: linear(2) }"
    (folder / "designs" / "words.arch").write_text(text)
    from designs import words  # type: ignore[import-not-found]

    assert str(inspect.signature(words.net)) == "(from_=3)"
    assert [words.net(from_=5).out.in_features, words.net(7).out.in_features] == [5, 7]
    with pytest.raises(TypeError, match="has no parameter `fromx`"):
        words.net(fromx=5)


def test_blocks_document_themselves(folder: Path) -> None:
    import top

    assert repr(top.net) == f"<block net of {folder / 'top.arch'}>"
    assert top.net.__name__ == "net"
    assert top.net.__doc__.startswith("block net(width: int = 8, classes: int = 10)")
    assert top.net.__doc__.endswith("The network.")
    assert str(inspect.signature(top.net)) == "(width=8, classes=10)"
    assert str(inspect.signature(top.unit)) == "(width, stride=1)"
    assert inspect.getsource(top) == NET


def test_wrong_arguments(folder: Path) -> None:
    import top

    with pytest.raises(TypeError, match=r"net\(\) has no parameter `widht`; did you mean `width`\?"):
        top.net(widht=3)
    with pytest.raises(TypeError, match=r"takes 2 parameters \(width, classes\), 3 were given"):
        top.net(1, 2, 3)
    with pytest.raises(TypeError, match="got `width` twice"):
        top.net(1, width=2)
    with pytest.raises(archlang.ArchError):
        top.net(width="eight")


def test_wrong_names(folder: Path) -> None:
    import top

    with pytest.raises(AttributeError, match=r"has no block `nett`; did you mean `net`\? \(its blocks: unit, net\)"):
        _ = top.nett
    with pytest.raises(ImportError, match="cannot import name 'nett'"):
        from top import nett  # noqa: F401
    with pytest.raises(ModuleNotFoundError):
        import designs.nett  # type: ignore[import-not-found] # noqa: F401
    assert not hasattr(top, "__path__")


def test_broken_specs_say_where(folder: Path) -> None:
    (folder / "broken.arch").write_text("block f(x) {\n    return )\n}\n")
    with pytest.raises(ImportError) as caught:
        importlib.import_module("broken")
    shown = str(caught.value)
    assert f"cannot import `{folder / 'broken.arch'}`" in shown
    assert "broken.arch:2:12" in shown
    assert isinstance(caught.value.__cause__, archlang.ArchError)
    assert "broken" not in sys.modules


def test_reload_sees_changes(folder: Path) -> None:
    import top

    (folder / "top.arch").write_text(NET.replace("classes: int = 10", "classes: int = 3"))
    importlib.reload(top)
    assert top.net()(torch.randn(2, 3, 8, 8)).shape == (2, 3)


def test_python_modules_take_precedence(folder: Path) -> None:
    (folder / "rival.py").write_text("kind = 'python'\n")
    (folder / "rival.arch").write_text(NET)
    assert importlib.import_module("rival").kind == "python"


def test_installing_twice_is_installing_once(folder: Path) -> None:
    before = list(sys.meta_path)
    archlang.importer.install()
    assert sys.meta_path == before
    archlang.importer.uninstall()
    try:
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("top")
    finally:
        archlang.importer.install()


def test_the_repositorys_specs() -> None:
    """What the README shows."""
    root = Path(__file__).resolve().parent.parent
    sys.path.insert(0, str(root))
    try:
        names = sorted(path.stem for path in (root / "specs").glob("*.arch"))
        for name in names:
            module = importlib.import_module(f"specs.{name}")
            assert module.__all__, name
    finally:
        sys.path.remove(str(root))
