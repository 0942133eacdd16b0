"""Statements before they are text: what is bound, where the flow starts, and its steps; and how they are laid out."""

from __future__ import annotations

from collections.abc import Iterator

from archlang.records import dataclass

__all__ = ["Line", "laid_out"]

WIDTH = 110


@dataclass(slots=True)
class Line:
    """`targets = head -> steps`; in a phase, "train" or "eval", where that is not None. text: any other statement.

    operator: the head is an expression that a flow needs in parentheses. open: the next line may go on with its steps,
    because nothing else reads what this one gives.
    """

    targets: tuple[str, ...] = ()
    head: str = ""
    steps: tuple[str, ...] = ()
    phase: str | None = None
    text: str = ""
    operator: bool = False
    open: bool = False

    def continued(self, other: Line) -> Line | None:
        """Both as one; None where the other does not start with what this one gives."""
        if not self.open or self.phase != other.phase or not other.steps or (other.head,) != self.targets:
            return None
        head = f"({self.head})" if self.operator and not self.steps else self.head
        return Line(other.targets, head, (*self.steps, *other.steps), self.phase, open=other.open)

    def rendered(self) -> list[str]:
        """Its text; a long flow stands on several lines."""
        if self.text:
            return self.text.split("\n")
        start = f"{', '.join(self.targets)} = "
        whole = start + " -> ".join(step for step in (self.head, *self.steps) if step)
        if len(whole) <= WIDTH or len(self.steps) < 2:
            return [whole]
        rows = [f"{start}{self.head} -> {self.steps[0]}" if self.head else start + self.steps[0]]
        for step in self.steps[1:]:
            if len(rows[-1]) + len(step) + 4 <= WIDTH:
                rows[-1] += f" -> {step}"
            else:
                rows.append(f"    -> {step}")
        return rows


def laid_out(lines: Iterator[Line]) -> Iterator[str]:
    """The text of statements, with flows put together and phases in `if training`."""
    phase: str | None = None
    for line in _joined(lines):
        if line.phase != phase:
            if phase is not None:
                yield "}"
            if line.phase is not None:
                yield "if training {" if line.phase == "train" else "if not training {"
            phase = line.phase
        for row in line.rendered():
            yield f"    {row}" if phase else row
    if phase is not None:
        yield "}"


def _joined(lines: Iterator[Line]) -> Iterator[Line]:
    last: Line | None = None
    for line in lines:
        both = last.continued(line) if last is not None else None
        if both is None and last is not None:
            yield last
        last = both or line
    if last is not None:
        yield last
