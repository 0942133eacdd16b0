"""What is said of input sizes: at the operation, with a condition that suffices and a size that shows it."""

from __future__ import annotations

import subprocess
import sys

import archlang
from archlang.report.diagnostic import Diagnostic, Severity
from archlang.verify.findings import findings
from archlang.verify.sets import domain


def found(text: str) -> list[Diagnostic]:
    return [d for d in archlang.check(text) if d.code.startswith("ARC034")]


EMPTY = """
block net()(x: [B, 3, H, H]) {
    low = x -> maxpool(8)
    return low, x -> a: conv(8, 3, stride=2, padding=1) -> reshape([B, 8, 2, 2])
}
"""
ODD = """
block net()(x: [B, 3, H, W]) {
    y = x -> maxpool(2)
    return concat([x, y -> interpolate(scale_factor=2)])
}
"""
PROMISED = ODD.replace("H, W", "2*h, 2*w")
OPEN = """
block net()(x: [B, 3, H, W], t: [B, T, 3]) {
    return (x -> flatten(2) -> transpose(1, 2)) + t
}
"""
ONE = """
block net()(x: [1, 3, H, W]) {
    return x -> global_avgpool -> fc: linear(4) -> bn: batchnorm
}
"""


def test_no_size_fits() -> None:
    (d,) = found(EMPTY)
    assert (d.code, d.severity) == ("ARC0340", Severity.ERROR)
    assert d.span is not None and d.span.text.startswith("reshape")
    assert any("maxpool" in label.span.text and "H >= 8" in label.text for label in d.related)
    assert "`H`" in (d.help or "")


def test_sizes_that_are_not_promised() -> None:
    (d,) = found(ODD)
    assert (d.code, d.severity) == ("ARC0341", Severity.WARNING)
    assert d.message.endswith("this needs H mod 2 = 0 and W mod 2 = 0")
    assert d.label == "at H = 3: 3 is not 2"
    made = {label.span.text: label.text for label in d.related}
    assert made["interpolate(scale_factor=2)"] == "2*(H // 2) is made here"
    assert d.help is not None and "`where H % 2 == 0 and W % 2 == 0`" in d.help


def test_what_the_declaration_promises_is_not_said() -> None:
    assert found(PROMISED) == []


def test_the_set_of_a_promise_is_still_over_the_inputs_own_sizes() -> None:
    program = archlang.compile(PROMISED).program
    assert {name: str(size) for name, size in program.given.items()} == {"B": "B", "H": "2*h", "W": "2*w"}
    of = domain(program)
    assert of.contains({"B": 1, "H": 4, "W": 2}) and not of.contains({"B": 1, "H": 3, "W": 2})


def test_what_is_not_decided_is_said() -> None:
    (d,) = found(OPEN)
    assert (d.code, d.message) == ("ARC0342", "it is not decided for which sizes this holds: H*W == T")
    of = domain(archlang.compile(OPEN).program)
    assert [str(c) for c in of.undecided] == ["H*W == T"]
    assert of.contains({"B": 1, "H": 2, "W": 3, "T": 6}) and not of.contains({"B": 1, "H": 2, "W": 3, "T": 5})


def test_a_norm_that_can_never_be_trained() -> None:
    (d,) = found(ONE)
    assert (d.code, d.severity) == ("ARC0340", Severity.WARNING)
    assert d.span is not None and d.span.text == "bn: batchnorm"
    assert domain(archlang.compile(ONE).program, "train").set.is_empty()
    assert not domain(archlang.compile(ONE).program).set.is_empty()


def test_a_handful_at_most() -> None:
    lines = "\n".join(f"    y{i} = x{i} -> maxpool(2)" for i in range(9))
    inputs = ", ".join(f"x{i}: [B, 3, H{i}, 8]" for i in range(9))
    text = f"block net()({inputs}) {{\n{lines}\n    return {', '.join(f'y{i}' for i in range(9))}\n}}\n"
    assert len(findings(archlang.compile(text).program)) == 5


def test_sizes_that_hold_by_form_do_not_load_islpy() -> None:
    code = (
        "import sys, archlang\n"
        "text = 'block net()(x: [B, 3, H, W]) { return x -> a: conv(8, 3, padding=1, bias=false) -> n: batchnorm }'\n"
        "assert archlang.check(text) == []\n"
        "assert 'islpy' not in sys.modules and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
