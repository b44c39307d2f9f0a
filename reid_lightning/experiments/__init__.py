"""One run: from a config or a checkpoint to results."""
