"""Findings that are known and accepted: a file of fingerprints, and what is new beside it."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable

from archlang.records import dataclass
from archlang.report.diagnostic import Diagnostic
from archlang.report.fingerprint import VERSION, fingerprints

__all__ = ["Baseline", "BaselineError", "Known", "read", "render"]


class BaselineError(Exception):
    """The text is not that of a baseline."""


@dataclass(frozen=True, slots=True)
class Known:
    """One accepted finding. `path` is relative to the folder of the baseline file, with slashes."""

    fingerprint: str
    path: str
    code: str


@dataclass(frozen=True, slots=True)
class Baseline:
    """The accepted findings, and the folder that their paths begin in."""

    known: tuple[Known, ...]
    folder: str

    def new(
        self, diagnostics: Iterable[Diagnostic], exists: Callable[[str], bool] = os.path.exists
    ) -> tuple[list[Diagnostic], list[Known]]:
        """The findings that are not known, and the known ones that were not found.

        A known finding excuses one of the same fingerprint in the same file; where its file is gone, one in any file:
        a renamed file keeps its findings, a copy of a file brings new ones.
        """
        prints = fingerprints(diagnostics)
        here = Counter(self.known)
        moved = Counter(k.fingerprint for k in self.known if not exists(os.path.join(self.folder, k.path)))
        fresh = []
        for diagnostic, fingerprint in prints.items():
            known = _known(diagnostic, fingerprint, self.folder)
            if here[known]:
                here[known] -= 1
            elif moved[fingerprint]:
                moved[fingerprint] -= 1
            else:
                fresh.append(diagnostic)
        return fresh, _gone(here, moved, self.folder, exists)


def _gone(here: Counter[Known], moved: Counter[str], folder: str, exists: Callable[[str], bool]) -> list[Known]:
    left = []
    for known in here.elements():
        if exists(os.path.join(folder, known.path)):
            left.append(known)
        elif moved[known.fingerprint]:
            moved[known.fingerprint] -= 1
            left.append(known)
    return left


def render(diagnostics: Iterable[Diagnostic], folder: str) -> str:
    """The text of a baseline file in `folder` that accepts these findings: JSON, a finding a line, sorted."""
    rows = sorted(
        (k.path, k.code, k.fingerprint) for k in (_known(d, f, folder) for d, f in fingerprints(diagnostics).items())
    )
    lines = ",\n".join(
        "    " + json.dumps({"path": path, "code": code, "fingerprint": print_}) for path, code, print_ in rows
    )
    head = f'{{\n  "version": "{VERSION}",\n  "known": ['
    return f"{head}\n{lines}\n  ]\n}}\n" if rows else f"{head}]\n}}\n"


def read(text: str, folder: str) -> Baseline:
    """Reads what `render` wrote. Raises BaselineError."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise BaselineError("it is not JSON") from None
    if not isinstance(data, dict) or not isinstance(data.get("known"), list):
        raise BaselineError("it has no list `known`")
    if data.get("version") != VERSION:
        raise BaselineError(f"its version is {data.get('version')!r}; this archc writes and reads {VERSION!r}")
    known = []
    for row in data["known"]:
        match row:
            case {"fingerprint": str(fingerprint), "path": str(path), "code": str(code)}:
                known.append(Known(fingerprint, path, code))
            case _:
                raise BaselineError(f"`known` holds {json.dumps(row)[:80]}")
    return Baseline(tuple(known), folder)


def _known(diagnostic: Diagnostic, fingerprint: str, folder: str) -> Known:
    path = diagnostic.span.source.path if diagnostic.span else ""
    if path:
        try:
            path = os.path.relpath(path, folder)
        except ValueError:  # another drive
            path = os.path.abspath(path)
    return Known(fingerprint, path.replace(os.sep, "/"), diagnostic.code)
