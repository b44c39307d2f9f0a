"""Code of the papers, one folder each."""
