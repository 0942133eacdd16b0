"""Diagnostics as JUnit XML: a test suite for each file, a test case for each finding, one that passes where none is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

from archlang.report.diagnostic import Diagnostic, Severity
from archlang.report.text import render, sorted_diagnostics

__all__ = ["render_all"]

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 has no place for these


def render_all(diagnostics: Iterable[Diagnostic], files: Iterable[str] = ()) -> str:
    """The whole document. Errors are failures; warnings are cases that pass and print what is warned of."""
    by_file: dict[str, list[Diagnostic]] = {path: [] for path in files}
    for diagnostic in sorted_diagnostics(diagnostics):
        by_file.setdefault(diagnostic.span.source.path if diagnostic.span else "archc", []).append(diagnostic)
    every = [diagnostic for found in by_file.values() for diagnostic in found]
    root = ElementTree.Element("testsuites", {"name": "archc check", **_counts(every, by_file)})
    for path, found in by_file.items():
        suite = ElementTree.SubElement(root, "testsuite", {"name": _clean(path), **_counts(found, {path: found})})
        if not found:
            ElementTree.SubElement(suite, "testcase", {"classname": _clean(path), "name": "no findings"})
        for diagnostic in found:
            _case(suite, path, diagnostic)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _counts(found: Sequence[Diagnostic], files: dict[str, list[Diagnostic]]) -> dict[str, str]:
    passing = sum(not items for items in files.values())
    failures = sum(d.severity is Severity.ERROR for d in found)
    return {"tests": str(len(found) + passing), "failures": str(failures), "errors": "0", "time": "0"}


def _case(suite: ElementTree.Element, path: str, diagnostic: Diagnostic) -> None:
    span = diagnostic.span
    where = f" at {span.line}:{span.column}" if span else ""
    attributes = {"classname": _clean(path), "name": f"{diagnostic.code}{where}"}
    if span is not None:
        attributes |= {"file": _clean(path), "line": str(span.line)}
    case = ElementTree.SubElement(suite, "testcase", attributes)
    if diagnostic.severity is Severity.ERROR:
        failure = {"type": diagnostic.code, "message": _clean(diagnostic.message)}
        ElementTree.SubElement(case, "failure", failure).text = _clean(render(diagnostic))
    else:
        ElementTree.SubElement(case, "system-out").text = _clean(render(diagnostic))


def _clean(text: str) -> str:
    return _FORBIDDEN.sub(lambda match: f"<{ord(match[0]):02X}>", text)
