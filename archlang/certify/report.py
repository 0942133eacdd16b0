"""Certificates as text and as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from archlang.certify.certificate import NAMES, Certificate, Figure, Ran
from archlang.certify.drift import Drift
from archlang.report.table import table
from archlang.verify.subject import shown

__all__ = ["as_dict", "as_text"]


def as_text(certificate: Certificate) -> str:
    """The sizes of both phases, then the figures, predicted and torch's."""
    lines = [f"{certificate.name} ({certificate.spec})"]
    for ran in certificate.ran:
        lines.append(f"  {NAMES[ran.phase]:<12}{ran.text}")
        lines.append(f"  {'':<12}{', '.join(_counts(ran))}")
    if certificate.figures:
        rows = [("", "predicted", "torch", ""), *map(_row, certificate.figures)]
        lines += ["", *table(rows, left=(0, 3), indent="  ")]
    if certificate.drift is not None:
        lines += ["", *(f"  {line}" for line in _drift(certificate.drift))]
    if certificate.undone:
        lines += ["", "  declared inverses, relative errors in float64"]
        lines += [f"    {one.node.attrs['inverse']}  {_error(one.error)}" for one in certificate.undone]
    lines += [f"  {line}" for line in _missing(certificate)]
    return "\n".join(lines) + "\n"


def _row(figure: Figure) -> tuple[str, str, str, str]:
    """Name and sizes, the predicted number, torch's, and whether they differ."""
    name = figure.name + (f" at {shown(figure.at).replace(' ', '')}" if figure.at else "")
    if figure.measured is None:
        return name, f"{figure.predicted:,}", "not compared", ""
    differs = "differs" if figure.measured != figure.predicted else ""
    return name, f"{figure.predicted:,}", f"{figure.measured:,}", differs


def _counts(ran: Ran) -> Iterator[str]:
    if ran.wrong:
        yield f"{ran.wrong} not as predicted"
    yield f"{ran.inside} inside"
    yield f"{ran.outside} outside"
    if ran.lenient:
        yield f"{ran.lenient} outside, which torch itself does not refuse"


def _drift(found: Drift) -> Iterator[str]:
    yield f"in {found.dtype} at {shown(found.at)}, relative errors"
    yield f"  rebuilt streams, by steps back  {', '.join(f'{n}: {error:.0e}' for n, error in found.rebuilt.items())}"
    yield f"  gradients, against float64      {found.gradients:.0e}; without rebuilding {found.plain:.0e}"


def _error(error: float) -> str:
    return "below 1e-12" if error < 1e-12 else f"{error:.0e}"


def _missing(certificate: Certificate) -> Iterator[str]:
    if certificate.not_counted:
        names = ", ".join(certificate.not_counted)
        yield f"not compared: what is not counted of {names}"
    if certificate.not_measured:
        yield f"not measured: {certificate.not_measured}"


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
        "undone": {str(one.node.attrs["inverse"]): one.error for one in certificate.undone},
        "drift": None if certificate.drift is None else _plain(certificate.drift),
    }


def _plain(found: Drift) -> dict[str, Any]:
    """Relative errors, by how many steps back."""
    rebuilt = {str(n): error for n, error in found.rebuilt.items()}
    return {
        "dtype": found.dtype,
        "at": dict(found.at),
        "rebuilt": rebuilt,
        "gradients": found.gradients,
        "plain": found.plain,
    }
