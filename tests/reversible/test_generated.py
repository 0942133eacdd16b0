"""Generated code of reversible blocks: forward and inverse as the interpreter's, gradients as plain autograd's."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from archlang.codegen import generate
from archlang.interpret import InterpreterModule
from tests.codegen.load import flat, load
from tests.reversible.helpers import program, shape_at
from tests.reversible.streams import stand_in
from tests.reversible.test_inverse import BLOCKS


def wrapped(text: str) -> str:
    """The same network as a block of its own, called by another: the call is a region."""
    head = re.search(r"block net(\([^:)]*: \[module\].*?\)|)\((.*?)\) \{", text)
    assert head is not None
    inputs = head.group(2)
    streams, _, context = inputs.partition(";")
    names = ", ".join(part.split(":")[0].strip() for part in re.findall(r"\w+: \[[^]]*\]", streams))
    more = "".join(f"; {part.split(':')[0].strip()}" for part in re.findall(r"\w+: \[[^]]*\]", context))
    return f"{text}\n        block outer({inputs.replace(';', ',')}) {{ return ({names}{more}) -> inner: net() }}"


def inputs(found: Any, env: dict[str, int]) -> list[Any]:
    torch.manual_seed(0)
    given: list[Any] = []
    for port in found.root.inputs:
        made = [torch.randn(shape_at(v.type.shape, env), dtype=torch.float64) for v in port.values]
        given.append(made if port.kind == "tensors" else made[0])
    return given


@pytest.mark.parametrize("name", BLOCKS)
def test_forward_and_inverse(name: str) -> None:
    found = program(BLOCKS[name], "net")
    module = load(generate(found, source_name="net.arch")).root().double().eval()
    oracle = InterpreterModule(found, torch.float64).eval()
    oracle.load_state_dict(module.state_dict())
    env = dict.fromkeys(found.root.symbols, 4)
    given = inputs(found, env)
    with torch.no_grad():
        ours, theirs = module(*given), oracle(*given)
        for a, b in zip(flat(ours), flat(theirs), strict=True):
            assert torch.equal(a, b)
        results = list(ours) if isinstance(ours, tuple) else [ours]
        context = [g for g, port in zip(given, found.root.inputs, strict=True) if port.context]
        if not hasattr(module, "inverse"):
            assert name == "bijections"  # a size that the results do not tell
            return
        back = flat(module.inverse(*results, *context))
        for a, b in zip(back, flat(oracle.interpreter.inverse([*results, *context], oracle.tensors, sizes=env)),
                        strict=True):  # fmt: skip
            assert torch.equal(a, b)


@pytest.mark.parametrize("name", BLOCKS)
def test_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A region's gradients, in float64, against those of the same modules run one after the other by autograd.

    And those on two streams, which stand in: bit for bit.
    """
    found = program(wrapped(BLOCKS[name]), "outer")
    text = generate(found, source_name="net.arch", overlap=True)
    if name == "bijections":  # undoing a step needs a size that the later streams do not tell
        assert "rebuild" not in text
        return
    assert "rebuild(self.inner" in text
    module = load(text)
    net = module.root().double()
    given = [g.requires_grad_() for g in inputs(found, dict.fromkeys(found.root.symbols, 4))]
    every = [*net.parameters(), *given]

    def gradients() -> list[torch.Tensor | None]:
        loss = sum((t * t.detach().cos()).sum() for t in flat(net(*given)))
        return list(torch.autograd.grad(loss, every, allow_unused=True))  # type: ignore[arg-type]

    ours = gradients()
    stand_in(monkeypatch, module)
    for a, b in zip(ours, gradients(), strict=True):
        assert a is b is None or torch.equal(a, b)
    module.rebuild = lambda inner, *args, **options: tuple(flat(inner(*args)))
    plain = gradients()
    scale = max(float(g.abs().max()) for g in plain if g is not None)
    for a, b in zip(ours, plain, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12 * scale)


def test_the_network_comes_first() -> None:
    text = generate(program(wrapped(BLOCKS["chain"]), "outer"), source_name="net.arch")
    names = re.findall(r"^(?:class|def) (\w+)", text, re.M)
    assert names.index("Outer") + 1 == names.index("rebuild")
    assert "\n# -- Training without stored activations -" in text


PLAIN = """
use std.reversible: coupling
block net(a: [B, 8], b: [B, 8]) { return (a, b) -> body: chain([coupling(linear(8), BRANCH) for _ in 0..3]) }
"""


@pytest.mark.parametrize(("branch", "parts"), [("linear(8)", []), ("drop_path(0.1)", ["Draws"])])
def test_only_what_is_needed_is_copied(branch: str, parts: list[str]) -> None:
    text = generate(program(PLAIN.replace("BRANCH", branch), "net"), source_name="net.arch")
    copied = text[text.index("# -- Training") :]
    assert [name for name in ("Draws", "Carried") if f"class {name}" in copied] == parts
    assert [name for name in ("add", "update", "apply", "new", "jumping") if f"def {name}(" in copied] == ["add"]
    assert len(copied.splitlines()) < 400 + 40 * len(parts)
    assert "_reparametrize_module" not in text
