"""Diagnostics as SARIF 2.1.0 (OASIS), the format that code-scanning services read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from archlang.report.codes import CODES
from archlang.report.diagnostic import Diagnostic, Fix, Label, Span
from archlang.report.fingerprint import VERSION, fingerprints
from archlang.report.text import sorted_diagnostics

__all__ = ["render_all"]

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
ROOT = "SRCROOT"


def render_all(
    diagnostics: Iterable[Diagnostic],
    version: str,
    files: Iterable[str] = (),
    explain: Mapping[str, str] | None = None,
) -> str:
    """One run as JSON text. `files` are those that were checked, `explain` the pages of `archc explain` by code.

    Columns count characters (code points). Paths below the current folder are relative to `SRCROOT`.
    """
    found = sorted_diagnostics(diagnostics)
    prints = fingerprints(found)
    codes = sorted({d.code for d in found})
    driver = {
        "name": "archc",
        "version": version,
        "semanticVersion": version,
        "rules": [_rule(code, (explain or {}).get(code)) for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {ROOT: {"description": {"text": "the folder that archc was called in"}}},
        "automationDetails": {"id": "archc/check/"},
        "invocations": [{"executionSuccessful": True}],
        "artifacts": [{"location": _location(path), "sourceLanguage": "archlang"} for path in dict.fromkeys(files)],
        "results": [_result(d, codes.index(d.code), prints[d]) for d in found],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(code: str, page: str | None) -> dict[str, Any]:
    title = CODES[code]
    rule: dict[str, Any] = {
        "id": code,
        "shortDescription": {"text": title[0].upper() + title[1:]},
        "help": {"text": f"archc explain {code}"},
    }
    if page:
        rule["help"] = {"text": page, "markdown": page}
    return rule


def _result(diagnostic: Diagnostic, rule: int, fingerprint: str) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": diagnostic.severity.value,
        "message": {"text": _message(diagnostic)},
        "partialFingerprints": {VERSION: fingerprint, "primaryLocationLineHash": fingerprint},
    }
    if diagnostic.span is not None:
        result["locations"] = [{"physicalLocation": _place(diagnostic.span)}]
    if diagnostic.related:
        result["relatedLocations"] = [_related(i, label) for i, label in enumerate(diagnostic.related)]
    if diagnostic.fix is not None:
        result["fixes"] = [_fix(diagnostic.fix, diagnostic.help)]
    return result


def _message(diagnostic: Diagnostic) -> str:
    """The message with all that the text form says in words."""
    parts = [diagnostic.message + (f" ({diagnostic.label})" if diagnostic.label else "")]
    parts += [f"note: {note}" for note in diagnostic.notes]
    parts += [f"help: {diagnostic.help}"] if diagnostic.help else []
    return "\n".join(parts)


def _related(index: int, label: Label) -> dict[str, Any]:
    return {"id": index, "physicalLocation": _place(label.span), "message": {"text": label.text or "see here"}}


def _fix(fix: Fix, help: str | None) -> dict[str, Any]:
    replacement = {"deletedRegion": _region(fix.span), "insertedContent": {"text": fix.replacement}}
    change = {"artifactLocation": _location(fix.span.source.path), "replacements": [replacement]}
    return {"description": {"text": help or "change it"}, "artifactChanges": [change]}


def _place(span: Span) -> dict[str, Any]:
    return {"artifactLocation": _location(span.source.path), "region": _region(span)}


def _region(span: Span) -> dict[str, int]:
    line, column = span.source.position(span.start)
    last, end = span.source.position(span.end)
    return {"startLine": line, "startColumn": column, "endLine": last, "endColumn": end}


def _location(path: str) -> dict[str, str]:
    if path.startswith("<"):  # a text without a file
        return {"uri": quote(path)}
    relative = os.path.relpath(path) if os.path.isabs(path) and _below(path) else os.path.normpath(path)
    if os.path.isabs(relative) or relative.startswith(".."):
        return {"uri": Path(os.path.abspath(path)).as_uri()}
    return {"uri": quote(relative.replace(os.sep, "/")), "uriBaseId": ROOT}


def _below(path: str) -> bool:
    here = os.getcwd()
    return os.path.commonpath([here, path]) == here
