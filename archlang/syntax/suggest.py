"""Did-you-mean."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["closest", "closest_word"]


def closest_word(word: str, known: Iterable[str]) -> str | None:
    """The known word that is meant by a misspelt one, if there is one near enough."""
    if len(word) > 40:
        return None
    cutoff = 0.75 if len(word) < 5 else 0.7
    near = difflib.get_close_matches(word.lower(), sorted(set(known)), n=1, cutoff=cutoff)
    return near[0] if near and near[0] != word else None


def closest(word: str, known: Iterable[str]) -> str | None:
    near = closest_word(word, known)
    return f"did you mean `{near}`?" if near else None
