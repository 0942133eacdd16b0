"""Certificates as text and as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from archlang.certify.certificate import NAMES, Certificate, Ran, shown

__all__ = ["as_dict", "as_text"]


def as_text(certificate: Certificate) -> str:
    """The sizes of both phases, then the figures, predicted and torch's."""
    lines = [f"{certificate.name} ({certificate.spec})"]
    for ran in certificate.ran:
        lines.append(f"  {NAMES[ran.phase]:<12}{ran.text}")
        lines.append(f"  {'':<12}{', '.join(_counts(ran))}")
    rows = [("", "predicted", "torch")]
    for figure in certificate.figures:
        name = figure.name + (f" at {shown(figure.at).replace(' ', '')}" if figure.at else "")
        measured = "not compared" if figure.measured is None else f"{figure.measured:,}"
        differs = "  differs" if figure.measured not in (None, figure.predicted) else ""
        rows.append((name, f"{figure.predicted:,}", measured + differs))
    if certificate.figures:
        widths = [max(len(row[i].removesuffix("  differs")) for row in rows) for i in range(3)]
        lines.append("")
        for name, predicted, measured in rows:
            value = measured.removesuffix("  differs").rjust(widths[2]) + measured[len(measured.removesuffix("  differs")) :]
            lines.append(f"  {name:<{widths[0]}}  {predicted:>{widths[1]}}  {value}".rstrip())
    lines += [f"  {line}" for line in _missing(certificate)]
    return "\n".join(lines) + "\n"


def _counts(ran: Ran) -> Iterator[str]:
    if ran.wrong:
        yield f"{ran.wrong} not as predicted"
    yield f"{ran.inside} inside"
    yield f"{ran.outside} outside"
    if ran.lenient:
        yield f"{ran.lenient} outside of what torch itself refuses"


def _missing(certificate: Certificate) -> Iterator[str]:
    if certificate.not_counted:
        names = ", ".join(certificate.not_counted)
        yield f"figures are not compared: what the extern block {names} has and does is not counted"
    if certificate.not_measured:
        yield f"saved bytes are not measured: {certificate.not_measured}"


def as_dict(certificate: Certificate) -> dict[str, Any]:
    """All of it but the findings."""
    return {
        "kind": "certificate",
        "design": certificate.name,
        "spec": certificate.spec,
        "sizes": [
            {
                "phase": ran.phase,
                "set": ran.text,
                "inside": ran.inside,
                "outside": ran.outside,
                "lenient": ran.lenient,
                "wrong": ran.wrong,
            }
            for ran in certificate.ran
        ],
        "figures": [
            {"name": f.name, "at": dict(f.at), "predicted": f.predicted, "measured": f.measured, "unit": f.unit}
            for f in certificate.figures
        ],
        "not_counted": list(certificate.not_counted),
        "not_measured": certificate.not_measured,
    }
