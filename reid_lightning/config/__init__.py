"""Composed configs: resolve, check, suggest."""
