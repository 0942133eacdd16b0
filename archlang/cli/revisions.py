"""Specs as they were in a revision of the git repository around the current folder. Git is run without a shell."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from archlang.cli.guard import UsageError

__all__ = ["Revision"]


class Revision:
    """The .arch files of one revision, written to a folder, so that `use` finds the files of that time."""

    def __init__(self, name: str, folder: Path) -> None:
        """Raises UsageError where there is no git, no repository or no such revision."""
        self.name = name
        self.folder = folder
        if name.startswith("-") or not name:
            raise UsageError("ARC0913", f"`{name}` is no revision")
        self.commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", name=name)
        self.prefix = _git("rev-parse", "--show-prefix", name=name)
        for path, blob in self._files():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_run("cat-file", "blob", blob).stdout)

    def file(self, path: str) -> str:
        """Where a file, named from the current folder, was written to. Raises UsageError."""
        if os.path.isabs(path):
            path = os.path.relpath(os.path.realpath(path))
        inside = os.path.normpath(os.path.join(self.prefix, path))
        if inside.startswith("..") or not (self.folder / inside).is_file():
            raise UsageError(
                "ARC0913", f"`{path}` is not in `{self.name}`", "name the .arch file as it was called then"
            )
        return str(self.folder / inside)

    def _files(self) -> Iterator[tuple[str, str]]:
        listed = _run("ls-tree", "-r", "-z", "--full-tree", self.commit).stdout.decode("utf-8", "surrogateescape")
        for row in filter(None, listed.split("\0")):
            meta, _, path = row.partition("\t")
            mode, kind, blob = meta.split()
            if kind == "blob" and mode != "120000" and path.endswith(".arch"):
                yield path, blob


def _git(*arguments: str, name: str) -> str:
    done = _run(*arguments)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().removeprefix("fatal: ").splitlines()
        raise UsageError("ARC0913", f"git does not know the revision `{name}`" + (f": {said[0]}" if said else ""))
    return done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")


def _run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise UsageError("ARC0913", "git is not installed", "give two files instead") from None
