"""From the typed graph back to a spec: text that elaborates to an equal program."""

from archlang.unparse.program import to_arch

__all__ = ["to_arch"]
