"""Reading specs that a command line names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from archlang.cli.guard import UsageError, os_error
from archlang.report.suggest import did_you_mean

if TYPE_CHECKING:
    from archlang.elaborate import Limits, LoadedModule
    from archlang.elaborate.loader import Files

__all__ = ["find", "load"]


def load(path: str, limits: Limits, files: Files | None = None) -> LoadedModule:
    """Reads and parses one spec. UsageError where there is no readable file, ArchError for its contents."""
    from archlang.elaborate import load as load_module
    from archlang.syntax.source import read_file

    must_read(path)
    return load_module(read_file(path, limits.source_bytes), limits, files)


def must_read(path: str) -> None:
    """UsageError unless the path names a file that can be opened."""
    try:
        if os.path.isdir(path):
            help = "name the .arch file" + ("; `archc check` takes folders" if _has_specs(path) else "")
            raise UsageError("ARC0903", f"cannot read `{path}`: it is a folder", help)
        with open(path, "rb"):
            pass
    except ValueError:  # a NUL in the name
        raise UsageError("ARC0905", f"cannot read `{path}`: this is no file name") from None
    except OSError as error:
        raise _with_neighbours(os_error(error, path, "read"), path) from None


def find(paths: Iterable[str]) -> Iterator[str]:
    """The files that paths stand for: files as they are, of folders every .arch file below, in a stable order."""
    for path in paths:
        if not os.path.isdir(path):
            must_read(path)
            yield path
            continue
        found = list(_below(path))
        if not found:
            raise UsageError("ARC0909", f"there is no .arch file in `{path}`")
        yield from found


def _below(folder: str) -> Iterator[str]:
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__pycache__")
        yield from (os.path.normpath(os.path.join(here, f)) for f in sorted(files) if f.endswith(".arch"))


def _has_specs(folder: str) -> bool:
    return next(_below(folder), None) is not None


def _with_neighbours(error: UsageError, path: str) -> UsageError:
    """Adds the name that the user may have meant."""
    if error.diagnostic.code != "ARC0902":
        return error
    folder = os.path.dirname(path)
    try:
        names = [os.path.join(folder, n) for n in os.listdir(folder or ".") if n.endswith(".arch")]
    except OSError:
        return error
    hint = f"did you mean `{path}.arch`?" if f"{path}.arch" in names else did_you_mean(path, names)
    return UsageError("ARC0902", error.diagnostic.message, hint)
