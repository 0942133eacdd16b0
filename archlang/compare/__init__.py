"""What changed between two designs: structure, types, parameters, cost."""
