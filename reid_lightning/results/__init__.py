"""What a run leaves: numbers, tables, the console's lines, the page."""
