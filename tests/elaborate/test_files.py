"""`use` of library, relative and zoo files; extern blocks; initial values; entries."""

from __future__ import annotations

from pathlib import Path

import pytest

from archlang.elaborate import check, elaborate, load
from archlang.report.diagnostic import ArchError, Source
from archlang.syntax.source import read_file
from tests.elaborate.helpers import done, error, ir, keys, root, shapes

B = """\
use std.schemes: residual
let k = 3
fn c(w: int) => conv(w, k, padding=1)
block half(w: int = 4)(x) { return x -> c: c(w) }
"""
D = "use ..b: half as h\nblock e(x) { return x -> h: h(6) }\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.arch").write_text(B)
    (tmp_path / "sub/d.arch").write_text(D)
    return tmp_path


def net(body: str) -> str:
    return f"\nblock net(x: [B, 3, H, W]) {{ {body} }}\n"


@pytest.mark.parametrize(
    "use, body, expected",
    [
        ("use .b: half, c as cc", "return x -> u: half -> v: cc(2)", ["u.c", "v"]),
        ("use .b", "return x -> u: b.half(b.k)", ["u.c"]),
        ("use .b as q", "return x -> u: q.half", ["u.c"]),
        ("use .sub.d", "return x -> u: d.e", ["u.h.c"]),
        ("use .sub.d: e\nuse .b: half", "return x -> u: e -> v: half", ["u.h.c", "v.c"]),
        ("use std.schemes", "return x -> u: schemes.residual(conv(3, 1))", ["u.f"]),
        ("use std.schemes: residual as res", "return x -> u: res(conv(3, 1))", ["u.f"]),
        ("use std.init: he", "return x -> u: conv(3, 1, init=he)", ["u"]),
        ("use zoo.resnet: basic", "return x -> u: basic(3)", ["u.conv1", "u.bn1", "u.conv2", "u.bn2"]),
    ],
)
def test_use(use: str, body: str, expected: list[str], folder: Path) -> None:
    assert keys(use + net(body), folder=folder) == expected


@pytest.mark.parametrize(
    "use, body, code, help",
    [
        ("use .b: residual", "return x", "ARC0102", None),  # what a file uses is not its own
        ("use .b", "return x -> b.residual(relu)", "ARC0102", None),
        ("use .b: halve", "return x", "ARC0102", "did you mean `half`?"),
        ("use .c", "return x", "ARC0106", "the files there are b"),
        ("use .sub.e", "return x", "ARC0106", "the files there are d"),
        ("use std.scheme", "return x", "ARC0106", "did you mean `schemes`?"),
        ("use os.path", "return x", "ARC0105", "libraries are `std` and `zoo`; `use .name` is a file in this folder"),
        ("use .b\nlet b = 3", "return x", "ARC0103", None),
    ],
)
def test_use_of_what_is_not_there(use: str, body: str, code: str, help: str | None, folder: Path) -> None:
    found = error(use + net(body), folder=folder)
    assert (found.code, found.help) == (code, help)


def test_a_file_is_loaded_once(folder: Path) -> None:
    (folder / "top.arch").write_text(
        "use .b\nuse .sub.d\nuse .b: half\n" + net("return x -> u: half -> v: d.e -> w: b.half")
    )
    module = load(read_file(folder / "top.arch"))
    names = [g.name for g in elaborate(module).program.graphs]
    assert names == ["half", "half_2", "e", "half_3", "net"]  # one block, three widths of input


def test_a_circle_is_shown_whole(folder: Path) -> None:
    (folder / "b.arch").write_text("use .sub.d: e\n" + B)
    with pytest.raises(ArchError) as caught:
        load(read_file(folder / "b.arch"))
    (found,) = caught.value.diagnostics
    assert found.message == "`use` goes in a circle: b -> d -> b"
    assert found.span is not None and Path(found.span.source.path) == folder / "sub/d.arch"


def test_paths_of_files_are_shown_as_they_were_reached(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    Path("sub/d.arch").write_text(D.replace("h(6)", "hh(6)"))
    found = error("use .sub.d\n" + net("return x -> u: d.e"))
    assert found.span is not None and str(found.span) == "sub/d.arch:2:29"
    library = error("use std.schemes: dense\n" + net("return x -> u: dense(dim=9)"))
    assert [label.span.source.path for label in library.related] == ["std/schemes.arch"]


# -- extern ------------------------------------------------------------------------------------------------------------
FLASH = 'extern block flash(heads: int)(x: [B, T, D]) -> [B, T, D] = "mylib.attention:FlashAttention"\n'


def test_extern() -> None:
    assert ir(FLASH + "block net(x: [B, T, 8]) { return x -> a: flash(4) }") == (
        "input %x: [B, T, 8]\n"
        "child a: extern\n"
        "%a: [B, T, 8] = extern(%x) @a {target='mylib.attention:FlashAttention', args=(('heads', 4),), pure=False}\n"
        "return %a\n"
    )


@pytest.mark.parametrize(
    "body, code",
    [
        ("return x -> a: flash", "ARC0205"),
        ('return x -> a: flash("4")', "ARC0201"),
        ("return (x, x) -> a: flash(4)", "ARC0211"),
        ("return x[0] -> a: flash(4)", "ARC0325"),
    ],
)
def test_extern_is_checked_as_declared(body: str, code: str) -> None:
    assert error(FLASH + f"block net(x: [B, T, 8]) {{ {body} }}").code == code


def test_extern_of_several_results() -> None:
    text = 'extern pure block f(x: [B, D]) -> ([B, D], i64[B]) = "m:F"\nblock net(x: [B, 8]) { return x -> f }'
    assert [str(v.type) for o in root(text).outputs for v in o.values] == ["[B, 8]", "int64[B]"]


# -- initial values ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "init, shown",
    [
        ("zeros", "zeros"),
        ("0.5", "constant(value=0.5)"),
        ("normal(std=0.02)", "normal(std=0.02)"),
        ('kaiming_normal(mode="fan_out")', "kaiming_normal(mode='fan_out')"),
    ],
)
def test_initial_values(init: str, shown: str) -> None:
    for text in (f"return x -> c: conv(4, 1, init={init})", f"weight w: [4, 3, 1, 1] = {init}\nreturn x * w[0]"):
        weights = {**root(text).weights, **{c.path: c.weights[0] for c in root(text).children.values()}}
        (decl,) = weights.values()
        assert str(decl.init) == shown


@pytest.mark.parametrize(
    "init, code",
    [("normal(sdt=1)", "ARC0251"), ("normal(std=-1)", "ARC0252"), ("relu", "ARC0201"), ("eye(3)", "ARC0253")],
)
def test_initial_values_are_checked(init: str, code: str) -> None:
    assert error(f"weight w: [3, 1, 1] = {init}\nreturn x * w").code == code


def test_flags_of_weights() -> None:
    text = "weight a: [3, 1, 1] = ones, nonzero\nweight b: [] = 1, frozen\nbuffer c: i64[] = 0\nreturn x * a * b * c"
    found = root(text).weights
    assert (found["a"].constraint, found["b"].trainable) == ("nonzero", False)
    assert (found["c"].kind, found["c"].dtype) == ("buffer", "int64")


# -- entries -----------------------------------------------------------------------------------------------------------
SEVERAL = """
block part(x) { return relu(x) }
block small(x: [B, 3, H, W]) { return x -> a: conv(1, 1) }
block large(x: [B, 3, H, W]) { return x -> a: conv(2, 1) }
block param(n: int)(x: [B, 3, H, W]) { return x -> a: conv(n, 1) }
block other() = param(3)
"""


def test_the_last_block_that_stands_alone_is_the_entry() -> None:
    assert done(SEVERAL).entry == "other"
    assert shapes(SEVERAL)["a.weight"][0] == 3
    assert shapes(SEVERAL, entry="small")["a.weight"][0] == 1
    assert shapes(SEVERAL, entry="param", n=7)["a.weight"][0] == 7


@pytest.mark.parametrize(
    "entry, args, code",
    [("smal", {}, "ARC0107"), ("part", {}, "ARC0320"), ("param", {}, "ARC0205"), ("small", {"n": 1}, "ARC0202")],
)
def test_entries_that_cannot_be_built(entry: str, args: dict[str, int], code: str) -> None:
    assert error(SEVERAL, entry=entry, **args).code in (code, "ARC0203")


def test_check_elaborates_every_design_and_says_each_thing_once() -> None:
    text = SEVERAL.replace("relu(x)", "rellu(x)") + 'verify "p" part() on [B, 4] { output: [B, 4] }\n'
    text = text.replace("conv(1, 1)", "conv(1)") + 'verify "q" part() on [B, 5] { output: [B, 5] }\n'
    found = check(load(Source("net.arch", text)))
    assert [(d.code, d.span.text) for d in found if d.span] == [("ARC0101", "rellu"), ("ARC0205", "conv(1)")]


# -- reversible blocks run forward -------------------------------------------------------------------------------------
def test_a_reversible_block_returns_its_streams_in_order() -> None:
    text = """
    use std.reversible: coupling
    block net(x: [B, 4, H, W]) {
        a, b = chunk(x, 2, dim=1) -> c: coupling(conv(2, 1), conv(2, 1))
        return concat([a, b], 1)
    }
    """
    assert keys(text) == ["c.f", "c.g"]
    graph = done(text).program.graphs[0]
    assert graph.reversible and len(graph.outputs) == 2


def test_levels_and_context() -> None:
    text = """
    use std.reversible: column
    block level(w: int)(below, above: tensor?) {
        y = below -> down: conv(w, 1)
        if above != none { y = y + (above -> up: conv(w, 1)) }
        return y
    }
    block net(stem: [B, 3, H, W]) {
        c = [stem -> s0: conv(4, 1), stem -> s1: conv(4, 1)]
        return (c; stem) -> col: column([level(4), level(4)]) -> concat(1)
    }
    """
    assert sorted(keys(text)) == [
        "col.0.down",
        "col.0.up",
        "col.1.down",
        "col.alpha0",
        "col.alpha1",
        "s0",
        "s1",
    ]
