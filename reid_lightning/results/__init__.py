"""Output of a run: numbers, tables, console lines, the page."""
