"""The generated module against the static figures: runs it on tensors without data. Needs torch."""
