"""Operations on tensors without data, each asked of torch once: what came out is repeated where it is met again."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Remembered"]


class _Unknown(Exception):
    """What an operation reads or gives is more than the form of tensors."""


class Remembered(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, an operation that torch has accepted before, on tensors of the same form, is not run again.

    The meta kernels of many operations are Python and take milliseconds; a network repeats its layers, and a sample of
    sizes its small ones. Not remembered are views, what reads or makes real tensors, and what raises.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known: dict[Hashable, Any] = {}

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        kind = _kind(func)
        try:
            key = (func, *map(_form, args), *((name, _form(value)) for name, value in kwargs.items()))
        except _Unknown:
            kind = "view"
        if kind == "view":
            return func(*args, **kwargs)
        if key not in self.known:
            result = func(*args, **kwargs)
            with suppress(_Unknown):
                self.known[key] = _form(result)
            return result
        return args[0] if kind == "in place" else _made(self.known[key])


@cache
def _kind(func: OpOverload) -> str:
    """`new` where all results are new tensors, `in place` where the first argument is written and returned."""
    schema = func._schema
    shared = [a for a in [*schema.arguments, *schema.returns] if a.alias_info is not None]
    if not shared:
        return "new"
    own = schema.arguments[:1] + schema.returns
    plain = len(schema.returns) == 1 and torch.Tag.inplace_view not in func.tags
    written = all(a.alias_info is not None and a.alias_info.is_write for a in own)
    return "in place" if plain and written and len(shared) == len(own) else "view"


def _form(value: Any) -> Hashable:
    """What a kernel without data can know of a value. Raises _Unknown for tensors with data."""
    if isinstance(value, torch.Tensor):
        if value.device.type != "meta":
            raise _Unknown
        return torch.Tensor, tuple(value.shape), value.stride(), value.dtype
    if isinstance(value, (list, tuple)):
        return tuple(map(_form, value))
    return type(value), value


def _made(form: Any) -> Any:
    """New tensors of a remembered form, alone or in a tuple."""
    if form and form[0] is torch.Tensor:
        _, shape, stride, dtype = form
        return torch.empty_strided(shape, stride, dtype=dtype, device="meta")
    if form and isinstance(form[0], type):
        return form[1]
    return tuple(map(_made, form))
