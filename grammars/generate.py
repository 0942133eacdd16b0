"""Makes the parser's table from `archlang.lark` with Lark: `python grammars/generate.py > archlang/syntax/table.py`.

The same grammar gives the same text: states and rules, which Lark numbers anew in each run, are put in an order.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

__all__ = ["generate"]

_HEAD = '''\
"""The LALR(1) table of `archlang.lark` (what is in it: `grammar.py`). Made by `python grammars/generate.py`."""

# ruff: noqa: E501
# fmt: off
from __future__ import annotations
'''


def generate(grammar: str) -> str:
    """The text of `table.py`."""
    data = _ordered(_make(grammar))
    parts = [_HEAD]
    kinds = {"RULES": "tuple[tuple[str, str, int, tuple[tuple[int, int], ...], int, bool], ...]"}
    kinds |= {"ROWS": "tuple[dict[str, int], ...]", "STARTS": "dict[str, int]", "ENDS": "dict[str, int]"}
    kinds |= {"PATTERNS": "dict[str, str]", "FIXED": "tuple[str, ...]"}
    for name, kind in kinds.items():
        value = data[name.lower()]
        items = [f"{k!r}: {v!r}" for k, v in value.items()] if isinstance(value, dict) else map(_wrapped, value)
        opening, closing = "{}" if isinstance(value, dict) else "()"
        parts.append("\n".join([f"{name}: {kind} = {opening}", *(f"{item}," for item in items), closing]))
    return "\n".join(parts) + "\n"


def _wrapped(value: object) -> str:
    """In lines of at most 120 characters; the strings inside have no spaces."""
    return "\n".join(textwrap.wrap(repr(value), 118, break_long_words=False, break_on_hyphens=False))


def _ordered(data: dict[str, Any]) -> dict[str, Any]:
    """Rules sorted; states numbered as they are reached from the starts, by the names of the tokens."""
    rules = sorted(set(data["rules"]))
    place = {i: rules.index(rule) for i, rule in enumerate(data["rules"])}
    order = [data["starts"][name] for name in sorted(data["starts"])]
    for state in order:  # grows
        targets = [target for _, target in sorted(data["rows"][state].items()) if target >= 0]
        order += [t for t in dict.fromkeys(targets) if t not in order]
    number = {state: i for i, state in enumerate(order)}
    rows = [
        {name: number[t] if t >= 0 else ~place[~t] for name, t in sorted(data["rows"][state].items())}
        for state in order
    ]
    points = {key: {name: number[data[key][name]] for name in sorted(data[key])} for key in ("starts", "ends")}
    return {**data, **points, "rules": tuple(rules), "rows": tuple(rows)}


def _make(text: str) -> dict[str, Any]:
    """Run Lark and keep what the parser needs, as plain data."""
    from lark import Lark
    from lark.lexer import PatternStr

    lark = Lark(text, parser="lalr", lexer="basic", start=["module", "expression"], maybe_placeholders=True)
    fixed = {t.name: t.pattern.value for t in lark.terminals if isinstance(t.pattern, PatternStr)}
    patterns = {t.name: t.pattern.to_regexp() for t in lark.terminals}
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

    rules: list[tuple[Any, ...]] = []
    numbers: dict[int, int] = {}
    for memo_index, rule in kept.items():
        numbers[memo_index] = len(rules)
        origin = rule["origin"]["name"]
        keep, trailing = child_plan(rule)
        hidden = origin.startswith("_") and not rule["alias"]
        one = len(rule["expansion"]) == 1 and len(keep) == 1 and keep[0][1] == 0 and trailing == 0
        unit = one and not rule["alias"] and (hidden or rule["options"]["expand1"])
        action = "" if hidden else rule["alias"] or origin
        rules.append((f"<{origin}>", action, len(rule["expansion"]), tuple(keep), trailing, unit))

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
        "patterns": {name: pattern for name, pattern in sorted(patterns.items()) if name not in fixed},
        "fixed": tuple(sorted(fixed.values())),
    }


if __name__ == "__main__":
    sys.stdout.write(generate(Path(__file__).with_name("archlang.lark").read_text(encoding="utf-8")))
