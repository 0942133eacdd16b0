"""`where`: what a declaration promises is not reported, what is not promised is, and callers keep promises."""

from __future__ import annotations

import archlang
from archlang.report.diagnostic import Diagnostic
from archlang.verify.sets import domain

EVEN = "    y = x -> maxpool(2) -> interpolate(scale_factor=2)\n    return x + y\n}\n"


def net(where: str) -> str:
    return f"block net(x: [B, 3, H, W]){where} {{\n{EVEN}"


def only(text: str) -> Diagnostic:
    (found,) = archlang.check(text)
    return found


def test_what_is_promised_is_not_reported() -> None:
    assert archlang.check(net(" where H % 2 == 0 and W % 4 == 0")) == []
    assert archlang.check(net("\n    where H % 2 == 0\n    and 2 <= W and W % 2 == 0")) == []


def test_what_is_left_is_reported() -> None:
    found = only(net(" where H % 3 == 0 and W % 2 == 0"))
    assert found.code == "ARC0341"
    assert found.message.endswith("this needs H mod 2 = 0")
    assert found.label == "at H = 3: 3 is not 2"  # which the declaration promises
    assert found.help == "declare it after the inputs: `where H % 2 == 0`"
    assert archlang.check(net(" where H % 3 == 0 and W % 2 == 0 and H % 2 == 0")) == []


def test_callers_keep_promises() -> None:
    inner = "block inner(x: [B, 3, H, W]) where H % 2 == 0 { return x -> a: conv(8, 1) }\n"
    found = only(inner + "block net(x: [B, 3, H, W]) { return x -> i: inner }\n")
    assert (found.code, found.span and found.span.text) == ("ARC0341", "i: inner")
    assert archlang.check(inner + "block net(x: [B, 3, 2*h, W]) { return x -> i: inner }\n") == []
    found = only(inner + "block net(x: [B, 3, 33, W]) { return x -> i: inner }\n")
    assert found.code == "ARC0326"
    assert found.message == "`inner` is declared where H % 2 == 0, and H is 33"


def test_declarations_without_sizes() -> None:
    assert only("block net(x: [B, H, -H]) { return x }\n").code == "ARC0340"
    assert only("block net(x: [B, H, W]) where H > W and W >= H { return x }\n").code == "ARC0340"


def test_the_set_and_the_generated_module() -> None:
    done = archlang.compile(net(" where H % 4 == 0 and W % 2 == 0"))
    of = domain(done.program)
    assert [of.contains({"B": 1, "H": h, "W": 2}) for h in (2, 4, 6, 8)] == [False, True, False, True]
    assert "For H % 4 == 0 and W % 2 == 0." in done.source


def test_where_is_a_name_elsewhere() -> None:
    assert archlang.check("block net(x: [B, 3]) where B >= 2 { return where(x > 0, x, 0) }\n") == []
