"""Reads the corpora of this folder: `wrong.txt`, and what the bodies in it stand for."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

HEADS = {
    "": "reversible block net(a: [B, 8], b: [B, 8]; c: [B, 8])",
    "%image": "reversible block net(p: [B, 4, 16, 16], q: [B, 4, 16, 16])",
    "%list": "reversible block net(u: [B, 8], v: [B, 8], w: [B, 8])",
}
_ITEM = re.compile(r"(block|reversible|extern|use|fn)\b")


@dataclass(frozen=True)
class Case:
    line: int
    code: str
    message: str
    text: str


def spec(body: str) -> str:
    """The whole spec that a body stands for."""
    if _ITEM.match(body):
        return body
    body = textwrap.dedent(body)
    kind, _, rest = body.partition("\n") if body.startswith("%") else ("", "", body)
    if kind == "%list":
        return (
            f"reversible block inner(s: tensors) {{\n{textwrap.indent(rest, '    ')}\n}}\n"
            f"{HEADS[kind]} {{\n    s = [u, v, w]\n    s = s -> i: inner()\n    u, v, w = (s[0], s[1], s[2])\n}}\n"
        )
    return f"{HEADS[kind]} {{\n{textwrap.indent(rest, '    ')}\n}}\n"


def cases(name: str = "wrong.txt") -> list[Case]:
    lines = (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()
    found: list[Case] = []
    for number, line in enumerate(lines, 1):
        head = re.match(r"(ARC\d{4}) (.+)", line)
        if head is None:
            continue
        end = number
        while end < len(lines) and lines[end].strip() and not lines[end].startswith(("ARC", "#")):
            end += 1
        found.append(Case(number, head[1], head[2], spec("\n".join(lines[number:end]))))
    return found
