"""What a design's forward looks at before anything else: the sizes that its inputs declare, and those that `where`
promises."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from archlang.codegen.body import Check, Compared
from archlang.codegen.exprs import Bin, Py, Raw
from archlang.codegen.printer import WIDTH, Printer, measured
from archlang.ir.graph import Constraint, Graph
from archlang.ir.sizes import declared
from archlang.shapes.dim import Floor, Size

__all__ = ["check_lines", "promises", "promising"]

_NEGATED = {"==": "!=", ">=": "<", "<=": ">"}


def promises(graph: Graph) -> Iterator[Check]:
    """A check for each condition that the graph's own declaration makes."""
    promised = [c for c in graph.constraints if c.rule == "promise"]
    implied = {c.left - c.right for c in promised if c.relation == "==" and not c.cases}
    for c in declared(graph):
        if not implied & {c.left - c.right, c.right - c.left}:
            yield Check(c.reason, ((_compared(c),),), _named(graph, c))
    for c in promised:
        cases = tuple(tuple(map(_compared, case)) for case in c.cases) or ((_compared(c),),)
        yield Check(f"`{graph.block}` needs {c.reason}", cases, _named(graph, c))


def promising(graph: Graph) -> bool:
    """Whether there is such a condition."""
    return next(promises(graph), None) is not None


def _named(graph: Graph, c: Constraint) -> tuple[str, ...]:
    return tuple(name for name in graph.symbols if name in c.symbols)


def _compared(c: Constraint) -> Compared:
    if c.relation == "==" and _rest(c.left - c.right) is not None:
        return Compared(_size(c.left - c.right), "==", Raw("0"))
    if c.relation == ">=" and isinstance(c.left, int):
        return Compared(_size(c.right), "<=", _size(c.left))
    return Compared(_size(c.left), c.relation, _size(c.right))


def _size(size: Size) -> Py:
    """The size as an expression: `x % n` where it is a rest."""
    rest = _rest(size)
    if rest is not None:
        return Bin("%", measured(rest.numerator), measured(rest.denominator))
    return Raw(str(size)) if isinstance(size, int) else measured(size)


def _rest(size: Size) -> Floor | None:
    """The division that the size is the rest of."""
    for mono, _ in () if isinstance(size, int) else size.terms:
        atom = mono[0][0] if mono else None
        if isinstance(atom, Floor) and size == atom.numerator - atom.denominator * (atom.numerator // atom.denominator):
            return atom
    return None


def check_lines(check: Check, printer: Printer, names: Mapping[str, str], indent: int) -> list[str]:
    """`if h % 4 != 0: raise ValueError(...)`, over several lines. names: what the symbols are called here."""
    pad = " " * indent
    have = ", ".join(f"{name} is {{{names[name]}}}" for name in check.symbols)
    return [*_test(check, printer, pad), *_raise(check.text, have, pad + "    ")]


def _test(check: Check, printer: Printer, pad: str) -> list[str]:
    def text(c: Compared, relation: str) -> str:
        return printer.text(Bin(relation, c.left, c.right))

    if len(check.cases) == 1:
        (only,) = check.cases[0]
        return [f"{pad}if {text(only, _NEGATED[only.relation])}:"]
    cases = [" and ".join(text(c, c.relation) for c in case) for case in check.cases]
    cases = [f"({t})" if len(case) > 1 else t for t, case in zip(cases, check.cases, strict=True)]
    flat = f"{pad}if not ({' or '.join(cases)}):"
    if len(flat) <= WIDTH:
        return [flat]
    first, *others = cases
    return [f"{pad}if not (", f"{pad}    {first}", *(f"{pad}    or {case}" for case in others), f"{pad}):"]


def _raise(what: str, have: str, pad: str) -> list[str]:
    message = f"{what}, and {have}"
    for lines in ([f'{pad}raise ValueError(f"{message}")'], _opened([f'f"{message}"'], pad)):
        if max(map(len, lines)) <= WIDTH:
            return lines
    parts = textwrap.wrap(message, WIDTH - len(pad) - 8, break_long_words=False, drop_whitespace=False)
    return _opened([f'{"f" if "{" in part else ""}"{part}"' for part in parts], pad)


def _opened(strings: list[str], pad: str) -> list[str]:
    return [f"{pad}raise ValueError(", *(f"{pad}    {string}" for string in strings), f"{pad})"]
