"""Items and statements: every form of the language, and the tour's own text."""

from __future__ import annotations

import pytest

from archlang.report.diagnostic import ArchError
from archlang.syntax import tree

from .helpers import body, module, nodes, sketch

TOUR = """## Deep Residual Learning (He et al., 2015), torchvision layout.
use std.init

block bottleneck(width: int, stride: int = 1)(x) {
    let out = 4 * width
    y = x -> conv1: conv(width, 1, bias=false)                    -> bn1: batchnorm -> relu
          -> conv3: conv(out, 1, bias=false)                      -> bn3: batchnorm
    if stride != 1 or x.channels != out {
        x = x -> downsample: (conv(out, 1, stride, bias=false) -> batchnorm)
    }
    return (y + x) -> relu
}

block resnet(depths: [int] = [3, 4, 6, 3], classes: int = 1000)(image: [B, 3, H, W]) -> [B, classes] {
    x = image -> conv1: conv(64, 7, stride=2, padding=3, bias=false) -> bn1: batchnorm -> relu
              -> maxpool(3, stride=2, padding=1)
    for s, depth in enumerate(depths) {
        x = x -> "layer{s + 1}": chain([bottleneck(64 * 2**s, stride = if i == 0 and s > 0 then 2 else 1)
                                        for i in 0..depth])
    }
    return x -> global_avgpool -> fc: linear(classes)
}

verify "ResNet-50" resnet() on f32[B, 3, 224, 224] {
    params == 25_557_032
    macs   in 4.08G .. 4.12G          # per image
    output :  [B, 1000]
}

## Every layer sees the concatenation of all earlier outputs (Huang et al., 2016).
block dense(_ layers: [module], dim: int = 1)(x) {          # `_`: layers keep the paths the caller gave them
    seen = [x]
    for layer in layers { seen += [layer(concat(seen, dim))] }
    return concat(seen, dim)
}

block fractal(columns: int, make: block, join: block = mean)(x) -> tensors { }

block hyper(layer: module, n: int, index: int, dynamic: bool = true)(h: [..., n, D]) -> [..., n, D] {
    weight beta : [n]        = ones
    weight alpha: [n, 1 + n] = init.columns(init.unit(n, index % n), init.eye(n))
    a, b = alpha, beta
    if dynamic {
        weight s_a: [] = 0.01
        weight s_b: [] = 0.01
        z = h -> layernorm
        a = alpha + s_a * tanh(z -> read:  linear(1 + n, bias=false, init=zeros))
        b = beta  + s_b * tanh(z -> write: linear(1, bias=false, init=zeros) -> squeeze(-1))
    }
    m = einsum("... n d, ... n k -> ... k d", h, a)
    y = layer(m[..., 0, :])
    return m[..., 1:, :] + einsum("... d, ... n -> ... n d", y, b)
}

## RevNet / i-RevNet / Reformer coupling.
reversible block coupling(f: module, g: module)(a, b) {
    a += f(b)
    b += g(a)
}

reversible block column(levels: [module])(c: tensors; stem) {
    for l in 0..len(c) {
        weight gamma as "alpha{l}": [1, c[l].channels, 1, 1] = 0.5, nonzero
        below = if l == 0 then stem else c[l - 1]
        above = if l + 1 < len(c) then c[l + 1] else none
        c[l] = gamma * c[l] + levels[l](below, above)
    }
}

reversible block silo(down: block, up: block)(p: tensors) {
    for j in reversed(1..len(p)) { for i in 0..j          { p[j] += p[i] -> down(j - i, p[j].channels) } }
    for j in 0..len(p)           { for i in j + 1..len(p) { p[j] += p[i] -> up(i - j, p[j].channels) } }
}

block crevnet(make: block, predictor: module)(frame: [B, C, H, W]) {
    codec = space_to_depth(2) -> halves -> chain([coupling(make(), make()) for _ in 0..8])
    return frame -> codec -> predictor -> ~codec
}

extern block flash(heads: int)(x: [B, T, D]) -> [B, T, D] = "mylib.attention:FlashAttention"
"""


def test_the_tour() -> None:
    parsed = module(TOUR)
    names = [getattr(item, "name", type(item).__name__) for item in parsed.items]
    assert names == [
        "Use", "bottleneck", "resnet", "Verify", "dense", "fractal", "hyper", "coupling", "column", "silo", "crevnet",
        "flash",
    ]  # fmt: skip
    assert parsed.doc == "Deep Residual Learning (He et al., 2015), torchvision layout."
    blocks = {item.name: item for item in parsed.items if isinstance(item, tree.Block)}
    assert blocks["dense"].doc.startswith("Every layer sees") and blocks["coupling"].doc.startswith("RevNet")
    assert blocks["resnet"].doc == "" and blocks["column"].reversible and not blocks["resnet"].reversible
    assert blocks["dense"].params[0].transparent and [p.context for p in blocks["column"].inputs or ()] == [False, True]
    assert isinstance(blocks["dense"].params[0].type, tree.ListType)
    assert isinstance(blocks["resnet"].result, tree.TensorTypeExpr)
    assert [len(b.body) for b in (blocks["bottleneck"], blocks["silo"], blocks["coupling"])] == [4, 2, 2]
    assert [text for _, text in parsed.comments if not text.startswith("##")] == [
        "# per image", "# `_`: layers keep the paths the caller gave them",
    ]  # fmt: skip


def test_every_span_holds_its_own_text() -> None:
    """A node lies within its parent, starts and ends on a visible character, and a name's span is the name."""
    parsed = module(TOUR)
    seen = 0
    for node in nodes(parsed):
        seen += 1
        if not isinstance(node, tree.Module):
            text = node.span.text
            assert text and text == text.strip(), node
        if isinstance(node, tree.Name):
            assert node.span.text == node.id
        if isinstance(node, tree.Binary):
            assert node.op_span.text.split() == node.op.split() or node.op == "and"
        name_span = getattr(node, "name_span", None)
        if name_span is not None:
            assert name_span.text == node.name  # type: ignore[attr-defined]
        for child in nodes(node):
            assert node.span.start <= child.span.start and child.span.end <= node.span.end
    assert seen > 500


@pytest.mark.parametrize(
    ("text", "level", "path", "alias", "names"),
    [
        ("use std.init", 0, ("std", "init"), None, []),
        ("use zoo.resnet as r", 0, ("zoo", "resnet"), "r", []),
        ("use .sibling: a, b as c", 1, ("sibling",), None, [("a", "a"), ("b", "c")]),
        ("use ..x.y", 2, ("x", "y"), None, []),
        ("use ...x", 3, ("x",), None, []),
        ("use .....x: a,\n  b", 5, ("x",), None, [("a", "a"), ("b", "b")]),
    ],
)
def test_use(text: str, level: int, path: tuple[str, ...], alias: str | None, names: list[tuple[str, str]]) -> None:
    (use,) = module(text).items
    assert isinstance(use, tree.Use)
    assert (use.level, use.path, use.alias, [n[:2] for n in use.names]) == (level, path, alias, names)
    assert use.span.text == text


def test_block_forms() -> None:
    def block(text: str) -> tree.Block:
        item = module(text).items[0]
        assert isinstance(item, tree.Block)
        return item

    one = block("block swish(x) { return x * sigmoid(x) }")
    assert one.params == () and [p.name for p in one.inputs or ()] == ["x"]
    alias = block("block resnet50(classes: int = 1000) = resnet([3, 4, 6, 3], classes)")
    assert alias.inputs is None and isinstance(alias.alias, tree.Call) and [p.name for p in alias.params] == ["classes"]
    bare = block("block net = f(3) -> g")
    assert bare.params == () and isinstance(bare.alias, tree.Flow)
    empty = block("block table(n: int)() -> (tensor, [B]) { }")
    assert empty.inputs == () and isinstance(empty.result, tree.TupleType)
    star = block("block f(*xs: tensor?, m: A <-> B)(y) { }")
    assert star.params[0].star and sketch(star.params[0].type) == ("NamedType", "tensor", True)
    assert isinstance(star.params[1].type, tree.ArrowType) and star.params[1].type.arrow == "<->"


@pytest.mark.parametrize("source", ["A", "[B, 8]", "f32[B, 8]", "(tensor, [B, n + 1])", "[B, H // 2]?"])
@pytest.mark.parametrize("arrow", ["<->", ">->", "->"])
def test_lists_of_arrows(source: str, arrow: str) -> None:
    """As the arrow alone, between brackets."""
    if source.endswith("?"):
        with pytest.raises(ArchError):
            module(f"block f(m: [{source} {arrow} B])(y) {{ }}")
        return
    item = module(f"block f(m: [{source} {arrow} [B, 2 * n]], k: {source} {arrow} [B, 2 * n])(y) {{ }}").items[0]
    assert isinstance(item, tree.Block)
    many, one = (p.type for p in item.params)
    assert isinstance(many, tree.ListType) and sketch(many.element) == sketch(one)


def test_an_arrow_between_sizes() -> None:
    with pytest.raises(ArchError) as caught:
        module("block f(m: [n + 1 <-> B])(y) { }")
    assert caught.value.diagnostics[0].code == "ARC0038"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("int", ("NamedType", "int", False)),
        ("fn", ("NamedType", "fn", False)),
        ("block?", ("NamedType", "block", True)),
        ("[int]", ("ListType", ("NamedType", "int", False), False)),
        ("[[module]]?", ("ListType", ("ListType", ("NamedType", "module", False), False), True)),
        ("[(int, float)]",
         ("ListType", ("TupleType", (("NamedType", "int", False), ("NamedType", "float", False))), False)),
        ("[tensor?]", ("ListType", ("NamedType", "tensor", True), False)),
        ("[fn]", ("ListType", ("NamedType", "fn", False), False)),
        ("[n]", ("TensorTypeExpr", None, ("n",), False)),
        ("[]", ("TensorTypeExpr", None, (), False)),
        ("f32[B, 2 * n]?", ("TensorTypeExpr", "f32", ("B", ("*", 2, "n")), True)),
        ("[..., D]", ("TensorTypeExpr", None, (("Ellipsis",), "D"), False)),
        ("[f32[B]]", ("ListType", ("TensorTypeExpr", "f32", ("B",), False), False)),
        ("[B] >-> [C]",
         ("ArrowType", ">->", ("TensorTypeExpr", None, ("B",), False), ("TensorTypeExpr", None, ("C",), False))),
    ],
)  # fmt: skip
def test_types(text: str, form: object) -> None:
    item = module(f"block f(p: {text})(x) {{ }}").items[0]
    assert isinstance(item, tree.Block)
    assert sketch(item.params[0].type) == form
    assert item.params[0].type is not None and item.params[0].type.span.text == text


def test_extern() -> None:
    item = module('extern pure block f(n: int)(x: [B]) -> [B] = "m:C"').items[0]
    assert isinstance(item, tree.Extern) and item.pure and item.target.parts == ("m:C",)


def test_functions_and_docs() -> None:
    text = "# licence\n## The file.\n\n## Doubles.\n##   Twice.\n"
    text += "fn twice(x: int, by = 2) => x * by\n\nfn g(x) {\n  let y = x\n  return y\n}\n"
    parsed = module(text)
    twice, g = parsed.items
    assert isinstance(twice, tree.Function) and isinstance(g, tree.Function)
    assert parsed.doc == "The file." and twice.doc == "Doubles.\n  Twice." and g.doc == ""
    assert isinstance(twice.body[0], tree.Return) and [type(s) for s in g.body] == [tree.Let, tree.Return]
    nested = body("  ## inner\n  fn f(a) => a\n  return f(x)")
    assert isinstance(nested[0], tree.Function) and nested[0].doc == "inner"


def test_statements() -> None:
    text = """
    weight w as "a{l}": f32[1, c] = 0.5, nonzero, frozen
    buffer b: []
    new s = e
    emit logits = y
    assert c, "message"
    assert c
    (a, b), *c = f(x)
    p[j] /= 2
    if a { } else if b { y = 1 } else { y = 2 }
    for i, (x, y) in enumerate(xs) { }
    return x, name=y, training aux=z, training w
    """
    weight, buffer, new, emit, message, plain, unpack, divide, choice, loop, returned = body(text)
    assert (weight.kind, weight.name, weight.flags, weight.type.dtype) == ("weight", "w", ("nonzero", "frozen"), "f32")
    assert weight.label.parts[0] == "a" and sketch(weight.init) == 0.5
    assert (buffer.kind, buffer.label, buffer.init, buffer.flags) == ("buffer", None, None, ())
    assert (new.name, emit.name) == ("s", "logits")
    assert message.message.parts == ("message",) and plain.message is None
    assert sketch(unpack.target) == ("TupleDisplay", (("TupleDisplay", ("a", "b"), ()), ("Star", "c")), ())
    assert divide.op == "/" and isinstance(divide.target, tree.Index)
    assert isinstance(choice.otherwise[0], tree.If) and len(choice.otherwise[0].otherwise) == 1
    assert sketch(loop.target) == ("TupleDisplay", ("i", ("TupleDisplay", ("x", "y"), ())), ())
    assert [(i.name, i.training) for i in returned.items] == [
        (None, False), ("name", False), ("aux", True), (None, True),
    ]  # fmt: skip


def test_claims() -> None:
    text = """verify "x" net(3).trunk on f32[B, 3], i64[B] {
        params == 25.6M +- 1%
        a.params <= 0.75 * b.params
        macs in 1..2; output: ([B, 1000], [B])
        valid for H % 32 == 0 and H >= 32
        reversible(x, y)
    }"""
    (verify,) = module(text).items
    assert isinstance(verify, tree.Verify) and len(verify.inputs) == 2 and verify.title is not None
    kinds = [(c.kind, c.op, sketch(c.left), sketch(c.right), sketch(c.tolerance)) for c in verify.claims]
    assert kinds[0] == ("compare", "==", "params", 25_600_000, 0.01)
    assert kinds[1][:2] == ("compare", "<=") and kinds[2][:2] == ("compare", "in")
    assert [c.kind for c in verify.claims[3:]] == ["type", "valid", "call"]
    assert isinstance(verify.claims[3].type, tree.TupleType)
