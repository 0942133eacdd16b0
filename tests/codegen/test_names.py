"""Names in generated files: no class hides an import or a helper, no child an attribute of its module."""

from __future__ import annotations

import ast
from collections import Counter

import pytest
import torch

import archlang
from archlang.codegen.names import FILE_NAMES
from archlang.codegen.rebuilding import defined, imports
from archlang.elaborate.reserved import MODULE_ATTRIBUTES

HELD = sorted({*FILE_NAMES, *imports(), *defined(), "Sequence", "Optional"} - {"annotations", "self"})
# Every import that there is: a region of rebuilt values, and a NamedTuple.
NET = """
reversible block pair(f: module, g: module)(a, b) { a += f(b); b += g(a) }
block net(x: [B, 8, H, W]) {
    a, b = x -> halves -> first: pair(conv(4, 1), conv(4, 1)) -> second: pair(conv(4, 1), conv(4, 1))
    y = a -> own: NAME
    return one=y, two=b
}
"""


def bound(source: str) -> Counter[str]:
    """The names that the top level of a file binds, by how often."""
    names: Counter[str] = Counter()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update((a.asname or a.name).partition(".")[0] for a in node.names)
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names[node.name] += 1
    return names


@pytest.mark.parametrize("body", ["c: conv(4, 1)", "tanh"], ids=["class", "function"])
def test_blocks_that_are_called_like_what_the_file_imports(body: str) -> None:
    for name in HELD:
        source = archlang.compile(NET.replace("NAME", name) + f"block {name}(x) {{ return x -> {body} }}\n").source
        assert "from contextlib import" in source and "NamedTuple" in source
        twice = [n for n, count in bound(source).items() if count > 1]
        assert not twice, f"{name}: {twice}"


@pytest.mark.parametrize("name", ["Any", "rebuild", "nonzero", "Steps"])
def test_nothing_is_imported_for_an_author_s_name(name: str) -> None:
    spec = f"block {name}(x) {{ return x -> c: conv(8, 1) }}\n"
    source = archlang.compile(spec + f"block net(x: [B, 8]) {{ {name} = x -> tanh; return {name} }}\n", "net").source
    assert sorted(bound(source)) == ["Net", "Tensor", "annotations", "nn", "torch"]
    source = archlang.compile(spec + f"block net(x: [B, 8, H]) {{ return x -> a: {name} }}\n", "net").source
    assert "typing" not in source and "contextlib" not in source


def test_a_default_label_is_no_attribute_of_a_module() -> None:
    for name in sorted(MODULE_ATTRIBUTES - {"training"}):
        spec = f"block {name}(x) {{ return x -> c: conv(8, 1) }}\nblock net(x: [B, 8, H, W]) {{ return x -> {name} }}\n"
        program = archlang.compile(spec, "net").program
        assert list(program.root.children) == [f"{name}_"]
    text = "block half(x) { return x -> c: conv(8, 1) }\nblock net(x: [B, 8, H, W]) { return x -> half -> half }\n"
    model = archlang.build(text, "net")
    assert [k for k in model.state_dict() if k.endswith("weight")] == ["half_.c.weight", "half__2.c.weight"]
    assert model(torch.rand(1, 8, 4, 4)).shape == (1, 8, 4, 4)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("block two(half: module)(a) { return a + half(a) }\nblock net(x: [B, 8]) { return x -> c: two(linear(8)) }",
         "half: module"),
        ("block net(x: [B, 8]) { return x -> c: chain([half: linear(8), linear(8)]) }", "half"),
        ("reversible block two(f: module)(a, b) { a += f(b); b += a -> inverse: linear(4) }\n"
         "block net(x: [B, 8]) { return x -> halves(dim=-1) -> c: two(linear(4)) -> concat(dim=-1) }", "inverse"),
        ("reversible block two(f: module)(a, b) { a += f(b); weight statements: [4] = ones; b += a * statements }\n"
         "block net(x: [B, 8]) { return x -> halves(dim=-1) -> c: two(linear(4)) -> concat(dim=-1) }", "statements"),
    ],
)  # fmt: skip
def test_names_that_a_class_has_already_are_refused(text: str, place: str) -> None:
    with pytest.raises(archlang.ArchError) as caught:
        archlang.compile(text, "net")
    (finding,) = caught.value.diagnostics
    assert finding.code == "ARC0407" and finding.span is not None and finding.span.text.startswith(place)


def test_a_label_that_is_the_name_of_a_method_that_nobody_asked_for() -> None:
    """A block that is not declared reversible has no method `inverse` where that is a label."""
    text = """use std.reversible: coupling
    block net(x: [B, 8, H, W]) {
        return x -> halves -> inverse: coupling(conv(4, 1), conv(4, 1)) -> statements: coupling(tanh, tanh) -> concat
    }
    """
    x = torch.rand(2, 8, 3, 3)
    model = archlang.build(text)
    assert model(x).shape == x.shape and isinstance(model.inverse, torch.nn.Module)
    with pytest.raises(archlang.ArchError, match="ARC0407"):
        archlang.build(text + "block back(x: [B, 8, H, W]) { m = net(); return x -> m -> ~m }\n", "back")
