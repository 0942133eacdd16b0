"""Warnings: one file a check, over the syntax tree or over the graphs of a file's designs (`run`)."""

from archlang.verify.lints.run import lint

__all__ = ["lint"]
