"""Writing results: all of a file or nothing of it."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from archlang.cli.guard import UsageError, os_error

if TYPE_CHECKING:
    from archlang.ir.graph import Program

__all__ = ["graph_text", "keep", "write", "write_atomically"]


def keep(source: str, path: str | None, what: str = "the spec") -> None:
    """UsageError where writing to `path` would overwrite the spec, or what else is read."""
    if path is not None and path != "-":
        with suppress(OSError, ValueError):
            if os.path.samefile(source, path):
                raise UsageError("ARC0910", f"`{path}` is {what} itself; it would be overwritten")


def graph_text(program: Program, form: str) -> str:
    """What `--emit` writes of a typed graph: "ir" its text, "json", or "arch", a spec."""
    if form == "ir":
        from archlang.ir.text import to_text

        text = to_text(program)
    elif form == "json":
        from archlang.ir.serialize import to_json

        text = to_json(program)
    else:
        from archlang.unparse import to_arch

        text = to_arch(program)
    return text if text.endswith("\n") else text + "\n"


def write(text: str, path: str | None) -> None:
    """Writes UTF-8 text to a file, or to standard output where `path` is None or `-`."""
    data = text.encode("utf-8")
    if path is None or path == "-":
        sys.stdout.flush()
        buffer = getattr(sys.stdout, "buffer", None)
        if buffer is None:  # a stand-in without bytes
            sys.stdout.write(text)
        else:
            buffer.write(data)
            buffer.flush()
        return
    try:
        write_atomically(path, data)
    except ValueError:
        raise UsageError("ARC0905", f"cannot write `{path}`: this is no file name") from None
    except OSError as error:
        folder = os.path.dirname(path)
        if isinstance(error, FileNotFoundError) and folder and not os.path.isdir(folder):
            raise UsageError("ARC0902", f"cannot write `{path}`: there is no folder `{folder}`") from None
        raise os_error(error, path, "write") from None


def write_atomically(path: str, data: bytes, *, durable: bool = True) -> None:
    """Replaces a file by new contents: at any moment, and after a crash, it holds all of the old or all of the new.

    The new contents go to a hidden file beside it first. Symbolic links are followed and stay; the mode of an existing
    file is kept. What is no regular file (a device, a pipe) is written to directly. Not `durable`: does not wait for
    the disk, so that a power cut may leave anything. Raises OSError.
    """
    try:
        mode: int | None = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and stat.S_ISDIR(mode):
        raise IsADirectoryError(None, "is a folder", path)
    if mode is not None and (not stat.S_ISREG(mode) or os.path.abspath(path).startswith(("/dev/", "/proc/"))):
        with open(path, "ab") as device:  # /dev/stdout may stand for a file that the shell has opened: add to it
            device.write(data)
        return
    path = os.path.realpath(path)
    if mode is not None and not os.access(path, os.W_OK):  # replacing it would get round the protection
        raise PermissionError(None, "permission denied", path)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name[:80]}.{os.urandom(4).hex()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, stat.S_IMODE(mode))
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    if durable:
        _sync_folder(folder or ".")


def _sync_folder(folder: str) -> None:
    """Makes the new name survive a power cut, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
