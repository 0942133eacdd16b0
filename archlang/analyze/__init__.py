"""What a network costs, from its graph alone: parameters, operations, memory, receptive field. Needs no torch."""

from archlang.analyze.cost import Cost, at_peak, cost

__all__ = ["Cost", "at_peak", "cost"]
