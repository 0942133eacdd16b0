"""Says what a diagnostic code means, with an example that gives it and one that is mended. Without CODE: all codes."""

from __future__ import annotations

import argparse
import re
import sys

from archlang.cli.arguments import Parser
from archlang.cli.guard import UsageError
from archlang.report.codes import CODES
from archlang.report.suggest import did_you_mean


def configure(parser: Parser) -> None:
    parser.add_argument("code", metavar="CODE", nargs="?", help="a code such as ARC0301 (or 0301)")


def run(args: argparse.Namespace) -> int:
    from archlang.report.explain import page

    if args.code is None:
        sys.stdout.write("".join(f"{code}  {title}\n" for code, title in CODES.items()))
        return 0
    code = _code(args.code)
    sys.stdout.write(page(code) or f"# {code}: {CODES[code]}\n")
    return 0


def _code(text: str) -> str:
    """The registered code that is meant: letters of either case, or the number alone."""
    digits = re.fullmatch(r"(?i:arc)?(\d{1,4})", text.strip())
    code = f"ARC{int(digits[1]):04}" if digits and digits[1].isascii() else text.upper()
    if code not in CODES:
        hint = did_you_mean(code, CODES) or "`archc explain` lists all codes"
        raise UsageError("ARC0912", f"there is no code `{text}`", hint)
    return code
