"""Reads the malformed specs of this folder: what is wrong stands in the text, under the place where it is.

    == title
    block net(x: [B, 3, H, W]) {
        return x -> rellu
                    ^^^^^ ARC0101 there is no `rellu` here | did you mean `relu`?
    }
    -- other.arch
    ...

`^^^` marks the place of an error: its code, a phrase of the message, and after `|` one of the help. `~~~` marks a place
that an error also points at, with its text. Further files follow `-- name`; of library files (`-- std/...`) only the
marked lines are given. Every error of the spec is marked, and nothing else is reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import archlang

HERE = Path(__file__).parent
LIBRARY = Path(archlang.__file__).parent
MARK = re.compile(r"^( *)(\^+|~+) (.*)$")


@dataclass(frozen=True, order=True)
class Place:
    file: str
    line: int
    column: int
    length: int  # as far as the line goes


@dataclass(frozen=True)
class Error:
    place: Place
    code: str
    phrase: str
    help: str


@dataclass
class Case:
    title: str
    files: dict[str, str] = field(default_factory=dict)
    errors: list[Error] = field(default_factory=list)
    related: list[tuple[Place, str]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        for name, text in self.files.items():
            (folder / name).write_text(text)


def read_cases(path: Path) -> Iterator[Case]:
    """The cases of one file."""
    for part in re.split(r"(?m)^== ", path.read_text())[1:]:
        title, body = part.split("\n", 1)
        case = Case(title)
        names = re.split(r"(?m)^-- (.*)\n", body)
        for name, text in zip(["net.arch", *names[1::2]], names[::2], strict=True):
            _read_file(case, name, text.rstrip("\n") + "\n")
        yield case


def _read_file(case: Case, name: str, text: str) -> None:
    library = (LIBRARY / name).read_text().splitlines() if name.startswith("std/") else None
    lines: list[str] = []
    number = 0
    for line in text.splitlines():
        mark = MARK.match(line)
        if mark is None:
            lines.append(line)
            number = len(lines) if library is None else library.index(line) + 1
            continue
        place = Place(name, number, len(mark[1]) + 1, len(mark[2]))
        if mark[2].startswith("~"):
            case.related.append((place, mark[3]))
            continue
        code, rest = mark[3].split(" ", 1)
        phrase, _, help = rest.partition(" | ")
        case.errors.append(Error(place, code, phrase, help))
    if library is None:
        case.files[name] = "".join(line + "\n" for line in lines)


def all_cases() -> list[Case]:
    return [case for path in sorted(HERE.glob("*.txt")) for case in read_cases(path)]
