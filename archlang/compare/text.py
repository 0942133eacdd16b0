"""The differences between two specs for people: as text, and as Markdown for a pull-request comment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from archlang.compare.changes import BlockChange, Change, DesignDiff, Figure, KeyChange, Move, SpecDiff
from archlang.ir.paths import shift

__all__ = ["as_markdown", "as_text"]

SHOWN = 12  # changes of one kind that the text shows; `show_all` shows every one
_SIGNS = {"added": "+", "removed": "-", "changed": "~", "rewired": "~", "type": "~"}


def as_text(diff: SpecDiff, *, show_all: bool = False) -> str:
    """All differences, most telling first; `SHOWN` of a kind."""
    limit = None if show_all else SHOWN
    if diff.equal:
        return f"{_names(diff.designs)}: no differences\n"
    parts = [f"{diff.old} -> {diff.new}"]
    parts += [f"+ design {name}" for name in diff.added] + [f"- design {name}" for name in diff.removed]
    for design in diff.changed:
        parts += ["", f"{design.name}{_at(design)}", *("  " + line for line in _design(design, limit))]
    same = [d for d in diff.designs if d.equal]
    if same:
        parts += ["", f"{_names(same)}: no differences"]
    return "\n".join(parts) + "\n"


def as_markdown(diff: SpecDiff) -> str:
    """A heading, a table of figures for each design that changed, and what changed folded under it."""
    head = f"### archc diff: {_code(diff.old)} → {_code(diff.new)}"
    if diff.equal:
        return f"{head}\n\nNo differences in {_names(diff.designs)}.\n"
    parts = [head]
    parts += [f"New design {_code(name)}." for name in diff.added]
    parts += [f"Design {_code(name)} is gone." for name in diff.removed]
    for design in diff.changed:
        parts += [f"#### {_escape(design.name)}", _figure_table(design)]
        lines = list(_design(design, 200, figures=False))
        if lines:
            n = _size(design)
            title = f"{n} {'change' if n == 1 else 'changes'} in structure, types and state-dict keys"
            block = "\n".join(_escape_fence(line) for line in lines)
            parts.append(f"<details><summary>{title}</summary>\n\n```diff\n{block}\n```\n\n</details>")
    same = [d for d in diff.designs if d.equal]
    if same:
        parts.append(f"No differences in {_names(same)}.")
    return "\n\n".join(parts) + "\n"


# -- parts -------------------------------------------------------------------------------------------------------------
def _design(design: DesignDiff, limit: int | None, figures: bool = True) -> Iterator[str]:
    if figures:
        yield from _figures(design.figures)
    for title, changes in (("inputs and outputs", design.types), ("sizes needed", design.requires)):
        if changes:
            yield f"# {title}" if not figures else title
            yield from _limited([_change(c) for c in changes], limit, figures)
    for block in design.blocks:
        yield f"# {_where(block)}" if not figures else _where(block)
        yield from _limited([_change(c) for c in _by_weight(block.changes)], limit, figures)
    if design.moves:
        yield ("" if figures else "# ") + "moved"
        yield from _limited([_move(m) for m in design.moves], limit, figures)
    if design.keys:
        yield ("# " if not figures else "") + f"state dict: {_key_counts(design.keys)}"
        yield from _limited([_key(k) for k in design.keys], limit, figures)


def _size(design: DesignDiff) -> int:
    inner = sum(len(block.changes) for block in design.blocks)
    return len(design.types) + len(design.requires) + inner + len(design.moves) + len(design.keys)


def _by_weight(changes: Iterable[Change]) -> list[Change]:
    """Layers and wiring before types, which follow from them."""
    return sorted(changes, key=lambda change: change.kind == "type")


def _where(block: BlockChange) -> str:
    if not block.path:
        return f"block {block.block}"
    more = f" and {block.places - 1} more {'place' if block.places == 2 else 'places'}" if block.places > 1 else ""
    return f"block {block.block} (at `{block.path}`{more})"


def _change(change: Change) -> str:
    sign = _SIGNS[change.kind]
    if change.kind == "rewired":
        return f"{sign} {change.what} reads {change.new or 'nothing'}, was {change.old or 'nothing'}"
    values = f"{change.old} -> {change.new}" if change.old and change.new else change.old or change.new
    return f"{sign} {change.what}{': ' if values else ''}{values}"


def _move(move: Move) -> str:
    sides = (path if move.count == 1 else f"{path} .. {shift(path, move.count - 1)}" for path in (move.old, move.new))
    return "~ " + " -> ".join(f"`{side}`" for side in sides)


def _key(key: KeyChange) -> str:
    if key.old is None:
        return f"+ {key.key} {key.new}"
    return f"- {key.key} {key.old}" if key.new is None else f"~ {key.key} {key.old} -> {key.new}"


def _key_counts(keys: Sequence[KeyChange]) -> str:
    new, gone = sum(k.old is None for k in keys), sum(k.new is None for k in keys)
    counts = ((new, "added"), (gone, "removed"), (len(keys) - new - gone, "reshaped"))
    return ", ".join(f"{n} {what}" for n, what in counts if n)


def _limited(lines: Sequence[str], limit: int | None, indent: bool) -> Iterator[str]:
    shown = lines if limit is None or len(lines) <= limit + 1 else lines[:limit]
    yield from (f"  {line}" if indent else line for line in shown)
    if len(shown) < len(lines):
        yield ("  " if indent else "# ") + f"... and {len(lines) - len(shown)} more"


# -- figures -----------------------------------------------------------------------------------------------------------
def _figures(figures: Sequence[Figure]) -> Iterator[str]:
    changed = [f for f in figures if not _same(f)]
    width = max((len(f.name) for f in changed), default=0)
    for figure in changed:
        yield f"{figure.name:<{width}}  {_amount(figure.old, figure)} -> {_amount(figure.new, figure)}{_gain(figure)}"


def _figure_table(design: DesignDiff) -> str:
    at = _at(design).strip()
    rows = [f"| {at or 'figure'} | before | after | change |", "| --- | ---: | ---: | ---: |"]
    for figure in design.figures:
        gain = _gain(figure).strip(" ()") or ("0" if _same(figure) else "")
        rows.append(f"| {figure.name} | {_amount(figure.old, figure)} | {_amount(figure.new, figure)} | {gain} |")
    return "\n".join(rows)


def _same(figure: Figure) -> bool:
    return figure.old == figure.new and (figure.formula is None or figure.formula[0] == figure.formula[1])


def _amount(value: int | None, figure: Figure) -> str:
    if value is None:
        return "unknown"
    if figure.unit == "B" and value >= 1024:
        power = min((value.bit_length() - 1) // 10, 3)
        return f"{value / 1024**power:,.1f} {('B', 'KiB', 'MiB', 'GiB')[power]}"
    return f"{value:,}{' B' if figure.unit else ''}"


def _gain(figure: Figure) -> str:
    if not figure.old or figure.new is None:
        return ""
    percent = 100 * (figure.new - figure.old) / figure.old
    if percent == 0:
        return ""
    return f" ({percent:+.1f} %)" if abs(percent) >= 0.05 else f" ({figure.new - figure.old:+,})"


def _at(design: DesignDiff) -> str:
    return " at " + ", ".join(f"{name}={n}" for name, n in design.at.items()) if design.at else ""


# -- words -------------------------------------------------------------------------------------------------------------
def _names(designs: Iterable[DesignDiff]) -> str:
    names = [d.name for d in designs]
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more if names else "no designs"


def _code(text: str) -> str:
    ticks = "``" if "`" in text else "`"
    return f"{ticks}{text}{ticks}".replace("\n", " ")


def _escape(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|" else c for c in text)


def _escape_fence(line: str) -> str:
    """No line can end the block that holds it."""
    return line.replace("```", "'''").replace("\n", " ")
