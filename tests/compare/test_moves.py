"""`archc diff`: modules under new paths, at any depth, are the same modules."""

from __future__ import annotations

import random
import re
import time
from itertools import chain

import archlang
from archlang.compare.changes import Change, DesignDiff, KeyChange, Move
from archlang.compare.designs import compare_programs
from archlang.compare.moves import find_moves, renamed
from archlang.compare.text import as_markdown, as_text
from archlang.ir.graph import Program

UNIT = """
block unit(n: int)(x) { return x -> conv: conv(n, 3, padding=1, bias=false) -> bn: batchnorm -> relu }
block holder(inner: module)(x) { return x -> inner }
"""


def program(flow: str, parts: str = UNIT) -> Program:
    return archlang.compile(f"{parts}block net(x: [B, 8, H, W]) {{ return x -> {flow} }}\n", "net").program


def diff(old: str, new: str, parts: str = UNIT) -> DesignDiff:
    return compare_programs(program(old), program(new, parts), "net", {"B": 1, "H": 8, "W": 8})


def test_a_module_that_went_three_levels_down_and_back() -> None:
    flat, deep = "a: unit(8) -> b: unit(4)", "one: holder(holder(holder(unit(8)))) -> b: unit(4)"
    down, up = diff(flat, deep), diff(deep, flat)
    assert down.moves == (Move("a", "one.inner.inner.inner"),)
    assert up.moves == (Move("one.inner.inner.inner", "a"),)
    assert not down.keys and not up.keys and not down.equal
    (block,) = down.blocks
    assert [(c.kind, c.what) for c in block.changes] == [("added", "`one`"), ("rewired", "`b`")]


def test_what_changed_inside_of_a_moved_block() -> None:
    found = diff("a: unit(8)", "one: holder(unit(8))", UNIT.replace("relu", "gelu"))
    assert found.moves == (Move("a", "one.inner"),)
    inner = {b.path: b.changes for b in found.blocks}["one.inner"]
    assert [(c.kind, c.what.split()[0]) for c in inner] == [
        ("removed", "`relu`"), ("added", "`gelu`"), ("rewired", "`return`")
    ]  # fmt: skip


def test_a_block_that_moved_and_became_wider() -> None:
    """Block and label tell which it is."""
    found = diff("a: unit(8)", '"stage.a": unit(16)')
    assert found.moves == (Move("a", "stage.a"),)
    assert KeyChange("stage.a.bn.weight", "[8]", "[16]") in found.keys
    assert all(k.old and k.new for k in found.keys if not k.key.endswith("num_batches_tracked"))
    assert Change("changed", "parameters", "n=8", "n=16") in [c for b in found.blocks for c in b.changes]


def test_of_equal_modules_the_one_with_the_name_moved() -> None:
    found = diff("a: unit(8) -> b: unit(8) -> c: unit(8)", '"s.c": unit(8) -> "s.a": unit(8) -> "s.b": unit(8)')
    assert {(m.old, m.new) for m in found.moves} == {("a", "s.a"), ("b", "s.b"), ("c", "s.c")}


def test_a_list_that_moved_is_one_line() -> None:
    found = diff("body: chain([unit(8) for _ in 0..40])", "deep: holder(chain([unit(8) for _ in 0..40]))")
    assert not found.keys
    assert found.moves == (Move("body", "deep.inner"),)
    loops = ('for i in 0..6 { x = x -> "PLACE.{i}": unit(8) }\nreturn x' for _ in range(2))
    sides = [f"{UNIT}block net(x: [B, 8, H, W]) {{\n{loop.replace('PLACE', place)}\n}}\n"
             for loop, place in zip(loops, ("a", "stage.b"), strict=True)]  # fmt: skip
    spread = compare_programs(*(archlang.compile(s, "net").program for s in sides), "net", {})
    assert spread.moves == (Move("a.0", "stage.b.0", 6),) and not spread.keys
    from archlang.compare.changes import SpecDiff

    both = SpecDiff("x", "y", designs=(spread,))
    assert "  moved\n    ~ `a.0 .. a.5` -> `stage.b.0 .. stage.b.5`\n" in as_text(both)
    assert "# moved\n~ `a.0 .. a.5` -> `stage.b.0 .. stage.b.5`\n" in as_markdown(both)


def test_what_is_new_did_not_move() -> None:
    found = diff("a: unit(8)", "a: unit(8) -> b: unit(8)")
    assert not found.moves and {k.old for k in found.keys} == {None}
    found = diff("a: unit(8) -> b: unit(4)", "a: unit(8)")
    assert not found.moves and {k.new for k in found.keys} == {None}


def test_state_dicts_load_under_the_new_names() -> None:
    """Layers of distinct widths at random depths: torch's keys of the old network, renamed, are the new one's."""
    draw = random.Random(3)

    def flow(names: list[str]) -> str:
        parts = []
        for i, name in enumerate(names):
            inner = f"unit({i + 2})"
            for _ in range(draw.randrange(4)):
                inner = f"holder({inner})"
            parts.append(f'"{name}": {inner}')
        return " -> ".join(parts)

    for _ in range(8):
        sides = [[draw.choice(["", "s.", "s.t."]) + f"{draw.choice('abc')}{i}" for i in range(4)] for _ in range(2)]
        texts = [f"{UNIT}block net(x: [B, 8, H, W]) {{ return x -> {flow(names)} }}\n" for names in sides]
        old, new = (archlang.build(text, "net").state_dict() for text in texts)
        programs = [archlang.compile(text, "net").program for text in texts]
        moves = find_moves(*programs)
        assert {renamed(k, moves): v.shape for k, v in old.items()} == {k: v.shape for k, v in new.items()}
        assert not compare_programs(*programs, "net", {}).keys


def test_thousands_of_moves() -> None:
    start = time.perf_counter()
    found = diff("a: chain([unit(8) for _ in 0..2000])", "b: chain([unit(8) for _ in 0..1500]) -> c: unit(4)")
    assert time.perf_counter() - start < 20
    assert sum(m.count for m in found.moves) == 1500 or found.moves == (Move("a", "b"),)
    assert not re.search(r"\bb\.", " ".join(k.key for k in found.keys if k.old is None))
    assert len(list(chain(found.keys))) == 500 * 6 + 6
