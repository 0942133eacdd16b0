"""The LALR(1) table: made by Lark from `archlang.lark`, kept as JSON in the user's cache folder.

Making the table takes a quarter of a second and importing Lark another twentieth; reading it back takes some
milliseconds. The cache is keyed by the grammar's text and by Lark's version, is plain data (never code), and is only an
optimisation: a folder that cannot be read or written, or a damaged file, changes nothing but the time.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Rule", "Table", "grammar_path", "load_table"]

_FORMAT = 1  # of the cached file


@dataclass(frozen=True, slots=True)
class Rule:
    """One production, as the parser needs it."""

    origin: str
    action: str  # the builder's method; "" where the children go to the parent rule ("_" rules)
    length: int
    keep: tuple[tuple[int, int], ...]  # (index of a child that is kept, number of `None`s before it)
    trailing: int  # number of `None`s at the end
    unit: bool  # passes its only child on


@dataclass(frozen=True, slots=True)
class Table:
    """`rows[state]` maps a token type to a state (shift) or to `~rule` (reduce), and `<name>` of a rule to a state.

    Tokens with a fixed text have that text as their type (`"->"`, `"block"`).
    """

    rules: tuple[Rule, ...]
    rows: tuple[dict[str, int], ...]
    starts: dict[str, int]
    ends: dict[str, int]
    patterns: dict[str, str]  # terminal -> regular expression
    words: frozenset[str]  # keywords, soft ones included
    signs: tuple[str, ...]  # punctuation, longest first


def grammar_path() -> Path:
    """`archlang.lark`, in an installed package or in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "grammars", package.parent / "grammars"):
        path = folder / "archlang.lark"
        if path.is_file():
            return path
    raise FileNotFoundError("archlang.lark is missing from this installation of archlang")


@functools.cache
def load_table() -> Table:
    """The table, from the cache where possible; made once a process."""
    text = grammar_path().read_text(encoding="utf-8")
    lark_version = importlib.metadata.version("lark")
    key = hashlib.sha256(f"{_FORMAT}\n{lark_version}\n{text}".encode()).hexdigest()[:20]
    folder = _cache_folder()
    path = folder / f"grammar-{key}.json" if folder else None
    if path is not None:
        try:
            return _from_json(json.loads(path.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError):
            pass
    data = _make(text)
    if path is not None:
        _store(path, json.dumps(data, separators=(",", ":")))
    return _from_json(data)


def _cache_folder() -> Path | None:
    """Where caches go on this system; `ARCHLANG_CACHE` overrides it, and an empty value turns the cache off."""
    chosen = os.environ.get("ARCHLANG_CACHE")
    if chosen is not None:
        return Path(chosen) if chosen else None
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return Path(base) / "archlang" / "Cache" if base else None
    try:
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "archlang"
        xdg = os.environ.get("XDG_CACHE_HOME")
        return (Path(xdg) if xdg else Path.home() / ".cache") / "archlang"
    except RuntimeError:  # no home folder
        return None


def _store(path: Path, text: str) -> None:
    """Write atomically, so that two compilers started together never read half a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".grammar-")
    except OSError:
        return
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)


def _make(text: str) -> dict[str, Any]:
    """Run Lark and keep what the parser needs, as JSON-able data."""
    from lark import Lark
    from lark.lexer import PatternStr

    lark = Lark(text, parser="lalr", lexer="basic", start=["module", "expression"], maybe_placeholders=True)
    fixed = {t.name: t.pattern.value for t in lark.terminals if isinstance(t.pattern, PatternStr)}
    data, memo = lark.memo_serialize([type(lark.rules[0])])
    parser = data["parser"]["parser"]
    kept = {int(i): rule for i, rule in memo.items()}

    def child_plan(rule: dict[str, Any]) -> tuple[list[tuple[int, int]], int]:
        options = rule["options"]
        flags = list(options["empty_indices"]) or [False] * len(rule["expansion"])
        keep: list[tuple[int, int]] = []
        index = nones = 0
        for is_none in flags:
            if is_none:
                nones += 1
                continue
            symbol = rule["expansion"][index]
            if options["keep_all_tokens"] or not (symbol["__type__"] == "Terminal" and symbol["filter_out"]):
                keep.append((index, nones))
                nones = 0
            index += 1
        return keep, nones

    rules: list[list[Any]] = []
    numbers: dict[int, int] = {}
    for memo_index, rule in kept.items():
        numbers[memo_index] = len(rules)
        origin = rule["origin"]["name"]
        keep, trailing = child_plan(rule)
        hidden = origin.startswith("_") and not rule["alias"]
        one = len(rule["expansion"]) == 1 and len(keep) == 1 and keep[0][1] == 0 and trailing == 0
        unit = one and not rule["alias"] and (hidden or rule["options"]["expand1"])
        action = "" if hidden else rule["alias"] or origin
        rules.append([f"<{origin}>", action, len(rule["expansion"]), keep, trailing, unit])

    terminals = {t.name for t in lark.terminals} | {"$END", "_NL"}
    names = {
        int(i): fixed.get(name, name) if name in terminals else f"<{name}>" for i, name in parser["tokens"].items()
    }
    rows: list[dict[str, int]] = [{} for _ in parser["states"]]
    for state, actions in parser["states"].items():
        for token, (kind, argument) in actions.items():
            target = ~numbers[argument["@"]] if kind == 1 else argument
            rows[state][names[token]] = target
    return {
        "rules": rules,
        "rows": rows,
        "starts": parser["start_states"],
        "ends": parser["end_states"],
        "patterns": {t.name: t.pattern.to_regexp() for t in lark.terminals if t.name not in fixed},
        "fixed": sorted(fixed.values()),
    }


def _from_json(data: dict[str, Any]) -> Table:
    rules = tuple(
        Rule(origin, action, length, tuple((i, n) for i, n in keep), trailing, unit)
        for origin, action, length, keep, trailing, unit in data["rules"]
    )
    fixed: list[str] = data["fixed"]
    return Table(
        rules=rules,
        rows=tuple(data["rows"]),
        starts=data["starts"],
        ends=data["ends"],
        patterns=data["patterns"],
        words=frozenset(f for f in fixed if f.replace("_", "a").isalnum()),
        signs=tuple(sorted((f for f in fixed if not f.replace("_", "a").isalnum()), key=lambda s: (-len(s), s))),
    )
