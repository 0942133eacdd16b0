"""How commands report findings: the formats, the baseline of known ones, and where the report goes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from archlang.cli.arguments import Parser, choice
from archlang.cli.guard import UsageError, show
from archlang.cli.output import keep, write
from archlang.records import dataclass
from archlang.report.diagnostic import Diagnostic, Severity

__all__ = ["FORMATS", "add_report", "report"]

FORMATS = ("text", "json", "sarif", "junit", "github")


def add_report(parser: Parser) -> None:
    """The options that `report` looks at."""
    listed = ", ".join(FORMATS[:-1]) + f" or {FORMATS[-1]}"
    parser.add_argument("--format", type=choice(*FORMATS), default="text", metavar="FORM", help=listed)
    parser.add_argument("--output", metavar="FILE", help="where to write the report (default: standard output)")
    baseline = parser.add_mutually_exclusive_group()
    baseline.add_argument("--baseline", metavar="FILE", help="report only findings that FILE does not hold")
    baseline.add_argument("--write-baseline", metavar="FILE", help="write all findings to FILE, as known from now on")


def report(found: Sequence[Diagnostic], files: Sequence[str], args: argparse.Namespace) -> int:
    """Writes the report that the command line asks for, and gives the exit status: 1 where an error is left."""
    for path in files:
        keep(path, args.output)
        keep(path, args.write_baseline)
    known: int | None = None
    gone = 0
    if args.write_baseline is not None:
        return _accept(found, args.write_baseline)
    if args.baseline is not None:
        found, known, gone = _news(found, files, args.baseline)
    _print(_Findings(found, files, known, gone), args.format, args.output)
    return 1 if any(d.severity is Severity.ERROR for d in found) else 0


@dataclass(frozen=True)
class _Findings:
    found: Sequence[Diagnostic]
    files: Sequence[str]
    known: int | None  # how many the baseline excuses; None without one
    gone: int


def _accept(found: Sequence[Diagnostic], path: str) -> int:
    from archlang.report.baseline import render

    text = render(found, _folder(path))
    write(text, path)
    if path not in ("-", "/dev/stdout"):
        n = text.count('"fingerprint"')
        print(f"{path}: {n} {'finding' if n == 1 else 'findings'} known from now on")
    return 0


def _news(found: Sequence[Diagnostic], files: Sequence[str], path: str) -> tuple[list[Diagnostic], int, int]:
    from archlang.cli.files import must_read
    from archlang.report.baseline import BaselineError, read

    must_read(path)
    help = "`archc check --write-baseline FILE` writes one"
    try:
        with open(path, encoding="utf-8") as file:
            baseline = read(file.read(), _folder(path))
    except UnicodeDecodeError:
        raise UsageError("ARC0911", f"`{path}` is not a baseline: it is not UTF-8", help) from None
    except BaselineError as error:
        raise UsageError("ARC0911", f"`{path}` is not a baseline: {error}", help) from None
    fresh, missing = baseline.new(found)
    checked = {os.path.realpath(file) for file in files}
    gone = sum(_checked(os.path.join(baseline.folder, known.path), checked) for known in missing)
    return fresh, len(set(found)) - len(fresh), gone


def _checked(path: str, files: set[str]) -> bool:
    """Whether a known finding would have been met again: its file was checked, or is no more."""
    return os.path.realpath(path) in files or not os.path.exists(path)


def _folder(path: str) -> str:
    return os.path.dirname(os.path.abspath(path))


# -- forms -------------------------------------------------------------------------------------------------------------
def _print(report: _Findings, form: str, output: str | None) -> None:
    if form == "text" and output is None:
        if report.found:
            show(report.found, sys.stdout)
        sys.stdout.write(_closing(report))
        return
    write(_text(report, form), output)


def _text(report: _Findings, form: str) -> str:
    found = report.found
    if form == "json":
        from archlang.report import json

        known = {} if report.known is None else {"known": report.known, "gone": report.gone}
        return json.render_all(found, files=len(report.files), **known)
    if form == "sarif":
        import archlang
        from archlang.report import explain, sarif

        pages = {code: page for code in {d.code for d in found} if (page := explain.page(code)) is not None}
        return sarif.render_all(found, archlang.__version__, report.files, pages)
    if form == "junit":
        from archlang.report import junit

        return junit.render_all(found, report.files)
    if form == "github":
        from archlang.report import github

        return github.render_all(found)
    from archlang.report.text import render_all

    return render_all(found) + _closing(report)


def _closing(report: _Findings) -> str:
    """What the text form says beside the findings and their count."""
    n, known, gone = len(report.files), report.known, report.gone
    files = f"{n} {'file' if n == 1 else 'files'}"
    lines = [] if report.found else [f"{files}, no mistakes found" if not known else f"{files}, no new mistakes found"]
    if known:
        lines.append(f"note: {known} known {'finding is' if known == 1 else 'findings are'} not shown")
    if gone:
        what = "finding of the baseline is" if gone == 1 else "findings of the baseline are"
        lines.append(f"note: {gone} {what} gone; --write-baseline forgets what is gone")
    return "".join(f"{line}\n" for line in lines)
