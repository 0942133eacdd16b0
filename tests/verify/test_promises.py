"""`where`: what a declaration promises is not reported, what is not promised is, and callers keep promises."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import product

import pytest
import torch

import archlang
from archlang.inputs import violated
from archlang.ir.serialize import from_json, to_json
from archlang.ir.text import to_text
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


CONDITIONS = [
    "H == 8 or H == 12",
    "H % 4 == 0 or (W > 5 and W < 9)",
    "not (H < 3 or W >= 7)",
    "H != 5 and not W == 6",
    "(H == 4 and W == 6) or (H == 6 and W == 4) or B == 2",
    "not (H % 2 == 1 and W % 3 != 0) and H + W <= 11",
    "H * W == 24 or H == W",
    "3 <= H <= 7 or H // 4 == 3",
    "((H)) % 3 == 1 or 0 == 1",
]


@pytest.mark.parametrize("text", CONDITIONS)
def test_conditions_are_what_they_say(text: str) -> None:
    """The set, the interpreter's view of sizes and the generated module, beside Python's own reading."""
    source = f"block net(x: [B, 3, H, W]) where {text} {{ return x -> relu }}\n"
    done = archlang.compile(source)
    of = domain(done.program)
    module = archlang.build(source)
    for b, h, w in product((1, 2), range(1, 14), range(1, 14)):
        expected = eval(text, {"B": b, "H": h, "W": w})
        sizes = {"B": b, "H": h, "W": w}
        assert of.contains(sizes) == expected, sizes
        assert (violated(done.program.root, sizes) is None) == expected
        x = torch.empty(b, 3, h, w, device="meta")
        with nullcontext() if expected else pytest.raises(ValueError, match=r"`net` needs .*, and "):
            module(x)


def test_callers_keep_one_of_several_cases() -> None:
    inner = "block inner(x: [B, 3, H, W]) where H == 8 or H % 16 == 0 { return x -> a: conv(8, 1) }\n"
    middle = "block middle(x: [B, 3, H, W]) { return x -> i: inner }\n"
    found = only(inner + middle)
    assert found.code == "ARC0341"
    assert found.message.endswith("this needs (H = 8 or H mod 16 = 0)")
    assert found.help == "declare it after the inputs: `where (H == 8 or H % 16 == 0)`"
    assert found.notes == ("`inner` is declared where H == 8 or H % 16 == 0",)
    assert archlang.check(inner + middle.replace(" {", " where (H == 8 or H % 16 == 0) {")) == []
    for rows, code in ((8, None), (32, None), (12, "ARC0326"), ("16*h", None), ("4*h", "ARC0341")):
        net = f"block net(x: [B, 3, {rows}, W]) {{ return x -> m: middle }}\n"
        assert [d.code for d in archlang.check(inner + middle + net)] == ([code] if code else []), rows


def test_cases_go_through_the_forms_of_the_graph() -> None:
    program = archlang.compile("block net(x: [B, 3, H]) where H == 8 or (H > 9 and B != 2) { return x }\n").program
    again = from_json(to_json(program))
    assert to_text(again) == to_text(program)
    (before, after) = (p.root.constraints for p in (program, again))
    assert [c.key for c in before] == [c.key for c in after]


def test_too_many_cases() -> None:
    text = " and ".join(f"(H == {n} or W == {n} or B == {n})" for n in range(1, 5))
    assert archlang.check(f"block net(x: [B, H, W]) where ({text}) {{ return x }}\n")[0].code != "ARC0333"
    found = archlang.check(f"block net(x: [B, H, W]) where not not ({text} or H == 1 and W == 2) {{ return x }}\n")
    assert found[0].code == "ARC0333"


def test_what_the_module_says() -> None:
    module = archlang.build("block net(x: [B, 3, 2*h, W]) where h % 4 == 0 { return x -> relu }\n")
    with pytest.raises(ValueError, match=r"`net` needs \(H // 2\) % 4 == 0, and H is 12"):
        module(torch.empty(1, 3, 12, 5))


def test_declared_sizes_are_looked_at() -> None:
    """Where they are not what the input's shape says, and nothing else says so already."""
    text = "block net(x: [B, 3, 16*h, W], y: [B, W + 2, 2*h])WHERE { return x -> relu, y -> relu }\n"
    module = archlang.build(text.replace("WHERE", ""))
    for h, n, d, message in (
        (32, 7, 4, None),
        (33, 7, 4, r"`x` of `net` is declared with 16\*h, and H is 33"),
        (32, 8, 4, r"`y` of `net` is declared with W \+ 2, and N is 8 and W is 5|.* N is 8"),
        (32, 7, 5, r"`y` of `net` is declared with 2\*h, and D is 5"),
    ):
        given = (torch.empty(1, 3, h, 5, device="meta"), torch.empty(1, n, d, device="meta"))
        with nullcontext() if message is None else pytest.raises(ValueError, match=message):
            module(*given)
    assert archlang.compile(text.replace("WHERE", "")).source.count("raise ValueError") == 3
    assert "if h % 16 != 0:" in archlang.compile(text.replace("WHERE", "")).source
    promised = text.replace("WHERE", " where h >= 2 and W % 2 == 1")
    assert archlang.compile(promised).source.count("raise ValueError") == 5
    once = "block net(x: [B, 2*h]) where 2*h % 2 == 0 { return x -> relu }\n"
    assert archlang.compile(once).source.count("raise ValueError") == 1


def test_inner_blocks_leave_it_to_their_callers() -> None:
    inner = "block inner(x: [B, 3, H, W]) where H == 8 or H % 16 == 0 { return x -> a: conv(8, 1) }\n"
    source = archlang.compile(inner + "block net(x: [B, 3, 16*h, W]) { return x -> i: inner }\n").source
    assert source.count("raise ValueError") == 1 and "`x` of `net` is declared with 16*h" in source
    assert "For H == 8 or H % 16 == 0." in source


def test_where_is_a_name_elsewhere() -> None:
    assert archlang.check("block net(x: [B, 3]) where B >= 2 { return where(x > 0, x, 0) }\n") == []
