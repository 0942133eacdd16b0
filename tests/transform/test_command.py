"""`archc transform`: what is written, and where."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import archlang
from archlang.cli import main
from archlang.ir.walk import parameters
from archlang.transform import known_transforms
from tests.transform.same import randomised
from tests.transform.test_chains import SPEC, X

DOCS = Path(__file__).parents[2] / "docs" / "transforms.md"


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "net.arch"
    path.write_text(SPEC, encoding="utf-8")
    return path


def test_a_file_with_its_conversion(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = spec.with_suffix(".py")
    options = ["--apply", 'prefix("body", 2)', "--apply", 'shallow("body")', "-o", str(out), "--with-convert"]
    assert main(["transform", str(spec), *options]) == 0
    assert capsys.readouterr().out.count('shallow("body")') == 2  # figures, and what it did
    found: dict[str, object] = {"__name__": "net"}
    exec(compile(out.read_text(encoding="utf-8"), str(out), "exec"), found)
    net = randomised(archlang.build(spec))
    module = found["Net"]().double().eval()  # type: ignore[operator]
    module.load_state_dict(found["convert_state_dict"](net.state_dict()), strict=True)  # type: ignore[operator]
    other = archlang.apply(spec, 'prefix("body", 2)', 'shallow("body")').build().double().eval()
    other.load_state_dict(module.state_dict())
    with torch.no_grad():
        assert torch.equal(module(X), other(X))


@pytest.mark.parametrize("call", ['stitch(net(2), "body.1", "body.0")', 'word("body", [0, 0, 2])', 'at("body.1")'])
def test_written_as_a_spec(call: str, spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transform", str(spec), "--apply", call, "--emit", "arch"]) == 0
    shown = capsys.readouterr()
    again, made = archlang.compile(shown.out).program, archlang.apply(spec, call).program
    assert [e.key for e in parameters(again)] == [e.key for e in parameters(made)]
    assert call in shown.err


@pytest.mark.parametrize(
    ("options", "code", "status"),
    [
        ([], "ARC0901", 2),
        (["--apply", "word"], "ARC0860", 2),
        (["--apply", 'words("body", [1])'], "ARC0860", 2),
        (["--apply", 'word("body")'], "ARC0861", 2),
        (["--apply", 'word("body", 1)'], "ARC0861", 2),
        (["--apply", 'word("body", [1], [2])'], "ARC0861", 2),
        (["--apply", 'word("body", letter=[1])'], "ARC0861", 2),
        (["--apply", 'word("bdy", [1])'], "ARC0862", 2),
        (["--apply", 'word(["a", "down"], [0, 0])'], "ARC0863", 2),
        (["--apply", 'shallow(["stem", "body"])'], "ARC0864", 2),
        (["--apply", 'substitute("**.norm", conv(9, 1))'], "ARC0868", 2),
        (["--apply", 'substitute("**.norm", groupnorm(3))'], "ARC0304", 2),
        (["--apply", "substitute(lstm, relu)"], "ARC0862", 2),
        (["--apply", 'pick("**.norm", 3)'], "ARC0861", 2),
        (["--apply", "only(1)"], "ARC0867", 2),
        (["--apply", "word(nothing, [0])"], "ARC0101", 2),
        (["--apply", 'word("body", [0]'], "ARC0021", 2),
    ],
)
def test_mistakes(options: list[str], code: str, status: int, spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transform", str(spec), *options]) == status
    assert f"error[{code}]" in capsys.readouterr().err


def test_a_signature_is_written_in_the_language(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transform", str(spec), "--apply", "stitch(net(2), nothing=1)"]) == 2
    assert "it is `stitch(other, cut, other_cut, layer=none)`" in capsys.readouterr().err
    assert main(["transform", str(spec), "--apply", "substitute(relu, gelu, nothing=1)"]) == 2
    assert 'it is `substitute(old, new, within="")`' in capsys.readouterr().err


def test_the_page_has_every_transform() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for name, transform in known_transforms().items():
        assert f"| `{name}({transform.parameters[0].name}" in text, name
