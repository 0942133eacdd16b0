"""Which keys of a spec and of a checkpoint agree, and which one was probably meant where they do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from os.path import commonprefix

from archlang.ir.walk import Entry

__all__ = ["Comparison", "Missing", "Unexpected", "compare", "removable_prefix"]

Shape = tuple[int, ...]
CLOSE = 0.6  # ratio from which two keys are called near
SHORT_LIST = 6  # candidates of a rough ranking that are compared in full
WINDOW = 150  # candidates that are ranked: where there are more, those about as far down the list


@dataclass(frozen=True, slots=True)
class Missing:
    """A key that only the spec has, and the nearest of those that only the checkpoint has."""

    entry: Entry
    nearest: str | None


@dataclass(frozen=True, slots=True)
class Unexpected:
    """A key that only the checkpoint has, and the nearest of the spec's."""

    key: str
    shape: Shape
    nearest: Entry | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `load_state_dict(strict=True)` would say, with near misses. `counters`: absent `num_batches_tracked`."""

    agreeing: int
    missing: Sequence[Missing]
    unexpected: Sequence[Unexpected]
    misshaped: Sequence[tuple[Entry, Shape]]
    counters: int

    @property
    def equal(self) -> bool:
        return not (self.missing or self.unexpected or self.misshaped)


def compare(entries: Iterable[Entry], shapes: Mapping[str, Shape]) -> Comparison:
    """Compares by name, then by shape. torch fills in absent `num_batches_tracked`, so that these are only counted."""
    spec = {e.key: e for e in entries if e.decl.persistent}
    unexpected = {key: shape for key, shape in shapes.items() if key not in spec}
    missing = {key: e for key, e in spec.items() if key not in shapes}
    counters = [key for key in missing if key.rpartition(".")[2] == "num_batches_tracked"]
    if not any(key.rpartition(".")[2] == "num_batches_tracked" for key in shapes):
        for key in counters:
            del missing[key]
    else:
        counters = []
    both = [(e, shapes[key]) for key, e in spec.items() if key in shapes]
    misshaped = [(e, shape) for e, shape in both if e.decl.shape != shape]
    there = _Candidates(unexpected)
    lacking = _Candidates({key: e.decl.shape for key, e in missing.items()})
    anywhere = _Candidates({key: e.decl.shape for key, e in spec.items()})
    return Comparison(
        len(both) - len(misshaped),
        [
            Missing(e, there.nearest(key, e.decl.shape, at))
            for at, (key, e) in zip(_places(len(missing)), missing.items(), strict=True)
        ],
        [
            Unexpected(key, shape, spec.get(lacking.nearest(key, shape, at) or anywhere.nearest(key, shape, at) or ""))
            for at, (key, shape) in zip(_places(len(unexpected)), unexpected.items(), strict=True)
        ],
        misshaped,
        len(counters),
    )


def removable_prefix(entries: Iterable[Entry], shapes: Mapping[str, Shape]) -> str | None:
    """A first segment common to all of a checkpoint's keys (`module.`) without which more of them agree."""
    first = {key.partition(".")[0] + "." for key in shapes if "." in key}
    if len(first) != 1 or not all("." in key for key in shapes):
        return None
    (prefix,) = first
    spec = {e.key for e in entries}
    now = sum(key in spec for key in shapes)
    then = sum(key.removeprefix(prefix) in spec for key in shapes)
    return prefix if then > now else None


class _Candidates:
    """Keys to look among: those of the same shape first."""

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._all = [(key, key[::-1]) for key in shapes]
        self._by_shape: dict[Shape, list[tuple[str, str]]] = {}
        for key, shape in shapes.items():
            self._by_shape.setdefault(shape, []).append((key, key[::-1]))

    def nearest(self, key: str, shape: Shape, at: float) -> str | None:
        """The nearest one, if any is near. `at` in [0, 1]: how far down its own list the key stands."""
        same = _best(key, _about(self._by_shape.get(shape, ()), at))
        return same if same is not None else _best(key, _about(self._all, at))


def _places(n: int) -> list[float]:
    return [i / n for i in range(n)]


def _about(candidates: Sequence[tuple[str, str]], at: float) -> Sequence[tuple[str, str]]:
    first = round(at * len(candidates)) - WINDOW // 2
    first = max(0, min(first, len(candidates) - WINDOW))
    return candidates[first : first + WINDOW]


def _best(key: str, candidates: Sequence[tuple[str, str]]) -> str | None:
    """A rough ranking by common beginnings and ends, then a full comparison of the first few."""
    backwards = key[::-1]

    def rough(candidate: tuple[str, str]) -> float:
        text, reverse = candidate
        shared = len(commonprefix((key, text))) + len(commonprefix((backwards, reverse)))  # noqa: RUF071 - by character
        return min(shared, len(key), len(text)) / max(len(key), len(text), 1)

    def full(text: str) -> tuple[float, float]:
        ratio = SequenceMatcher(None, key, text, autojunk=False).ratio()
        return ratio + 0.1 * _shared_segments(key.split("."), text.split(".")), ratio

    few = sorted(candidates, key=rough, reverse=True)[:SHORT_LIST]
    rated = [(*full(text), text) for text, _ in few]
    _, ratio, text = max(rated, key=lambda item: item[0], default=(0.0, 0.0, ""))
    return text if ratio >= CLOSE else None


def _shared_segments(a: Sequence[str], b: Sequence[str]) -> int:
    """Equal segments at the beginning and at the end: `stages.2.0.conv` is `layer3.0.conv`, not `layer3.20.conv`."""
    n = min(len(a), len(b))
    head = next((i for i in range(n) if a[i] != b[i]), n)
    tail = next((i for i in range(n) if a[-1 - i] != b[-1 - i]), n)
    return min(head + tail, n)
