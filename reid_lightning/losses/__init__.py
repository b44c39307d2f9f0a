"""Losses, one small module each."""
