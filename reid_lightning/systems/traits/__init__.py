"""Traits that are numbers: age, height, weight (HiQo Solutions / BSU 2019)."""
