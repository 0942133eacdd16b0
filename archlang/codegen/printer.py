"""Prints expressions, and wraps statements at 88 columns as black and ruff do.

Flat where it fits; else the outermost bracket is opened, one element a line, with the trailing comma that keeps it so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from archlang.codegen.exprs import (
    Abst,
    Bin,
    Call,
    Choice,
    Get,
    Item,
    Kwarg,
    Leaf,
    Map,
    Measure,
    Py,
    Raw,
    Rep,
    Seq,
    Slice,
    Un,
    Var,
)
from archlang.shapes.dim import Dim, Floor, Size, Symbol

__all__ = ["WIDTH", "Printer", "literal", "measured", "string", "written"]

WIDTH = 88
_CHOICE, _COMPARE, _OR, _AND, _SUM, _PRODUCT, _UNARY, _POWER, _ATOM = range(9)
_OPS = {
    "==": _COMPARE, "!=": _COMPARE, "<": _COMPARE, "<=": _COMPARE, ">": _COMPARE, ">=": _COMPARE,
    "|": _OR, "&": _AND, "+": _SUM, "-": _SUM,
    "*": _PRODUCT, "/": _PRODUCT, "//": _PRODUCT, "%": _PRODUCT, "@": _PRODUCT, "**": _POWER,
}  # fmt: skip
_CONTAINERS = frozenset({"nn.ModuleDict", "nn.ModuleList", "nn.Sequential"})
_SIMPLE_POWER = re.compile(r"-?[A-Za-z_0-9.]+\Z")
_SIMPLE_SLICE = re.compile(r"-?\w+\Z")


def string(text: str) -> str:
    """A string literal: double quotes unless single ones need fewer escapes; everything unusual escaped."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    body = "".join(f"\\{c}" if c in (quote, "\\") else c if " " <= c <= "~" else _escape(c) for c in text)
    return f"{quote}{body}{quote}"


def _escape(char: str) -> str:
    known = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    code = ord(char)
    return known.get(char) or (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def literal(value: Any) -> str:
    """Text of None, bool, int, float, str, or a tuple of them."""
    if isinstance(value, str):
        return string(value)
    if isinstance(value, tuple):
        inner = ", ".join(literal(v) for v in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    raise TypeError(f"{value!r} is no literal")


class Printer:
    """Prints with given names for values, for abstracted leaves, and for size symbols."""

    def __init__(
        self,
        value: Callable[[int], str] = lambda index: f"v{index}",
        argument: Callable[[Abst], str] = lambda leaf: "?",
        size: Callable[[str], str] = lambda symbol: symbol,
    ) -> None:
        self._value = value
        self._argument = argument
        self._size = size

    # -- flat ------------------------------------------------------------------------------------------------------
    def text(self, e: Py, at_least: int = _CHOICE) -> str:
        """One line; in parentheses where it binds more loosely than its surroundings."""
        text, precedence = self._print(e)
        return f"({text})" if precedence < at_least else text

    def _print(self, e: Py) -> tuple[str, int]:
        if isinstance(e, Raw):
            return e.text, _ATOM
        if isinstance(e, Var):
            return self._value(e.index), _ATOM
        if isinstance(e, Leaf):
            return _rank(literal(e.value))
        if isinstance(e, Abst):
            return _rank(self._argument(e))
        if isinstance(e, Measure):
            return self._measure(e.size)
        if isinstance(e, Get):
            return f"{self.text(e.value, _ATOM)}.{e.name}", _ATOM
        if isinstance(e, Call):
            return f"{self.text(e.func, _ATOM)}({', '.join(self._arguments(e))})", _ATOM
        if isinstance(e, Item):
            return f"{self.text(e.value, _ATOM)}[{', '.join(self._item(i) for i in e.items)}]", _ATOM
        if isinstance(e, Bin):
            return self._binary(e)
        if isinstance(e, Un):
            return f"{e.op}{self.text(e.operand, _UNARY)}", _UNARY
        return self._display(e)

    def _display(self, e: Py) -> tuple[str, int]:
        if isinstance(e, Seq):
            inner = ", ".join(self.text(i) for i in e.items)
            if e.kind == "list":
                return f"[{inner}]", _ATOM
            return (f"({inner},)" if len(e.items) == 1 else f"({inner})"), _ATOM
        if isinstance(e, Map):
            return "{" + ", ".join(f"{string(k)}: {self.text(v)}" for k, v in e.items) + "}", _ATOM
        if isinstance(e, Rep):
            return f"*({self._generator(e)})", _ATOM
        if isinstance(e, Choice):
            parts = self.text(e.then, _COMPARE), self.text(e.test, _COMPARE), self.text(e.otherwise)
            return f"{parts[0]} if {parts[1]} else {parts[2]}", _CHOICE
        raise TypeError(f"{type(e).__name__} was not resolved before printing")

    def _generator(self, e: Rep) -> str:
        return f"{self.text(e.element)} {self._passes(e)}"

    def _passes(self, e: Rep) -> str:
        return f"for {'i' if e.indexed else '_'} in range({self.text(e.count)})"

    def _arguments(self, e: Call) -> list[str]:
        if e.args and isinstance(e.args[0], Rep) and not e.args[0].star:
            return [self._generator(e.args[0])]
        return [self.text(a) for a in e.args] + [f"{k.name}={self.text(k.value)}" for k in written(e)]

    def _binary(self, e: Bin) -> tuple[str, int]:
        precedence = _OPS[e.op]
        if e.op == "**":
            left, right = self.text(e.left, _ATOM), self.text(e.right, _UNARY)
            gap = "" if _SIMPLE_POWER.match(left) and _SIMPLE_POWER.match(right) else " "
            return f"{left}{gap}**{gap}{right}", precedence
        left = self.text(e.left, precedence + (precedence == _COMPARE))
        return f"{left} {e.op} {self.text(e.right, precedence + 1)}", precedence

    def _terms(self, e: Py, precedence: int | None = None) -> list[str]:
        """`a + b - c` as `a`, `+ b`, `- c`: what stands inside of parentheses, one a line."""
        if not isinstance(e, Bin) or e.op == "**" or precedence not in (None, _OPS[e.op]):
            return [self.text(e, precedence or 0)]
        own = _OPS[e.op]
        return [*self._terms(e.left, own), f"{e.op} {self.text(e.right, own + 1)}"]

    def _item(self, item: Py | Slice) -> str:
        if not isinstance(item, Slice):
            return self.text(item)
        parts = ["" if p is None else self.text(p, _OR) for p in (item.lower, item.upper)]
        step = None if item.step is None else self.text(item.step, _OR)
        tight = all(not p or _SIMPLE_SLICE.match(p) for p in (*parts, step or ""))
        colon = ":" if tight else " : "
        if step is not None and not parts[1]:  # two colons are one sign
            return f"{parts[0]}{colon.rstrip()}{colon.lstrip()}{step}".lstrip()
        text = colon.join(parts) if step is None else colon.join((*parts, step))
        return text.strip()

    def _measure(self, size: Size) -> tuple[str, int]:
        if isinstance(size, int):
            return _rank(str(size))
        terms = sorted(size.terms, key=lambda term: not term[0])  # the constant last
        parts: list[str] = []
        rank = _ATOM
        for mono, coefficient in terms:
            factors = [self._atom(atom) for atom, power in mono for _ in range(power)]
            scale = [] if abs(coefficient) == 1 and factors else [str(abs(coefficient))]
            if len(factors) + len(scale) == 1:
                text, rank = factors[0] if factors else (scale[0], _ATOM)
            else:
                text, rank = " * ".join([*scale, *(f"({t})" if r < _ATOM else t for t, r in factors)]), _PRODUCT
            if not parts and coefficient < 0:
                text, rank = f"-({text})" if rank < _ATOM else f"-{text}", _UNARY
            parts.append(text if not parts else f"- {text}" if coefficient < 0 else f"+ {text}")
        return " ".join(parts), rank if len(parts) == 1 else _SUM

    def _atom(self, atom: Symbol | Floor) -> tuple[str, int]:
        if isinstance(atom, Symbol):
            return _rank(self._size(atom.name))
        top, bottom = self._measure(atom.numerator), self._measure(atom.denominator)
        over = f"({top[0]})" if top[1] < _PRODUCT else top[0]
        under = f"({bottom[0]})" if bottom[1] < _ATOM else bottom[0]
        return f"{over} // {under}", _PRODUCT

    # -- wrapped ---------------------------------------------------------------------------------------------------
    def statement(self, e: Py, indent: int, before: str = "", after: str = "") -> list[str]:
        """Lines of `before e after`, each already indented."""
        pad = " " * indent
        flat = f"{pad}{before}{self.text(e)}{after}"
        if len(flat) <= WIDTH:
            return [flat]
        bare = before.endswith(("= ", " in ")) or before.startswith("return")  # parentheses can be put around
        links = self._links(e)
        if bare and len(links) > 2 and all(indent + 4 + len(link) <= WIDTH for link in links):
            if indent + 4 + len(self.text(e)) <= WIDTH:
                links = [self.text(e)]
            return [f"{pad}{before}(", *(f"{pad}    {link}" for link in links), f"{pad}){after}"]
        opened = self._open(e)
        if opened is None:
            if bare:
                return [f"{pad}{before}(", *self.statement(e, indent + 4), f"{pad}){after}"]
            return [pad + term for term in self._terms(e)] if isinstance(e, Bin) and not before + after else [flat]
        head, parts, close = opened
        if len(f"{pad}{before}{head}") > WIDTH:  # not even what stands before the bracket fits
            if isinstance(e, Call) and isinstance(e.func, Get) and isinstance(e.func.value, Call):
                return self.statement(e.func.value, indent, before, f"{self._link(e)}{after}")
            if before.endswith("= "):
                return [f"{pad}{before}(", *self.statement(e, indent + 4), f"{pad}){after}"]
        body = self._joined(e)
        if body and indent + 4 + len(body) <= WIDTH:
            return [f"{pad}{before}{head}", f"{pad}    {body}", f"{pad}{close}{after}"]
        lines = [f"{pad}{before}{head}"]
        for part in parts:
            lines += self._element(part, indent + 4)
        return [*lines, f"{pad}{close}{after}"]

    def _links(self, e: Py) -> list[str]:
        """A chain of method calls, one a line: `x.reshape(...)`, `.permute(...)`."""
        found: list[str] = []
        while isinstance(e, Call) and isinstance(e.func, Get):
            found.append(self._link(e))
            e = e.func.value
        if found and isinstance(e, Call) and isinstance(e.func, Raw):  # `torch.unflatten(...)`, `.permute(...)`
            return [self.text(e), *reversed(found)]
        if not found or not isinstance(e, (Var, Raw)):
            return []
        return [self.text(e, _ATOM) + found[-1], *reversed(found[:-1])]

    def _link(self, e: Call) -> str:
        """A call of a method, without what it belongs to."""
        assert isinstance(e.func, Get)
        return f".{e.func.name}({', '.join(self._arguments(e))})"

    def _joined(self, e: Py) -> str:
        """The arguments of a call on one line; containers of modules list theirs one a line."""
        if not isinstance(e, Call) or (isinstance(e.func, Raw) and e.func.text in _CONTAINERS):
            return ""
        nested = any(isinstance(a, (Rep, Map, Seq)) for a in e.args)
        return "" if nested else ", ".join(self._arguments(e))

    def _open(self, e: Py) -> tuple[str, tuple[Any, ...], str] | None:
        if isinstance(e, Call) and (e.args or e.kwargs):
            args: tuple[Any, ...] = (*e.args, *written(e))
            if isinstance(args[0], Rep) and not args[0].star:
                args = ((args[0],),)
            return f"{self.text(e.func, _ATOM)}(", args, ")"
        if isinstance(e, Seq) and e.items:
            return ("[", e.items, "]") if e.kind == "list" else ("(", e.items, ")")
        if isinstance(e, Map) and e.items:
            return "{", e.items, "}"
        return None

    def _element(self, part: Any, indent: int) -> list[str]:
        pad = " " * indent
        if isinstance(part, Kwarg):
            return self.statement(part.value, indent, f"{part.name}=", ",")
        if isinstance(part, Un) and part.op == "**":
            return self.statement(part.operand, indent, "**", ",")
        if isinstance(part, tuple) and len(part) == 1:  # the only argument is a generator: no comma after it
            return self._loop(part[0], indent)
        if isinstance(part, tuple):
            return self.statement(part[1], indent, f"{string(part[0])}: ", ",")
        if isinstance(part, Rep) and len(pad + self.text(part)) + 1 > WIDTH:
            return [f"{pad}*(", *self._loop(part, indent + 4), f"{pad}),"]
        return self.statement(part, indent, "", ",")

    def _loop(self, rep: Rep, indent: int) -> list[str]:
        pad = " " * indent
        flat = pad + self._generator(rep)
        if len(flat) <= WIDTH:
            return [flat]
        return [*self.statement(rep.element, indent), f"{pad}{self._passes(rep)}"]


def written(e: Call) -> tuple[Kwarg, ...]:
    """The keyword arguments that are not at their default everywhere."""
    return tuple(k for k in e.kwargs if not (isinstance(k.value, Leaf) and _same(k.value.value, k.default)))


def _same(a: Any, b: Any) -> bool:
    return b is not ... and type(a) is type(b) and bool(a == b)


def _rank(text: str) -> tuple[str, int]:
    """Precedence of a literal or of an argument's expression, read off its text."""
    if re.search(r"[-+] ", text) and not text.startswith(("(", '"', "'")):
        return text, _SUM
    if re.search(r" (\*|//) ", text) and not text.startswith(("(", '"', "'")):
        return text, _PRODUCT
    return text, _UNARY if text.startswith("-") else _ATOM


def measured(size: Size) -> Py:
    """A size as an expression: a literal where it is known."""
    return Measure(size) if isinstance(size, Dim) else Leaf(size)
