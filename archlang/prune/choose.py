"""Which indices of which groups are left out: a share of each, the smallest first; or those of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archlang.groups import Group, Groups
from archlang.ops.axes import factors, leaves, parts
from archlang.report.diagnostic import ArchError, Diagnostic
from archlang.report.suggest import did_you_mean

__all__ = ["Kept", "by_ratio", "by_table"]

Kept = dict[int, list[int]]  # for a group, by its number: the indices that are kept, ascending
LEAST = 2  # of a group are kept: a size of 1 would broadcast


def by_ratio(
    groups: Groups,
    ratio: float,
    state: Mapping[str, Any] | None = None,
    power: int = 2,
    *,
    through_norms: bool = False,
) -> Kept:
    """Leaves a share of each group out, rounded down: those with the smallest weights, else (no state) the last ones.

    An index counts by the sum of |w|^power over all weights of its group's members (1: L1, 2: L2). Where an axis is a
    product of groups (groups of a convolution and the channels in them, heads and their width), the innermost of those
    that can be pruned shrinks. through_norms: groups over which norms take statistics shrink, too.
    """
    kept: Kept = {}
    for number in _innermost(groups, through_norms):
        left = _share(groups.groups[number], ratio, state, power)
        if len(left) < groups.groups[number].size:
            kept[number] = left
    return kept


def by_table(
    groups: Groups,
    table: Mapping[str, Sequence[int] | float],
    state: Mapping[str, Any] | None = None,
    power: int = 2,
    *,
    through_norms: bool = False,
) -> Kept:
    """Leaves out what a table says: for the name of a group the indices, or a share as in `by_ratio`.

    Raises ArchError: ARC0811 for what is no group, ARC0812 for a group that cannot be pruned, ARC0813 for indices that
    the group does not have.
    """
    names = {group.name: i for i, group in enumerate(groups) if group.size > 1}
    kept: Kept = {}
    for name, wanted in table.items():
        if name not in names:
            free = [name for name, i in names.items() if _may(groups.groups[i], through_norms)]
            help = (
                did_you_mean(name, free)
                or did_you_mean(name, names)
                or f"`archc groups` shows them; the first is `{free[0] if free else '-'}`"
            )
            raise ArchError(Diagnostic("ARC0811", f"there is no group `{name}`", None, help=help))
        number = names[name]
        group = groups.groups[number]
        if not _may(group, through_norms):
            raise ArchError(Diagnostic("ARC0812", f"the group `{name}` cannot be pruned", None, help=_why(group)))
        if isinstance(wanted, (int, float)):
            kept[number] = _share(group, wanted, state, power)
        else:
            kept[number] = _rest(group, wanted)
    return kept


def _may(group: Group, through_norms: bool) -> bool:
    return group.shrinkable if through_norms else group.prunable


def _why(group: Group) -> str:
    if group.fixed is not None:
        return f"it keeps its place: {group.fixed}"
    if group.held is not None:
        return f"it keeps its size: {group.held}"
    return f"{group.measured}; with `--through-norms`, over those that are left"


def _share(group: Group, ratio: float, state: Mapping[str, Any] | None, power: int) -> list[int]:
    """What is kept of a group of which a share goes."""
    order = _by_weight(group, state, power) if state is not None else [*reversed(range(group.size))]
    return sorted(order[max(0, min(int(group.size * ratio), group.size - LEAST)) :])


def _rest(group: Group, dropped: Sequence[int]) -> list[int]:
    out = [i for i in dropped if type(i) is not int or not 0 <= i < group.size]
    if out:
        message = f"the group `{group.name}` has no index {out[0]}: it has {group.size}"
        raise ArchError(Diagnostic("ARC0813", message, None, help="indices count from 0"))
    left = sorted({*range(group.size)} - {*dropped})
    if len(left) < LEAST:
        message = f"of the group `{group.name}`, {len(left)} of {group.size} indices would be left"
        raise ArchError(Diagnostic("ARC0813", message, None, help=f"keep at least {LEAST}"))
    return left


def _innermost(groups: Groups, through_norms: bool) -> list[int]:
    """The groups that can be pruned, without those in whose indices another one lies that can."""
    numbers = enumerate(groups.variables)
    prunable = {id(var): i for i, var in numbers if _may(groups.groups[i], through_norms)}
    outer: set[int] = set()
    for axis in (axis for axes in groups.walk.weights.values() for axis in axes):
        for piece in parts(axis):
            inside = False
            for factor in reversed(factors(piece)):
                found = {prunable[id(var)] for var in leaves(factor) if id(var) in prunable}
                outer.update(found if inside else ())
                inside = inside or bool(found)
    return sorted(i for i in prunable.values() if i not in outer and groups.groups[i].size > LEAST)


def _by_weight(group: Group, state: Mapping[str, Any], power: int) -> list[int]:
    """The indices, those with the smallest weights first. Needs torch."""
    import torch

    total = torch.zeros(group.size, dtype=torch.float64)
    for member in group.members:
        tensor = state.get(member.key)
        if tensor is None or not tensor.is_floating_point() or member.key.endswith(("running_mean", "running_var")):
            continue
        mass = (
            tensor.detach()
            .double()
            .abs()
            .pow(power)
            .movedim(member.dim, 0)
            .reshape(tensor.shape[member.dim], -1)
            .sum(1)
            .cpu()
        )
        places = torch.tensor(member.places(0)) + member.block * torch.arange(group.size).unsqueeze(1)
        total += mass[places].sum(1)
    return sorted(range(group.size), key=lambda i: (float(total[i]), -i))
