"""The text form, whole."""

from __future__ import annotations

from archlang.ir.graph import Init
from archlang.ir.text import attr_str, graph_text, to_text, value_names
from archlang.shapes.dim import symbol
from tests.ir.build import Build, constant
from tests.ir.nets import borrowed, phases, tower

TOWER = """\
program tower

graph unit: unit() [B]
  input %x: [B, 3]
  weight scale: [3] = constant(value=0.5)
  child fc: linear
    weight weight: [3, 3]
    weight bias: [3]
  %scale: [3] = weight() @scale
  %fc: [B, 3] = linear(%x) @fc {out_features=3, bias=True, in_features=3}
  %tanh: [B, 3] = tanh(%fc)
  %mul: [B, 3] = mul(%tanh, %scale) {reverse=False}
  %add: [B, 3] = add(%x, %mul) {reverse=False}
  return %add

graph tower: tower() [B]
  input %x: [B, 3]
  child units.0: unit x 1000
  %units_0: [B, 3] = call unit(%x) @units.0 x 1000 [B=B]
  return %units_0
"""

NET = """\
graph net: net() [B]
  input xs: tensors(%xs: [B, 4], %xs_2: [B, 4])
  context %c: [B, 4]
  child aux: head
  child head: head
  %y: [B, 4] = add(%xs, %xs_2) {reverse=False}
  %mul: [B, 4] = mul(%y) {other=3, reverse=False} in train
  %tanh: [B, 4] = tanh(%y) in eval
  %z: [B, 4] = phase(%mul, %tanh)
  %aux: [B, 2], %aux_2: [B, 4] = call head(%z, %c) @aux [B=B] in train
  %head: [B, 2], %head_2: [B, 4] = call head(%z, %c) @head [B=B]
  %add: [B, 4] = add(%aux_2, %head_2) {reverse=False} in train
  return tensors(%head, %z), training aux=%aux, training seen=%add
"""


def test_program() -> None:
    assert to_text(tower(1000)) == TOWER


def test_phases_lists_context_and_training_outputs() -> None:
    assert graph_text(phases().root) == NET


def test_the_text_does_not_depend_on_identities() -> None:
    assert to_text(borrowed(), spans=True) == to_text(borrowed(), spans=True)


def test_borrowed_modules_and_requirements() -> None:
    text = to_text(borrowed())
    assert "  borrow f: linear\n    weight weight: [4, 4]\n" in text
    assert "call coupling(%x, %y) @first [B=B] with f=@m, g=@own\n" in text
    net = Build("net", "B H W")
    net.output(net.op("conv", net.input("x", "B 1 H W"), path="c", out_channels=1, kernel_size=5, stride=2))
    text = to_text(net.program(), spans=True)
    assert "  require H >= 5: " in text
    assert "[B, 1, ((H + 1) // 2) - 2, ((W + 1) // 2) - 2] = conv(%x) @c" in text
    assert text.splitlines()[2] == "graph net: net() [B, H, W]  # hand.arch:1:1"


def test_value_names_are_unique_even_against_names_that_look_numbered() -> None:
    net = Build("net", "B")
    x = net.input("x", "B 3")
    values = [net.op("tanh", x, name=name) for name in ("x_2", "x", "x", "x_2", "x_2_2", "", "tanh")]
    names = [value_names(net.graph)[id(v)] for v in (x, *values)]
    assert len(set(names)) == len(names)
    assert names[0] == "x"
    assert names[1] == "x_2"


def test_authors_text_cannot_break_a_line() -> None:
    net = Build("net", "B", note="two\nlines", sizes=(1, (2.5, None)), init=Init("columns", (("a", constant(1.0)),)))
    x = net.input("x", "B 3")
    net.output(net.op("linear", x, path='odd "name"\n', out_features=2))
    text = to_text(net.program())
    assert len(text.splitlines()) == 9
    assert "net(note='two\\nlines', sizes=(1, (2.5, None)), init=columns(a=constant(value=1.0))) [B]\n" in text
    assert "@'odd \"name\"\\n'" in text


def test_attributes() -> None:
    assert attr_str((1,)) == "(1,)"
    assert attr_str((symbol("H") // 2, "H", float("inf"))) == "(H // 2, 'H', inf)"
