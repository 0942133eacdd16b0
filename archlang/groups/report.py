"""Groups as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from archlang.groups.find import Group, Groups, Member

__all__ = ["as_dict", "as_text"]

SHOWN = 6  # members of a group


def as_dict(groups: Groups) -> list[dict[str, Any]]:
    """A dictionary for each group, those of one index left out."""
    return [
        {
            "name": group.name,
            "size": group.size,
            "free": group.free,
            "prunable": group.prunable,
            "fixed": group.fixed,
            "held": group.held,
            "measured": group.measured,
            "members": [_member(member) for member in group.members],
        }
        for group in groups
        if group.size > 1
    ]


def _member(member: Member) -> dict[str, Any]:
    return {
        "key": member.key,
        "dim": member.dim,
        "offset": member.offset,
        "block": member.block,
        "repeats": [list(pair) for pair in member.repeats],
    }


def as_text(groups: Groups, title: str, every: bool = False) -> str:
    """Free groups with their members (all of them where `every`), then what keeps its place, by reason."""
    free = [group for group in groups.free if group.size > 1]
    kept = sum(not group.prunable for group in free)
    plural = "" if len(free) == 1 else "s"
    head = f"{title}: {len(free)} group{plural} of indices that can be reordered together"
    head += f", {len(free) - kept} of which can be pruned" if kept else ""
    lines = [head, ""]
    for group in free:
        lines += [*_group(group, every), ""]
    fixed: dict[str, list[str]] = {}
    for group in groups:
        if group.fixed is not None and group.size > 1:
            fixed.setdefault(group.fixed, []).extend(_place(member) for member in group.members)
    if fixed:
        lines.append("what keeps its place")
        lines += [f"  {reason}: {_some(places, every)}" for reason, places in fixed.items()]
    return "\n".join(lines).rstrip() + "\n"


def _group(group: Group, every: bool) -> Iterator[str]:
    measured = f", fewer with --through-norms: {group.measured}" if group.measured else ""
    why = f", not fewer: {group.held}" if group.held else measured
    yield f"{group.name}  {group.size} indices{why}"
    shown = group.members if every or len(group.members) <= SHOWN + 1 else group.members[:SHOWN]
    width = max(len(member.key) for member in shown)
    for member in shown:
        yield f"  {member.key:<{width}}  dim {member.dim}{_where(member)}"
    if len(shown) < len(group.members):
        yield f"  and {len(group.members) - len(shown)} more"


def _where(member: Member) -> str:
    found = [f"from {member.offset} on"] if member.offset else []
    found += [f"each {member.block} wide"] if member.block > 1 else []
    found += [f"{count} times, {stride} apart" for count, stride in member.repeats]
    return f"  {', '.join(found)}" if found else ""


def _place(member: Member) -> str:
    return f"{member.key} dim {member.dim}"


def _some(places: list[str], every: bool) -> str:
    few = places if every or len(places) <= 3 else places[:2]
    more = f" and {len(places) - len(few)} more" if len(few) < len(places) else ""
    return ", ".join(few) + more
