"""The pages that explain diagnostic codes: docs/errors in a checkout, archlang/docs/errors in a wheel."""

from __future__ import annotations

from pathlib import Path

__all__ = ["page"]


def page(code: str) -> str | None:
    """The page of a code as Markdown; None where there is none."""
    package = Path(__file__).parent.parent
    for folder in (package / "docs" / "errors", package.parent / "docs" / "errors"):
        try:
            return (folder / f"{code}.md").read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
    return None
