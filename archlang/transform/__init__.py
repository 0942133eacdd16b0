"""Rewrites that a user asks for: the function may change, and the report says how. See docs/transforms.md."""

from archlang.transform.base import Transform, known_transforms
from archlang.transform.driver import Effect, Transformed, transform

__all__ = ["Effect", "Transform", "Transformed", "known_transforms", "transform"]
