"""Configs: compose, resolve, check, suggest corrections."""
