"""Code generation: a typed graph program becomes the text of one standalone PyTorch file."""

from archlang.codegen.generate import generate

__all__ = ["generate"]
