"""Training within a budget of memory: what is stored, evaluated again, or undone. Needs no torch."""

from archlang.budget.budget import Budget, Fit

__all__ = ["Budget", "Fit"]
