"""Figures as text, a tree with percentages, and as plain data for JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from archlang.analyze.cost import Cost
from archlang.analyze.largest import Largest
from archlang.analyze.paths import Reach
from archlang.analyze.tree import Block
from archlang.report.table import table
from archlang.shapes.dim import Size, with_all

__all__ = ["COLUMNS", "amount_of", "as_dict", "as_text", "short"]

COLUMNS: dict[str, Callable[[Block], Size]] = {
    "params": lambda block: block.parameters,
    "macs": lambda block: block.macs,
    "memory": lambda block: block.saved,
}
_TITLES = {"params": "parameters", "macs": "MACs", "memory": "saved"}
_USUAL = 256  # what a free size counts as where formulas are put in order


def as_text(cost: Cost, title: str, depth: int, sort: str | None) -> str:
    """The totals, the tree down to `depth`, and the operations by kind."""
    at = " at " + ", ".join(f"{name}={n}" for name, n in cost.sizes.items()) if cost.sizes else ""
    parts = [title + at, "", *(f"  {name:<20}{text}" for name, text in _totals(cost))]
    known = all(isinstance(size, int) for size in (cost.macs, cost.flops, cost.saved))
    show = _figures if known else _formulas
    if depth:
        parts += ["", *show([["block", *_TITLES.values()], *_tree(cost, depth, sort)])]
    parts += ["", *show([["op", "calls", "MACs", "FLOPs"], *_kinds(cost)])]
    return "\n".join(parts) + "\n"


def as_dict(cost: Cost, depth: int, sort: str | None) -> dict[str, Any]:
    """Numbers as numbers, formulas as text, each under a name that says its unit."""
    total = cost.parameters
    reach = cost.reach
    return {
        "sizes": cost.sizes,
        "not_counted": list(cost.uncounted),
        "parameters": {
            "total": total.parameters,
            "trainable": total.trainable,
            "frozen": total.parameters - total.trainable,
            "active": cost.active,
            "buffers": total.buffers,
        },
        "macs": _plain(cost.macs),
        "flops": _plain(cost.flops),
        "traffic_bytes": _plain(cost.work.traffic),
        "flops_per_byte": None if cost.intensity is None else float(cost.intensity),
        "saved_bytes": _plain(cost.saved),
        "peak_bytes": _plain(cost.peak),
        "receptive_field": None
        if reach is None
        else {
            "size": [w.size for w in reach.windows],
            "stride": [_number(w.step) for w in reach.windows],
            "whole_input": reach.whole,
        },
        "depth": cost.depth,
        "critical_path_macs": _plain(cost.critical),
        "by_op": {
            op: {"calls": calls, "macs": _plain(work.macs), "flops": _plain(work.flops)}
            for op, (calls, work) in sorted(cost.by_op.items())
        },
        "tree": _branch(cost.tree, depth, sort),
    }


# -- totals ------------------------------------------------------------------------------------------------------------
def _totals(cost: Cost) -> Iterator[tuple[str, str]]:
    total = cost.parameters
    frozen = total.parameters - total.trainable
    notes = [f"{frozen:,} of them frozen"] if frozen else []
    notes += [f"{cost.active:,} of them active in evaluation"] if cost.active != total.parameters else []
    notes += [f"{total.buffers:,} in buffers"] if total.buffers else []
    yield "parameters", f"{total.parameters:,}" + (f" ({'; '.join(notes)})" if notes else "")
    yield "MACs", _count(cost.macs)
    yield "FLOPs", _count(cost.flops)
    unknown = [name for name in cost.uncounted if not name.startswith("extern ")]
    without = f" (without {', '.join(unknown)}: not known)" if unknown else ""
    yield "saved for backward", _amount(cost.saved) + without
    yield "peak of inference", _amount(cost.peak)
    yield "receptive field", _field(cost.reach)
    yield "depth", f"{cost.depth} layers with weights"
    yield "critical path", _count(cost.critical) + " MACs" * (cost.critical.known is not None)
    if cost.intensity is not None:
        yield "intensity", f"{float(cost.intensity):.1f} FLOPs a byte ({_amount(cost.work.traffic)} moved)"
    else:
        yield "bytes moved", _amount(cost.work.traffic)
    foreign = [name for name in cost.uncounted if name.startswith("extern ")]
    if foreign:
        yield "not counted", f"{', '.join(foreign)}: its parameters, operations and memory are not known"


def _field(reach: Reach | None) -> str:
    if reach is None or not reach.windows:
        return "the whole input" if reach is not None and reach.whole else "one position"
    sizes, steps = " x ".join(str(w.size) for w in reach.windows), [str(w.step) for w in reach.windows]
    stride = steps[0] if len(set(steps)) == 1 else " x ".join(steps)
    return f"{sizes}, stride {stride}" + ("; also the whole input" if reach.whole else "")


def _count(value: Size | Largest) -> str:
    value = _bare(value)
    return (
        f"{value:,}" + (f" ({short(value)})" if value >= 10_000 else "") if isinstance(value, int) else formula(value)
    )


def _amount(value: Size | Largest) -> str:
    value = _bare(value)
    return (
        f"{value:,} bytes" + (f" ({amount_of(value)})" if value >= 1024 else "")
        if isinstance(value, int)
        else formula(value)
    )


def formula(value: Size | Largest) -> str:
    """As the size prints, with roundings up in words: `(H + 31) // 32` is `ceil(H / 32)`."""
    text = re.sub(r"\(\((\w+) \+ (\d+)\) // (\d+)\)", _rounded, str(value))
    return re.sub(r"\(\((\w+) \+ (\d+)\) // (\d+)\)", _rounded, text)


def _rounded(match: re.Match[str]) -> str:
    name, more, by = match.groups()
    return f"ceil({name} / {by})" if int(more) == int(by) - 1 else match[0]


def _bare(value: Size | Largest) -> Size | Largest:
    return value.known if isinstance(value, Largest) and value.known is not None else value


def short(value: int) -> str:
    """`4.09 G`."""
    for unit, scale in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= scale:
            return f"{value / scale:.2f} {unit}"
    return str(value)


def amount_of(value: int) -> str:
    """`8.88 MiB`."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= scale:
            return f"{value / scale:.2f} {unit}"
    return f"{value} B"


# -- tables ------------------------------------------------------------------------------------------------------------
def _tree(cost: Cost, depth: int, sort: str | None) -> Iterator[list[str]]:
    whole = [column(cost.tree) for column in COLUMNS.values()]

    def lines(block: Block, level: int) -> Iterator[list[str]]:
        cells = []
        for (name, column), total in zip(COLUMNS.items(), whole, strict=True):
            cells.append(_cell(column(block), total, amount_of if name == "memory" else short))
        times = f" x {block.count}" if block.count > 1 else ""
        yield ["  " * level + (f"{block.name}: " if block.name else "") + block.kind + times, *cells]
        if level < depth:
            for child in _sorted(block.children, sort):
                yield from lines(child, level + 1)

    yield from lines(cost.tree, 0)


def _cell(value: Size, total: Size, show: Callable[[int], str]) -> str:
    if not isinstance(value, int):
        return formula(value)
    share = f" {100 * value / total:5.1f}%" if isinstance(total, int) and total else ""
    return show(value) + share if value else "-" + " " * 7 * bool(share)


def _sorted(blocks: list[Block], sort: str | None) -> list[Block]:
    if sort is None:
        return blocks
    return sorted(blocks, key=lambda block: -_usual(COLUMNS[sort](block)))


def _usual(size: Size) -> int:
    return with_all(size, _USUAL)


def _kinds(cost: Cost) -> Iterator[list[str]]:
    """Kinds of ops by their FLOPs; those without any in one line."""
    rows = sorted(cost.by_op.items(), key=lambda item: (-_usual(item[1][1].flops), item[0]))
    for op, (calls, work) in rows:
        if work.flops != 0:
            cells = (_cell(work.macs, cost.macs, short), _cell(work.flops, cost.flops, short))
            yield [op, f"{calls:,}", *cells]
    free = {op: calls for op, (calls, work) in cost.by_op.items() if work.flops == 0}
    if free:
        yield [", ".join(sorted(free)), f"{sum(free.values()):,}", "-", "-"]


def _figures(rows: list[list[str]]) -> list[str]:
    return table(rows, indent="  ")


def _formulas(rows: list[list[str]]) -> list[str]:
    """The first two columns aligned; below each row but the first, the titles, its formulas."""
    titles = rows[0][2:]
    head, *lines = table([row[:2] for row in rows], indent="  ")
    result = [head]
    for line, row in zip(lines, rows[1:], strict=True):
        indent = " " * (len(line) - len(line.lstrip()) + 4)
        result.append(line)
        result += [f"{indent}{t}: {cell}" for t, cell in zip(titles, row[2:], strict=True) if cell.strip() != "-"]
    return result


# -- data --------------------------------------------------------------------------------------------------------------
def _plain(value: Size | Largest) -> int | str:
    value = _bare(value)
    return value if isinstance(value, int) else str(value)


def _number(value: Any) -> int | float:
    return int(value) if value == int(value) else float(value)


def _branch(block: Block, depth: int, sort: str | None) -> dict[str, Any]:
    children = _sorted(block.children, sort) if depth else []
    return {
        "name": block.name,
        "kind": block.kind,
        "count": block.count,
        "parameters": block.parameters,
        "macs": _plain(block.macs),
        "flops": _plain(block.flops),
        "saved_bytes": _plain(block.saved),
        "children": [_branch(child, depth - 1, sort) for child in children],
    }
