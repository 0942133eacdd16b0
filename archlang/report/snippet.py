"""Lines of one source with spans underlined and labelled: the drawing part of a diagnostic."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from archlang.records import dataclass
from archlang.report.diagnostic import Source, Span
from archlang.report.glyphs import Glyphs, printable

__all__ = ["Mark", "Paint", "draw", "plain"]

Paint = Callable[[str, str], str]  # (role, text) -> text; roles: gutter primary secondary removed added bold
MAX_WIDTH = 120
REACH = 400  # characters looked at on either side of a mark on a very long line


def plain(role: str, text: str) -> str:
    """No colours."""
    return text


@dataclass(frozen=True, slots=True)
class Mark:
    """A span to underline. `primary` is drawn with carets; related spans with dashes."""

    span: Span
    label: str
    primary: bool


@dataclass(frozen=True, slots=True)
class _Piece:
    """The part of a mark on one line, in characters from 0. Long marks have a first and a last piece."""

    start: int
    end: int
    label: str
    primary: bool
    opens: int | None = None  # index of the margin bar that starts here
    closes: int | None = None  # ... or ends here

    @property
    def role(self) -> str:
        return "primary" if self.primary else "secondary"


@dataclass(frozen=True, slots=True)
class _Bar:
    first: int
    last: int
    role: str


def draw(
    source: Source, marks: Iterable[Mark], number_width: int, paint: Paint = plain, limit: int = MAX_WIDTH
) -> list[str]:
    """The lines of the source that the marks touch, each under its number, with what the marks say."""
    pieces, bars = _layout(source, marks)
    numbers = sorted(pieces)
    shown = _with_context(source, numbers)
    out: list[str] = []
    blank = paint("gutter", " " * number_width + " |")
    previous: int | None = None
    for number in shown:
        if previous is not None and number - previous == 2 and source.line(previous + 1).strip():
            out.append(_row(source, previous + 1, [], bars, number_width, paint, limit)[0])
        elif previous is not None and number - previous > 2:
            out.append(
                paint("gutter", "..." if not bars else "...".ljust(number_width + 3) + _margin(bars, previous, paint))
            )
        elif previous is not None and number - previous == 2:
            out.append((blank + " " + _margin(bars, previous, paint)).rstrip())
        out.extend(_row(source, number, pieces.get(number, []), bars, number_width, paint, limit))
        previous = number
    return [line.rstrip() for line in out]


def _with_context(source: Source, numbers: list[int]) -> list[int]:
    """A blank line (the end of a file, say) is shown with the last line of text before it."""
    shown = set(numbers)
    for number in numbers:
        if not source.line(number).strip():
            before = number - 1
            while before > 0 and number - before < 20 and not source.line(before).strip():
                before -= 1
            if before > 0 and source.line(before).strip():
                shown.add(before)
    return sorted(shown)


def _layout(source: Source, marks: Iterable[Mark]) -> tuple[dict[int, list[_Piece]], list[_Bar]]:
    pieces: dict[int, list[_Piece]] = {}
    bars: list[_Bar] = []
    for mark in _merged(marks):
        start, end = mark.span.start, _trimmed_end(mark.span)
        first, column = source.position(start)
        last, last_column = source.position(max(end - 1, start))
        label = " ".join(printable(mark.label).split())
        if first == last:
            piece = _Piece(column - 1, max(column, last_column), label, mark.primary)
            pieces.setdefault(first, []).append(piece)
            continue
        role = "primary" if mark.primary else "secondary"
        bar = len(bars)
        bars.append(_Bar(first, last, role))
        pieces.setdefault(first, []).append(_Piece(column - 1, column, "", mark.primary, opens=bar))
        pieces.setdefault(last, []).append(_Piece(last_column - 1, last_column, label, mark.primary, closes=bar))
    return pieces, bars


def _merged(marks: Iterable[Mark]) -> list[Mark]:
    """Marks on one and the same span become one; outer marks come first."""
    by_span: dict[tuple[int, int], Mark] = {}
    for mark in marks:
        key = (mark.span.start, mark.span.end)
        other = by_span.get(key)
        if other is None:
            by_span[key] = mark
        else:
            labels = dict.fromkeys(label for label in (other.label, mark.label) if label)
            by_span[key] = Mark(mark.span, "; ".join(labels), other.primary or mark.primary)
    return sorted(by_span.values(), key=lambda m: (m.span.start, -m.span.end))


def _trimmed_end(span: Span) -> int:
    """The end without trailing line ends, which would draw the mark on a line that it does not touch."""
    end = min(span.end, len(span.source.text))
    while end > span.start and span.source.text[end - 1] in "\r\n":
        end -= 1
    return end


def _margin(bars: list[_Bar], line: int, paint: Paint, *, below: bool = True) -> str:
    """The bars of the long marks that are open beside a line of source, or in the rows below it."""
    cells = ""
    for bar in bars:
        is_open = bar.first <= line < bar.last if below else bar.first < line <= bar.last
        cells += (paint(bar.role, "|") if is_open else " ") + " "
    return cells


def _row(
    source: Source, number: int, pieces: list[_Piece], bars: list[_Bar], number_width: int, paint: Paint, limit: int
) -> list[str]:
    """One source line and the lines of marks and labels under it."""
    line = source.line(number)
    low = max(0, min((p.start for p in pieces), default=0) - REACH)
    focus = next((p for p in pieces if p.primary), pieces[0] if pieces else None)
    if focus is not None and focus.start - low > 2 * REACH:
        low = focus.start - REACH
    glyphs = Glyphs(line, low, low + 4 * REACH)
    left, right = _window(glyphs, focus, limit, more_left=low > 0, more_right=low + 4 * REACH < len(line))
    text = glyphs.cut(left, right)
    before, after = (
        ("..." if left or low else ""),
        ("..." if right < glyphs.columns[-1] or low + 4 * REACH < len(line) else ""),
    )
    gutter = paint("gutter", f"{number:>{number_width}} |") + " "
    rows = [gutter + _margin(bars, number, paint, below=False) + before + text + after]
    blank = paint("gutter", " " * number_width + " |") + " "
    shift = len(before) - left
    placed = [_place(glyphs, piece, left, right, shift) for piece in pieces]
    for opening in (p for p in pieces if p.opens is not None):
        rows.append(blank + _hook(opening, bars, number, placed[pieces.index(opening)][0], paint, opens=True))
    for closing in (p for p in pieces if p.closes is not None):
        hook = _hook(closing, bars, number, placed[pieces.index(closing)][0], paint, opens=False)
        rows.append(blank + hook + (" " + paint(closing.role, closing.label) if closing.label else ""))
    short = [(at, p) for at, p in zip(placed, pieces, strict=True) if p.opens is None and p.closes is None]
    if short:
        margin = _margin(bars, number, paint)
        rows.extend(blank + margin + row for row in _underline(short, paint))
    return rows


def _window(glyphs: Glyphs, focus: _Piece | None, limit: int, *, more_left: bool, more_right: bool) -> tuple[int, int]:
    """Display columns to show of a line: all where it fits, else a window around the mark."""
    total = glyphs.columns[-1]
    if total <= limit and not more_left and not more_right:
        return 0, total
    if focus is None:
        return 0, min(total, limit)
    start, end = glyphs.column(focus.start), glyphs.column(focus.end)
    spare = max(limit - (end - start), limit // 3)
    left = max(0, min(start - spare // 2, total - limit))
    return left, min(total, left + limit)


def _place(glyphs: Glyphs, piece: _Piece, left: int, right: int, shift: int) -> tuple[int, int]:
    """Display columns [start, end) of a piece within the row's text; at least one column wide."""
    start, end = glyphs.column(piece.start), glyphs.column(piece.end)
    end += piece.end > glyphs.first + len(glyphs.columns) - 1  # one past the end of the line
    start, end = min(max(start, left), right), min(max(end, left), right + 1)
    return start + shift, max(end, start + 1) + shift


def _hook(piece: _Piece, bars: list[_Bar], number: int, column: int, paint: Paint, *, opens: bool) -> str:
    """`____^`: leads from a margin bar to the first or the last character of a long mark."""
    index = piece.opens if opens else piece.closes
    assert index is not None
    cells = ""
    for i, bar in enumerate(bars):
        if i < index:
            inside = (
                bar.first < number < bar.last or (bar.first == number and opens) or (bar.last == number and not opens)
            )
            cells += (paint(bar.role, "|") if inside else " ") + " "
    width_left = 2 * (len(bars) - index) - 1 + column
    mark = "^" if piece.primary else "-"
    corner = " " if opens else "|"
    return cells + paint(piece.role, corner + "_" * max(width_left, 1) + mark)


def _underline(pieces: list[tuple[tuple[int, int], _Piece]], paint: Paint) -> list[str]:
    """The row of carets and dashes, and the labels: the last one beside it, the others hung below."""
    pieces = sorted(pieces, key=lambda item: (item[0][0], -item[0][1]))
    total = max(end for (_, end), _ in pieces)
    cells = [" "] * total
    roles = [""] * total
    for (start, end), piece in sorted(pieces, key=lambda item: -(item[0][1] - item[0][0])):  # the narrower wins
        cells[start:end] = ["^" if piece.primary else "-"] * (end - start)
        roles[start:end] = [piece.role] * (end - start)
    labelled = [(start, end, piece) for (start, end), piece in pieces if piece.label]
    row = _painted(cells, roles, paint)
    hanging = labelled
    if labelled:
        start, end, piece = labelled[-1]
        others = [e for (s, e), p in pieces if p is not piece]
        if all(e <= end for e in others) and (len(labelled) == 1 or all(e <= start for _, e, p in labelled[:-1])):
            row += " " + paint(piece.role, piece.label)
            hanging = labelled[:-1]
    rows = [row]
    for i in range(len(hanging) - 1, -1, -1):
        start, _, piece = hanging[i]
        rows.append(
            _hung([(s, p) for s, _, p in hanging[:i] if s != start], paint, start) + paint(piece.role, piece.label)
        )
    return rows


def _hung(earlier: list[tuple[int, _Piece]], paint: Paint, column: int) -> str:
    """The vertical strokes left of a hanging label, padded up to its column."""
    text = ""
    at = 0
    for start, piece in earlier:
        if start < at:
            continue
        text += " " * (start - at) + paint(piece.role, "|")
        at = start + 1
    return text + " " * (column - at)


def _painted(cells: list[str], roles: list[str], paint: Paint) -> str:
    text = ""
    start = 0
    for i in range(1, len(cells) + 1):
        if i == len(cells) or roles[i] != roles[start]:
            run = "".join(cells[start:i])
            text += paint(roles[start], run) if roles[start] else run
            start = i
    return text
