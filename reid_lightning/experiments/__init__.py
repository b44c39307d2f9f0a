"""One run: from a config to results, and back from a checkpoint."""
