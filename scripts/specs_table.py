"""Writes specs/README.md, the table of the published architectures: `python scripts/specs_table.py [NAME ...]`.

With names of specs, only their rows are made anew, and those of files that have none.
Everything in it is read off the files: the paper and what it was checked against from a spec's header, figures from its
designs, and which tests name it from tests/parity. tests/test_generated_specs.py and tests/analyze/test_specs.py hold
the table against the files.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from archlang.api import emit  # noqa: E402
from archlang.cli.parallel import mapped  # noqa: E402
from archlang.elaborate import Elaborated, LoadedModule, designs, elaborate, load  # noqa: E402
from archlang.elaborate.copying import free_names  # noqa: E402
from archlang.elaborate.entry import elaborate_design, stands_alone  # noqa: E402
from archlang.elaborate.loader import Files  # noqa: E402
from archlang.report.diagnostic import Source  # noqa: E402
from archlang.shapes.dim import Size, substitute  # noqa: E402
from archlang.syntax.parser import parse  # noqa: E402
from archlang.syntax.source import read_file  # noqa: E402
from archlang.syntax.tree import Module, Verify  # noqa: E402
from archlang.verify.figures import FIGURES, Measured  # noqa: E402

__all__ = ["SPECS", "Spec", "entries", "example", "main", "named", "page", "read", "row", "rows", "short"]

SPECS = ROOT / "specs"
PAGE = SPECS / "README.md"
PARITY = ROOT / "tests" / "parity"
HEAD = """\
# Published architectures

One file a family; `use zoo.NAME` in a spec, `specs/NAME.arch` on a command line. This table is written by
`python scripts/specs_table.py`, and all that is in it is read off the files.

- **Entries** are the blocks that stand alone and that no other block of the file is made of, with the smallest and the
  largest by parameters. `archc list` shows all blocks.
- **Parameters** and **MACs** (multiply-accumulates of a forward pass on one example) are of the design in the column
  before, the first in the file with claims about it at sizes that are numbers, if there is one.
- **Lines** of code are those of the spec, and of other specs that it uses (+), against those of the module that is
  generated for that one design: without comments, docs, claims and empty lines.
- **Checked against** is what the header of the file says. **Status** names the files of tests/parity that test it, most
  of them against code or numbers of others, and counts the claims that `archc check` decides.
"""
COLUMNS = (
    "paper", "spec", "entries", "design", "parameters", "MACs", "lines : module", "checked against", "status",
)  # fmt: skip
CHECKED = r"(Names|Layout|Keys|Outputs|Figures|Parameters|Checked|There is no public code)\b"


@dataclass(frozen=True)
class Spec:
    """A file of specs/, loaded. used: the texts of other files of specs/ that it reads."""

    path: Path
    module: LoadedModule
    used: list[Source]

    @property
    def claims(self) -> list[Verify]:
        return [item for item in self.module.syntax.items if isinstance(item, Verify)]


@dataclass(frozen=True)
class Example:
    """The design of a spec whose figures are shown, and the module that is generated for it."""

    design: str
    parameters: int
    macs: Size
    source: str


def read(path: Path) -> Spec:
    files = Files()
    module = load(read_file(str(path)), files=files)
    others = [name for name in files.read if Path(name).parent == SPECS and Path(name) != path]
    return Spec(path, module, [source for name in others if (source := files.read[name]) is not None])


def chosen(names: Collection[str] = ()) -> Iterator[tuple[Path, Spec]]:
    """The files of specs/ of these names, without endings (none: all), in order."""
    for path in sorted(SPECS.glob("*.arch")):
        if not names or path.stem in names:
            yield path, read(path)


# -- figures -----------------------------------------------------------------------------------------------------------
def entries(module: LoadedModule) -> list[str]:
    """The designs that need no arguments, in the order of the file: an alias makes none of its block a part."""
    blocks = module.blocks.values()
    parts = {name for block in blocks for name in free_names(block.body) - {block.name}}
    return [block.name for block in blocks if block.name not in parts and stands_alone(module, block)]


def parameters(spec: Spec) -> list[tuple[str, int]]:
    """Of each entry."""
    known = {d.block: d.done for d in designs(spec.module) if d.verify is None and d.done is not None}
    names = entries(spec.module)
    return [(name, _parameters(known.get(name) or elaborate(spec.module, name))) for name in names]


def _parameters(done: Elaborated) -> int:
    value = Measured(done.program).value(FIGURES["params"])
    assert isinstance(value, int)
    return value


def example(spec: Spec) -> Example:
    """The first design with claims whose operations are a number; else the first with claims."""
    made = []
    for verify in spec.claims:
        made.append((verify, elaborate_design(spec.module, verify)))
        if isinstance(_macs(made[-1][1]), int):
            break
    verify, done = made[-1] if isinstance(_macs(made[-1][1]), int) else made[0]
    design = f"{verify.design.span.text.removesuffix('()')} on {_inputs(done)}"
    return Example(design, _parameters(done), _macs(done), emit(done, spec.path.name).source)


def _macs(done: Elaborated) -> Size:
    return Measured(done.program).value(FIGURES["macs"])


def _inputs(done: Elaborated) -> str:
    root, given = done.program.root, done.program.given
    types = [value.type for port in root.inputs for value in port.values]
    shapes = [str(type(t)(tuple(substitute(size, given) for size in t.shape), t.dtype)) for t in types]
    return ", ".join(shapes) if len(shapes) < 5 else f"{shapes[0]} and {len(shapes) - 1} more"


def short(value: int) -> str:
    """Three digits: `25.6 M`."""
    for unit, scale in ((" T", 10**12), (" G", 10**9), (" M", 10**6), (" k", 10**3)):
        if value >= scale:
            return f"{value / scale:.{max(0, 3 - len(str(value // scale)))}f}{unit}"
    return str(value)


# -- cells -------------------------------------------------------------------------------------------------------------
def row(spec: Spec, shown: Example, named: str) -> str:
    """A line of the table. named: the cell of the entries."""
    paper, checked = header(spec.module.doc)
    own, others = _lines_of_spec(spec.module.syntax), sum(_lines_of_spec(parse(source)) for source in spec.used)
    cells = (
        paper,
        f"[{spec.path.stem}]({spec.path.name})",
        named,
        f"`{shown.design}`",
        f"{shown.parameters:,}",
        short(shown.macs) if isinstance(shown.macs, int) else f"`{shown.macs}`",
        f"{own}{f' + {others}' if others else ''} : {_lines_of_module(shown.source)}",
        checked,
        _status(spec),
    )
    return _line(cells)


def named(found: Sequence[tuple[str, int]]) -> str:
    """The cell of the entries."""
    least, most = min(found, key=lambda e: e[1]), max(found, key=lambda e: e[1])
    if len(found) == 1:
        return f"`{least[0]}`"
    return f"{len(found)}: `{least[0]}` ({short(least[1])}) .. `{most[0]}` ({short(most[1])})"


def header(doc: str) -> tuple[str, str]:
    """A file's paper, and the sentences of its doc that say what it was checked against."""
    text = " ".join(doc.split())
    paper = re.match(r"(?:(P\d+) )?(.+?) \(([^()]+, \d{4})\)", text)
    sentences = re.split(r"(?<=[.)])(?<!\.\.) (?=[A-Z`])", text[paper.end() :] if paper else "")
    checked = " ".join(s for s in sentences if re.match(CHECKED, s))
    if paper is None or not checked:
        raise ValueError(f"a header names `PAPER  Title (authors, year).` and what it was checked against: {text}")
    number, title, authors = paper.groups()
    return f"{number + ' ' if number else ''}{title} ({authors})", checked.removesuffix(".")


def _status(spec: Spec) -> str:
    claims = sum(len(verify.claims) for verify in spec.claims)
    tests = [f"[{name.removeprefix('test_')}](../tests/parity/{name}.py)" for name in _compared(spec)]
    return f"tested in {', '.join(tests)}; {claims} claims" if tests else f"{claims} claims"


def _compared(spec: Spec) -> list[str]:
    """The tests of tests/parity that name the file, or an entry that is called after it."""
    own = [spec.path.stem, *(block for block in spec.module.blocks if block.startswith(f"{spec.path.stem}_"))]
    wanted = re.compile(rf"""["'](?:{"|".join(map(re.escape, own))})(?:\.arch)?["']""")
    return [name for name, text in _parity_tests() if wanted.search(text)]


@cache
def _parity_tests() -> list[tuple[str, str]]:
    texts = [(path.stem, path.read_text(encoding="utf-8")) for path in sorted(PARITY.glob("test_*.py"))]
    pinned = "".join(
        re.findall(r'"spec": "[^"]+"', "".join(p.read_text() for p in sorted(PARITY.glob("pinned/*.json"))))
    )
    return sorted((name, text + pinned if name == "test_pinned" else text) for name, text in texts)


def _lines_of_spec(module: Module) -> int:
    code = [
        line.strip() for item in module.items if not isinstance(item, Verify) for line in item.span.text.splitlines()
    ]
    return sum(1 for line in code if line and not line.startswith("#"))


def _lines_of_module(source: str) -> int:
    places = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Expr)]
    places = [node for node in places if isinstance(node.value, ast.Constant)]
    docs = sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in places)
    code = [line.strip() for line in source.splitlines()]
    return sum(1 for line in code if line and not line.startswith("#")) - docs


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _row(path: str) -> str:
    spec = read(Path(path))
    return row(spec, example(spec), named(parameters(spec)))


def page(rows: Iterable[str]) -> str:
    """The whole file."""
    right = {"parameters", "MACs", "lines : module"}
    return "\n".join([HEAD, _line(COLUMNS), _line("--:" if c in right else "---" for c in COLUMNS), *rows, ""])


def rows() -> dict[str, str]:
    """The rows of the file as it is, by the names of the specs."""
    if not PAGE.exists():
        return {}
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return {name[1]: line for line in lines if (name := re.search(r" \| \[(\w+)\]\(\1\.arch\) \| ", line))}


def main(names: Sequence[str]) -> int:
    known = {name: line for name, line in rows().items() if names and name not in names}
    paths = {path.stem: os.fspath(path) for path in sorted(SPECS.glob("*.arch"))}
    new = [path for name, path in paths.items() if name not in known]
    known.update(zip((Path(path).stem for path in new), mapped(_row, new), strict=True))
    PAGE.write_text(page(known[name] for name in paths), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
