"""Example sizes satisfy what a graph requires; example tensors have the declared types."""

from __future__ import annotations

import pytest
import torch

from archlang.inputs import NoSizes, choose_sizes, random_inputs, violated
from archlang.ir.graph import Child, Constraint, Graph, Port, Program, TensorType, Value
from archlang.shapes.dim import Size, symbol

B, C, H, W, T = map(symbol, "BCHWT")


def graph(shape: tuple[Size, ...], constraints: list[Constraint], dtype: str = "float") -> Graph:
    port = Port("x", (Value(TensorType(shape, dtype), "x"),))
    names = tuple(dict.fromkeys(s.as_symbol for s in shape if not isinstance(s, int) and s.as_symbol))
    return Graph("g", "g", None, inputs=[port], constraints=constraints, symbols=names)


def need(left: Size, relation: str, right: Size) -> Constraint:
    return Constraint(left, right, relation, "because", None)


def test_the_usual() -> None:
    assert choose_sizes(graph((B, 3, H, W), []), {}) == {"B": 2, "H": 224, "W": 224}
    assert choose_sizes(graph((B, 3, H, W), []), {"H": 7}) == {"B": 2, "H": 7, "W": 224}
    assert choose_sizes(graph((4, 3), []), {}) == {}


@pytest.mark.parametrize(
    "constraints",
    [
        [need(H, "==", (H // 7) * 7), need(W, "==", (W // 5) * 5)],
        [need(H, ">=", 300)],
        [need(H, "==", 17), need(W, "==", 19)],
        [need(H * W, "==", 196)],
        [need(H, "==", 2 * W)],
        [need(B, "==", (B // 3) * 3)],
        [need(B, "==", (B // 4) * 4), need(H - W, "==", 16)],
    ],
)
def test_what_is_required_is_found(constraints: list[Constraint]) -> None:
    g = graph((B, 3, H, W), constraints)
    sizes = choose_sizes(g, {})
    assert set(sizes) == {"B", "H", "W"}
    assert violated(g, sizes) is None


def test_what_cannot_be_is_said() -> None:
    impossible = need(H, "==", H + 1)
    with pytest.raises(NoSizes) as caught:
        choose_sizes(graph((B, H), [impossible]), {})
    assert caught.value.constraint is impossible
    tight = need(H, ">=", W)
    with pytest.raises(NoSizes):
        choose_sizes(graph((B, H, W), [tight]), {"H": 3, "W": 4})


def test_tensors_have_the_declared_types() -> None:
    kinds = {"float": torch.float32, "float64": torch.float64, "bool": torch.bool, "int64": torch.int64}
    for name, dtype in kinds.items():
        program = Program.of(graph((B, T), [], name))
        (x,) = random_inputs(program, {"B": 2, "T": 5})
        assert x.shape == (2, 5) and x.dtype == dtype


def test_indices_fit_every_embedding() -> None:
    g = graph((B, T), [], "int64")
    g.children["a"] = Child("a", None, "embedding", {"num_embeddings": 3})
    g.children["b"] = Child("b", None, "embedding", {"num_embeddings": 9})
    (x,) = random_inputs(Program.of(g), {"B": 50, "T": 50})
    assert set(x.unique().tolist()) == {0, 1, 2}


def test_lists_of_tensors() -> None:
    g = graph((B, T), [])
    values = tuple(Value(TensorType((B, n)), "p") for n in (1, 2))
    g.inputs.append(Port("p", values, kind="tensors"))
    _, (first, second) = random_inputs(Program.of(g), {"B": 2, "T": 3})
    assert (first.shape, second.shape) == ((2, 1), (2, 2))
