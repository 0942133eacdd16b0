"""What has no text is refused with a code and spans, not emitted."""

from __future__ import annotations

import pytest

from archlang.codegen import generate
from archlang.ir.graph import Child, Node, Value
from archlang.report.codes import CODES
from archlang.report.diagnostic import ArchError, Diagnostic
from archlang.shapes.dim import symbol
from tests.codegen.build import B, Block, H, W, program, span


def refused(block: Block) -> Diagnostic:
    with pytest.raises(ArchError) as caught:
        generate(program(block.graph), source_name="net.arch")
    (found,) = caught.value.diagnostics
    assert found.code in CODES
    return found


def pool(k: int) -> Block:
    """A block whose weight has the same shape whatever `k` is."""
    f = Block(f"pool_{k}", block="pool", line=5, k=k)
    x = f.op("avgpool", f.input(B, 4, H, W), kernel_size=k, stride=1)
    f.returns(f.op("linear", f.op("global_avgpool", x), path="fc", out_features=2))
    return f


def test_one_instance_of_two_codes() -> None:
    r = Block("net")
    x = r.input(B, 4, H, W)
    a = r.call(pool(2).graph, x, path="pool")
    b = r.call(pool(3).graph, x, path="pool")
    r.returns(r.op("add", a, b))
    found = refused(r)
    assert found.code == "ARC0701"
    assert found.span == span(2)
    assert [label.span for label in found.related] == [span(1)]


def test_one_instance_at_two_types_is_fine() -> None:
    """The same code for both types is no conflict."""

    def act(*sizes: int) -> Block:
        f = Block(f"act_{len(sizes)}", block="act", line=5)
        f.returns(f.op("linear", f.input(B, *sizes, 4), path="fc", out_features=4))
        return f

    r = Block("net")
    a = r.call(act().graph, r.input(B, 4, name="a"), path="act")
    b = r.call(act(3).graph, r.input(B, 3, 4, name="b"), path="act")
    r.returns(a)
    r.returns(b)
    text = generate(program(r.graph), source_name="net.arch")
    assert text.count("class Act") == 1
    assert "self.act(b)" in text


def test_size_that_no_input_shows() -> None:
    r = Block("net", line=3)
    x = r.input(B, 4, symbol("H") * symbol("W"))
    r.returns(r.op("reshape", x, shape=[B, 4, H, W]))
    found = refused(r)
    assert found.code == "ARC0703"
    assert found.span == span(3)


@pytest.mark.parametrize("target", ["os", "os:system('x')", "a b:C", "os:", ":C", "lib.mod:import"])
def test_extern_target(target: str) -> None:
    r = Block("net")
    x = r.input(B, 4)
    out = Value(x.type)
    attrs = {"target": target, "args": (), "pure": False}
    r.graph.children["user"] = Child("user", span(7), "extern", attrs)
    r.graph.nodes.append(Node("extern", (x,), (out,), span(7), attrs, "user"))
    r.returns(out)
    found = refused(r)
    assert found.code == "ARC0704"
    assert found.span == span(7)


def test_extern_import() -> None:
    r = Block("net")
    x = r.input(B, 4)
    for i, target in enumerate(("lib.attention:Flash", "other:Flash", "lib.functions:smooth")):
        out = Value(x.type)
        attrs = {"target": target, "args": (("heads", 8), ("name", 'a"b')), "pure": False}
        r.graph.children[f"user{i}"] = Child(f"user{i}", span(7), "extern", attrs)
        r.graph.nodes.append(Node("extern", (x,), (out,), span(7), attrs, f"user{i}"))
        x = out
    r.returns(x)
    text = generate(program(r.graph), source_name="net.arch")
    assert "from lib.attention import Flash\n" in text
    assert "from other import Flash as Flash2\n" in text
    assert "self.user1 = Flash2(heads=8, name='a\"b')" in text
    assert "smooth(" in text and "self.user2" not in text
