"""What is remembered of operations on tensors without data is what torch says of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from archlang.certify.remember import Remembered

X = torch.empty(2, 6, 8, 8, device="meta")
Y = torch.empty(2, 6, 8, 8, device="meta", dtype=torch.float64)
CASES: dict[str, Callable[[], Any]] = {
    "one result": lambda: F.conv2d(X, X[:1]),
    "strides": lambda: F.relu(X.transpose(1, 3)),
    "types": lambda: (X + Y, X + 1, X > 0),
    "several results": lambda: torch.var_mean(X, dim=1),
    "a list of results": lambda: torch.split(X, 4, dim=1),
    "none among them": lambda: F.batch_norm(X, None, None, training=True),
    "in place": lambda: torch.empty(3, device="meta").normal_().add_(1).mul_(2),
    "shapes in place": lambda: torch.empty(3, 1, device="meta").squeeze_(1).unsqueeze_(0),
    "views of views": lambda: X.flatten(2).transpose(1, 2)[:, 1:].view(2, 63, 2, 3),
    "made": lambda: (torch.zeros(3, device="meta"), torch.arange(4, device="meta"), X.new_ones(2)),
}


def form(result: Any) -> Any:
    if isinstance(result, torch.Tensor):
        return result.shape, result.stride(), result.dtype, result.device
    return list(map(form, result))


@pytest.mark.parametrize("name", CASES)
def test_the_same_forms_each_time(name: str) -> None:
    expected = form(CASES[name]())
    with Remembered():
        assert [form(CASES[name]()) for _ in range(3)] == [expected] * 3


def test_an_operation_is_run_once() -> None:
    remembered = Remembered()
    with remembered:
        first = F.relu(X)
        known = len(remembered.known)
        again = F.relu(X)
    assert len(remembered.known) == known == 1
    assert first is not again


def test_in_place_gives_the_tensor_itself() -> None:
    x = torch.empty(3, device="meta")
    with Remembered():
        assert all(x.add_(1) is x for _ in range(3))


def test_refusals_are_never_remembered() -> None:
    with Remembered():
        for _ in range(3):
            assert (X + X[:, :1]).shape == X.shape
            with pytest.raises(RuntimeError):
                X + X[:, :2]


def test_tensors_with_data_are_computed() -> None:
    with Remembered():
        assert [(torch.ones(2) * n).tolist() for n in (1, 2)] == [[1, 1], [2, 2]]
        assert [torch.ones(()).add_(n).item() for n in (1, 2)] == [2, 3]
