"""`archlang.records` against the standard library: the same classes, written once and decorated by both."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from archlang import records


def classes(dataclass: Callable[..., Any], field: Callable[..., Any]) -> dict[str, Any]:
    @dataclass(frozen=True, slots=True)
    class Plain:
        a: int
        b: str = "b"
        c: tuple[int, ...] = ()

    @dataclass
    class Loose:
        x: int
        y: list[int] = field(default_factory=list)
        z: str = field(default="", compare=False, metadata={"meta": True})

        def __post_init__(self) -> None:
            self.sum = self.x + len(self.y)

    @dataclass(frozen=True, slots=True, eq=False)
    class Node:
        span: int

    @dataclass(frozen=True, slots=True, eq=False)
    class Leaf(Node):
        """Its own text."""

        value: float = 0.5

        def __repr__(self) -> str:
            return f"<{self.value}>"

    @dataclass(eq=False, slots=True, weakref_slot=True, kw_only=True)
    class Late:
        a: int
        b: int = 2

    @dataclass(slots=True, kw_only=True)
    class Later(Late):
        c: int

        def twice(self) -> int:
            return 2 * self.c

    @dataclass
    class Mistake(Exception):
        texts: list[str] = field(default_factory=list)

        def __init__(self, text: str) -> None:
            self.texts = [text]

    return {cls.__name__: cls for cls in (Plain, Loose, Node, Leaf, Late, Later, Mistake)}


OURS = classes(records.dataclass, records.field)
THEIRS = classes(dataclasses.dataclass, dataclasses.field)
for name, cls in OURS.items():  # where pickle looks for them
    cls.__qualname__ = name
    globals()[name] = cls
for cls in THEIRS.values():
    cls.__qualname__ = cls.__name__

CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Plain", (1,), {}),
    ("Plain", (1, "x", (2,)), {}),
    ("Plain", (), {"a": 1, "c": (1, 2)}),
    ("Loose", (1,), {}),
    ("Loose", (1, [2], "z"), {}),
    ("Loose", (1, [2], "other"), {}),
    ("Leaf", (3, 1.5), {}),
    ("Late", (), {"a": 1}),
    ("Later", (), {"a": 1, "b": 3, "c": 4}),
    ("Mistake", ("text",), {}),
]


def pairs() -> list[tuple[Any, Any]]:
    return [(OURS[n](*args, **kwargs), THEIRS[n](*args, **kwargs)) for n, args, kwargs in CALLS]


def test_values_texts_and_fields() -> None:
    for ours, theirs in pairs():
        assert repr(ours) == repr(theirs)
        assert [f.name for f in dataclasses.fields(ours)] == [f.name for f in dataclasses.fields(theirs)]
        mine, its = (
            [(f.default, f.compare, f.metadata, f.kw_only, f.type) for f in dataclasses.fields(x)]
            for x in (ours, theirs)
        )
        assert mine == its
        assert records.field_names(ours) == tuple(f.name for f in dataclasses.fields(theirs))
        assert all(getattr(ours, f.name) == getattr(theirs, f.name) for f in dataclasses.fields(theirs))
        assert type(ours).__match_args__ == type(theirs).__match_args__
        assert getattr(ours, "__slots__", None) == getattr(theirs, "__slots__", None)
        assert hasattr(ours, "__dict__") == hasattr(theirs, "__dict__")


def test_equality_and_hashes() -> None:
    mine, its = zip(*pairs(), strict=True)
    again = [x for x, _ in pairs()]
    for i in range(len(mine)):
        assert [mine[i] == other for other in again] == [its[i] == other for other in [y for _, y in pairs()]]
        assert mine[i] != its[i]
        assert (type(mine[i]).__hash__ is None) == (type(its[i]).__hash__ is None)
    assert hash(mine[0]) == hash(its[0]) == hash(again[0])


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [("Plain", (), {}), ("Plain", (1, 2, 3, 4), {}), ("Late", (1,), {}), ("Plain", (1,), {"d": 1})],
)
def test_wrong_arguments(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    messages = []
    for made in (OURS, THEIRS):
        with pytest.raises(TypeError) as caught:
            made[name](*args, **kwargs)
        messages.append(str(caught.value).rpartition(".")[2])
    assert messages[0] == messages[1]


def test_frozen() -> None:
    for made in (OURS, THEIRS):
        record = made["Plain"](1)
        with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'a'"):
            record.a = 2
        with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'a'"):
            del record.a


def test_copies() -> None:
    for ours, theirs in pairs():
        if isinstance(ours, Exception):
            continue
        for replace in (records.replace, dataclasses.replace):
            name = records.field_names(ours)[0]
            assert (
                getattr(replace(ours, **{name: 9}), name)
                == getattr(dataclasses.replace(theirs, **{name: 9}), name)
                == 9
            )
        for twin in (copy.copy(ours), copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
            assert type(twin) is type(ours)
            assert all(getattr(twin, n) == getattr(ours, n) for n in records.field_names(ours))


def test_methods_of_a_base_are_compiled_for_the_base() -> None:
    fresh = classes(records.dataclass, records.field)
    assert fresh["Leaf"](1, 2.5).value == 2.5  # first of the derived class
    assert fresh["Node"](3).span == 3
    assert fresh["Leaf"](4).span == 4 and fresh["Leaf"](5).value == 0.5


def test_nothing_is_imported() -> None:
    code = "import sys, archlang.records; assert not {'dataclasses', 'inspect', 'typing_extensions'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
