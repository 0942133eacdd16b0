"""Near misses: the name that was meant."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that the author most likely meant; None where nothing is near."""
    import difflib  # where something is wrong, and only there

    candidates = sorted(known)
    for candidate in candidates:
        if _plain(candidate) == _plain(name):
            return candidate
    found = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6 if len(name) <= 5 else 0.72)
    return found[0] if found else None


def _plain(name: str) -> str:
    """`BatchNorm2d` and `batch_norm` are both `batchnorm`."""
    return re.sub(r"[123]d$", "", name.lower()).replace("_", "")


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """``did you mean `x`?``, or None."""
    found = nearest(name, known)
    return f"did you mean `{found}`?" if found else None
