"""The largest of several sizes, of which it may depend on the symbols which one that is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from archlang.records import dataclass
from archlang.shapes.dim import Size, at_least, size_str, substitute

__all__ = ["Largest"]

LIMIT = 256  # options
PRODUCT = 32  # options of a sum of two maxima, of which each sum may have more than the one before


@dataclass(frozen=True, slots=True)
class Largest:
    """The maximum of `options`, none of which is known to be at most another one. One int where all are ints.

    No options: undecided, because there would be too many of them (a sum of maxima has their product).
    """

    options: tuple[Size, ...]

    @staticmethod
    def of(sizes: Iterable[Size]) -> Largest:
        return _with((), sizes)

    def __add__(self, other: Largest | Size) -> Largest:
        """Sums of the options; exact, since a sum of two maxima is the maximum of the sums."""
        others = other.options if isinstance(other, Largest) else (other,)
        if not self.options or not others or (len(self.options) * len(others) > PRODUCT and len(others) > 1):
            return Largest(())
        return Largest.of(a + b for a in self.options for b in others)

    def __or__(self, other: Largest) -> Largest:
        """The larger of the two."""
        if not self.options or not other.options:
            return Largest(())
        return _with(self.options, other.options)

    def at(self, sizes: Mapping[str, Size]) -> Largest:
        return Largest.of(substitute(size, sizes) for size in self.options) if self.options else self

    @property
    def known(self) -> int | None:
        """The number, where no symbol is left."""
        return self.options[0] if len(self.options) == 1 and isinstance(self.options[0], int) else None

    def __str__(self) -> str:
        if not self.options:
            return "depends on the sizes in too many ways"
        texts = [size_str(size) for size in self.options]
        return texts[0] if len(texts) == 1 else f"max({', '.join(texts)})"


def _with(known: tuple[Size, ...], more: Iterable[Size]) -> Largest:
    """The largest of all of them; no two of `known` can be told apart."""
    kept = list(known)
    for size in dict.fromkeys(more):
        if not any(at_least(other, size) for other in kept):
            kept = [other for other in kept if not at_least(size, other)]
            kept.append(size)
        if len(kept) > LIMIT:
            return Largest(())
    return Largest(tuple(sorted(kept, key=_text) if len(kept) > 1 else kept))


@lru_cache(maxsize=1 << 12)
def _text(size: Size) -> str:
    return str(size)
