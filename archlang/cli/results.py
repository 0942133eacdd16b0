"""Results of `archc check`, kept in the user's cache folder: what did not change is not checked again.

An entry holds a checksum of itself, the state of this installation, the digest of every file that was read, the names
of files that were looked for and not found, and the findings. Whatever does not fit makes it void; no failure to read
or write here is ever a failure of the check.
"""

from __future__ import annotations

import os
import sys
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from archlang.report.diagnostic import ArchError, Diagnostic, Fix, Label, Severity, Source, Span

if TYPE_CHECKING:
    from archlang.elaborate.loader import Files

__all__ = ["Results", "folder"]

MOST = 4000  # entries; then the older half is forgotten
_PREFIX = "check-"


def folder() -> str | None:
    """Where caches go on this system. `ARCHC_CACHE` names another folder; `off`, or nothing, turns the cache off."""
    chosen = os.environ.get("ARCHC_CACHE")
    if chosen is not None:
        return None if chosen in ("", "off") else chosen
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return os.path.join(base, "archlang", "Cache") if base else None
    home = os.path.expanduser("~")
    if not os.path.isabs(home):  # there is no home folder
        return None
    if sys.platform == "darwin":
        return os.path.join(home, "Library", "Caches", "archlang")
    base = os.environ.get("XDG_CACHE_HOME", "")
    return os.path.join(base if os.path.isabs(base) else os.path.join(home, ".cache"), "archlang")


class Results:
    """The cache as one command sees it. `options`: whatever else the findings depend on."""

    def __init__(self, options: str, wanted: bool = True) -> None:
        self.options = options
        self.folder = folder() if wanted else None
        self._state = ""

    def get(self, path: str) -> list[Diagnostic] | None:
        """The findings of a file as it is now, None where they are not known."""
        if self.folder is None:
            return None
        try:
            with open(self._entry(path), "rb") as file:
                digest, _, body = file.read().partition(b"\n")
            if sha256(body).hexdigest().encode() != digest:
                return None
            head, _, found = body.decode("utf-8", "surrogateescape").partition("\n")
            state, key, *read = head.split("\0")
            if state != self.state or key != self._key(path):
                return None
            texts = {shown: _unchanged(name, digest) for name, shown, digest in _triples(read)}
            return _findings(found, texts)
        except (OSError, ValueError, LookupError, TypeError, ArchError):
            return None

    def put(self, path: str, files: Files, found: list[Diagnostic]) -> None:
        """Remembers the findings of a file, and the files that they come from."""
        if self.folder is None or not files.complete or not files.read or "\n" in path:
            return
        try:
            head = [self.state, self._key(path)]
            for name, source in files.read.items():
                head += [name, "" if source is None else source.path, "" if source is None else _digest(name, source)]
            text = "\0".join(head) + "\n" + _text(found, {s.path: s for s in files.read.values() if s is not None})
            body = text.encode("utf-8", "surrogateescape")
            self._write(self._entry(path), sha256(body).hexdigest().encode() + b"\n" + body)
        except (OSError, ValueError, LookupError, ArchError):
            return

    @property
    def state(self) -> str:
        """Of archlang and Python: another version, or an edited file of this one, may find something else."""
        if not self._state:
            digest = sha256(f"{sys.version}\0{self.options}".encode())
            for name in _package():
                info = os.stat(name)
                digest.update(f"{name}\0{info.st_size}\0{info.st_mtime_ns}\0{info.st_ctime_ns}\n".encode())
            self._state = digest.hexdigest()
        return self._state

    def _key(self, path: str) -> str:
        return os.path.abspath(path) + "\t" + path

    def _entry(self, path: str) -> str:
        assert self.folder is not None
        name = sha256((self._key(path) + "\0" + self.options).encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return os.path.join(self.folder, _PREFIX + name)

    def _write(self, path: str, data: bytes) -> None:
        from archlang.cli.output import write_atomically

        assert self.folder is not None
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        if not os.path.exists(path):
            self._prune(self.folder)
        write_atomically(path, data, durable=False)

    def _prune(self, where: str) -> None:
        entries = [os.path.join(where, n) for n in os.listdir(where) if n.startswith(_PREFIX)]
        if len(entries) >= MOST:
            entries.sort(key=lambda name: os.stat(name).st_mtime_ns)
            for name in entries[: len(entries) // 2]:
                os.unlink(name)


def _package() -> list[str]:
    """Every file of this installation, in a fixed order."""
    found: list[str] = []
    for here, folders, names in os.walk(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))):
        folders[:] = sorted(f for f in folders if f != "__pycache__")
        found += [os.path.join(here, name) for name in sorted(names)]
    return found


# -- files that were read ----------------------------------------------------------------------------------------------
def _triples(items: list[str]) -> list[tuple[str, str, str]]:
    return list(zip(items[::3], items[1::3], items[2::3], strict=True))


def _unchanged(name: str, digest: str) -> bytes:
    """The bytes of a file; ValueError where they are others than they were."""
    if not digest:
        if os.path.lexists(name):
            raise ValueError(name)
        return b""
    with open(name, "rb") as file:
        data = file.read()
    if sha256(data).hexdigest() != digest:
        raise ValueError(name)
    return data


def _digest(name: str, source: Source) -> str:
    """Of a file that was read as this source; ValueError where it was changed since."""
    from archlang.syntax.source import read_bytes

    with open(name, "rb") as file:
        data = file.read()
    if read_bytes(data, source.path, len(data)).text != source.text:
        raise ValueError(name)
    return sha256(data).hexdigest()


# -- findings as text --------------------------------------------------------------------------------------------------
def _text(found: list[Diagnostic], sources: dict[str, Source]) -> str:
    """JSON; the empty list is written and read without that module, since it is what most files have."""
    if not found:
        return "[]"
    import json

    def span(of: Span | None) -> Any:
        if of is not None and sources[of.source.path].text != of.source.text:
            raise ValueError(of.source.path)
        return None if of is None else [of.source.path, of.start, of.end]

    rows = [
        [
            *(d.code, d.message, span(d.span), d.label, [[span(r.span), r.text] for r in d.related], d.help, d.notes),
            *(d.severity.value, None if d.fix is None else [span(d.fix.span), d.fix.replacement]),
        ]
        for d in found
    ]
    return json.dumps(rows)


def _findings(text: str, texts: dict[str, bytes]) -> list[Diagnostic]:
    if text == "[]":
        return []
    import json

    from archlang.syntax.source import read_bytes

    sources: dict[str, Source] = {}

    def span(row: Any) -> Any:
        if row is None:
            return None
        path, start, end = row
        if path not in sources:
            sources[path] = read_bytes(texts[path], path, len(texts[path]))
        return Span(sources[path], start, end)

    return [
        Diagnostic(
            *(code, message, span(at), label, tuple(Label(span(s), t) for s, t in related), help, tuple(notes)),
            *(Severity(severity), None if fix is None else Fix(span(fix[0]), fix[1])),
        )
        for code, message, at, label, related, help, notes, severity, fix in json.loads(text)
    ]
