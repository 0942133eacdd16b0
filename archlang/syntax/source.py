"""Reading: bytes to `Source`. UTF-8 with or without a byte-order mark, any line ends, nothing that cannot be seen."""

from __future__ import annotations

import os
import re

from archlang.report.diagnostic import ArchError, Diagnostic, Source, Span

__all__ = ["MAX_BYTES", "read_bytes", "read_file"]

MAX_BYTES = 1 << 20

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\x80-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]")
_MAX_SHOWN = 5


def read_file(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> Source:
    """Read a file; raises ArchError where it is missing, unreadable, too large or not clean text."""
    try:
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
            size = len(data) if len(data) <= max_bytes else max(len(data), os.stat(path).st_size)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ArchError(Diagnostic("ARC0001", f"cannot read `{path}`: {reason}", None)) from None
    if size > max_bytes:
        raise ArchError(_too_large(str(path), size, max_bytes))
    return read_bytes(data, str(path), max_bytes)


def read_bytes(data: bytes, path: str = "<text>", max_bytes: int = MAX_BYTES) -> Source:
    """Decode one text; raises ArchError with the line and column of each byte or character that is refused.

    Carriage returns are kept, so that offsets are those of the file; a byte-order mark is not part of the text.
    """
    if len(data) > max_bytes:
        raise ArchError(_too_large(path, len(data), max_bytes))
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    elif data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ArchError(_not_utf8(Source(path, ""), 0, 0, "UTF-16"))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        source = Source(path, before + data[error.start :].decode("utf-8", errors="replace"))
        raise ArchError(_not_utf8(source, len(before), data[error.start], None)) from None
    if "\r" in text and "\n" not in text:
        text = text.replace("\r", "\n")  # the line ends of old Macs
    source = Source(path, text)
    found = [
        _control(source, match.start()) for match, _ in zip(_CONTROL.finditer(text), range(_MAX_SHOWN), strict=False)
    ]
    if found:
        raise ArchError(found)
    return source


def _too_large(path: str, size: int, limit: int) -> Diagnostic:
    return Diagnostic(
        "ARC0002",
        f"`{path}` has {size:,} bytes, more than the {limit:,} that are read",
        None,
        help="a spec is text of some kilobytes; raise the limit with `--max-bytes` if this file is meant",
    )


def _not_utf8(source: Source, offset: int, byte: int, encoding: str | None) -> Diagnostic:
    span = Span(source, offset, min(offset + 1, len(source.text)))
    what = f"this file is {encoding}, not UTF-8" if encoding else f"this is not UTF-8 text: byte 0x{byte:02x}"
    return Diagnostic("ARC0003", what, span, help="save the file as UTF-8")


def _control(source: Source, offset: int) -> Diagnostic:
    char = source.text[offset]
    name = "NUL character" if char == "\0" else f"invisible character U+{ord(char):04X}"
    return Diagnostic("ARC0004", f"{name} in the text", Span(source, offset, offset + 1), help="delete it")
