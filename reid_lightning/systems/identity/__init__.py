"""Identity classification."""
