"""500 random valid specs: the generated module equals the interpreter bit for bit, and nothing is lost on the way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings

import archlang
from archlang.interpret import Interpreter
from archlang.ir.serialize import from_json, to_json
from archlang.ir.text import to_text
from tests.random_specs.strategy import SIZE, Spec, specs

torch = pytest.importorskip("torch")


EXAMPLES = 500
LINTED = 25

# Found by more examples than a test run has: a run of compositions without weights.
REPEATED = Spec(
    """
    block net()(x: [B, 8, H, W]) {
        m = chain([chain([relu for i in 0..1]) for i in 0..6])
        return m(m(x))
    }
    """,
    (8,),
)

# A pass that writes nothing is no loop.
NOTHING = Spec("block net()(x: [B, 8, H, W]) { return x -> chain([identity for i in 0..3]) }", (8,))


def flat(result: Any) -> list[Any]:
    if isinstance(result, torch.Tensor):
        return [result]
    return [t for item in result for t in flat(item)]


def randomise(module: Any) -> dict[str, Any]:
    """Random weights and statistics, so that nothing is trivially zero or one."""
    state = module.state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) * 0.5 + (0.5 if name.endswith("running_var") else -0.2))
    return state


@pytest.mark.long
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@example(spec=REPEATED)
@example(spec=NOTHING)
@given(specs())
def test_generated_module_equals_the_interpreter(spec: Spec) -> None:
    compiled = archlang.compile(spec.text, entry="net")
    module = archlang.build(spec.text, entry="net")
    torch.manual_seed(0)
    state = randomise(module)
    inputs = [torch.randn(2, c, SIZE, SIZE) for c in spec.channels]
    interpreter = Interpreter(compiled.program)
    with torch.no_grad():
        for training in (False, True):
            module.train(training)
            before = {k: v.clone() for k, v in state.items()}
            torch.manual_seed(1)
            expected = flat(interpreter.run(inputs, before, training=training))
            torch.manual_seed(1)
            actual = flat(module(*inputs))
            assert len(actual) == len(expected)
            for a, e in zip(actual, expected, strict=True):
                assert torch.equal(a, e)
            for key, tensor in module.state_dict().items():
                assert torch.equal(tensor, before[key]), f"buffer {key} after a {training=} step"
    text = to_text(compiled.program)
    assert to_text(from_json(to_json(compiled.program))) == text


@pytest.mark.long
def test_generated_text_passes_the_linters(tmp_path: Path) -> None:
    texts: list[str] = []

    @settings(max_examples=LINTED, deadline=None, derandomize=True, database=None)
    @given(specs())
    def collect(spec: Spec) -> None:
        texts.append(archlang.compile(spec.text, entry="net").source)

    collect()
    for number, text in enumerate(texts):
        (tmp_path / f"net{number}.py").write_text(text, encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    for command in (
        # A random spec may compare a wire with itself.
        [*ruff, "check", "--isolated", "--ignore", "PLR0124", "."],
        [*ruff, "format", "--isolated", "--check", "."],
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "."],
    ):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
