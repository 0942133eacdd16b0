"""Which indices of which weights go together: the groups of channels that can be reordered, or pruned, as one."""

from archlang.groups.find import Group, Groups, Member, find

__all__ = ["Group", "Groups", "Member", "find"]
