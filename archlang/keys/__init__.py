"""Names and shapes of a spec's tensors, against those of a checkpoint."""
