"""Text to syntax tree: `read_file` / `read_bytes`, then `parse`."""

from __future__ import annotations

from archlang.syntax.parser import parse, parse_expression
from archlang.syntax.source import MAX_BYTES, read_bytes, read_file

__all__ = ["MAX_BYTES", "parse", "parse_expression", "read_bytes", "read_file"]
