"""Networks to start from. A scheme of the standard library has one where a remark above its doc says how it is used:
`# new KIND: MODULE`, a module over `branch`, `width` and `depth` in the network of that kind."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from archlang.elaborate.copying import free_names
from archlang.records import dataclass
from archlang.report.diagnostic import Source
from archlang.syntax.parser import parse_expression

__all__ = ["Starter", "starters", "text"]

_CONV = """\
## One branch: two 3x3 convolutions.
block branch(width: int)(x) {
    return x -> conv1: conv(width, 3, padding=1, bias=false) -> bn1: batchnorm -> relu
             -> conv2: conv(width, 3, padding=1, bias=false) -> bn2: batchnorm
}
"""
_KINDS = {
    "images": _CONV
    + """
block net(width: int = 64, depth: int = 4, classes: int = 10)(image: [B, 3, H, W]) -> [B, classes] {
    x = image -> stem: conv(width, 3, padding=1)
    x = x -> body: MODULE
    return x -> global_avgpool -> head: linear(classes)
}

verify net() on f32[B, 3, 32, 32] { output: [B, 10] }
""",
    "maps": _CONV
    + """
## A map of classes, as large as the image, from the finest of the maps that the scheme gives.
block net(width: int = 32, depth: int = 3, classes: int = 10)(image: [B, 3, H, W]) -> [B, classes, H, W]
    where H % 2**depth == 0 and W % 2**depth == 0
{
    maps = image -> body: MODULE
    return maps[0] -> head: conv(classes, 1)
}

verify net() on f32[B, 3, 32, 32] { output: [B, 10, 32, 32] }
""",
    "tokens": """\
## One branch: a perceptron of two layers.
block branch(width: int)(x) { return x -> up: linear(4 * width) -> gelu -> down: linear(width) }

block net(width: int = 64, depth: int = 4, classes: int = 10)(tokens: [B, T, 32]) -> [B, T, classes] {
    x = tokens -> embed: linear(width)
    x = x -> body: MODULE
    return x -> head: linear(classes)
}

verify net() on f32[B, 16, 32] { output: [B, 16, 10] }
""",
}
_REMARK = re.compile(
    r"^# new (?P<kind>\w+): (?P<module>.+)\n(?P<doc>(?:##.*\n)+)(?:reversible )?(?:block|fn) (?P<name>\w+)",
    re.MULTILINE,
)
_DEFINED = re.compile(r"^(?:reversible )?(?:block|fn) (\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Starter:
    """A scheme, the file of the library that has it, its doc, and how a network of its kind uses it."""

    name: str
    file: str
    doc: tuple[str, ...]
    kind: str
    module: str

    def title(self, width: int) -> str:
        """How the doc begins, in that many characters."""
        return textwrap.shorten(" ".join(self.doc), width, placeholder=" ...")


def starters() -> list[Starter]:
    """All schemes that have a network to start from, in the order of the library."""
    found = []
    for file, source in _library().items():
        for m in _REMARK.finditer(source):
            doc = tuple(line.removeprefix("##").strip() for line in m["doc"].splitlines())
            found.append(Starter(m["name"], file, doc, m["kind"], m["module"]))
    return found


@cache
def _library() -> dict[str, str]:
    """The text of each file of the standard library."""
    folder = Path(__file__).parent.parent / "std"
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.arch"))}


def text(starter: Starter) -> str:
    """The spec."""
    names = free_names(parse_expression(Source(f"std.{starter.file}", starter.module)))
    body = _KINDS[starter.kind].replace("-> body: MODULE", f"{_gap(starter.module)}-> body: {starter.module}")
    if "depth" not in names:
        body = body.replace("depth: int = 4, ", "")
    doc = "\n".join(f"## {line}".rstrip() for line in starter.doc)
    return f"{doc}\n{_uses(names, starter.file)}\n{body}"


def _gap(module: str) -> str:
    """A line end before a module that is too long to stand behind its wire."""
    return "\n        " if len(module) > 100 else ""


def _uses(names: Iterable[str], first: str) -> str:
    """The lines that bring names in from the library; `first` is the file to look into first."""
    files = _library()
    left = set(names)
    lines = []
    for file in sorted(files, key=lambda file: file != first):
        here = [name for name in _DEFINED.findall(files[file]) if name in left]
        left -= {*here}
        lines += [f"use std.{file}: {', '.join(here)}\n"] if here else []
    return "".join(lines)
