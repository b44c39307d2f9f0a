"""What papers add to a run, a folder each."""
