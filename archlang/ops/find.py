"""Finds which file each op stands in: `python -m archlang.ops.find > archlang/ops/homes.py` after an op was added."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from archlang.ops.base import Op, loaded
from archlang.ops.homes import HOMES

__all__ = ["home", "homes"]

_HEAD = '''\
"""Which file of this folder each op stands in. Made by `python -m archlang.ops.find`; a test compares."""

from __future__ import annotations

__all__ = ["HOMES"]

'''


def home(op: Op) -> str:
    """The module of archlang/ops that holds an entry; else "". (Classes made from a table say `abc` themselves.)"""
    modules = (cls.__module__ for cls in type(op).__mro__)
    return next((m for m in modules if m.startswith(f"{__package__}.")), "")


def homes() -> str:
    """The text of `homes.py`."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py"))
    for name in names:
        import_module(f"{__package__}.{name}")
    ours = [(home(op), name) for name, op in loaded().items() if home(op)]
    lines = [f'    "{name}": "{module}",' for module, name in sorted(ours)]
    return "\n".join([f"{_HEAD}HOMES: dict[str, str] = {{", *lines, "}"]) + "\n"


if __name__ == "__main__":
    HOMES.clear()  # what it says now may be wrong
    sys.stdout.write(homes())
