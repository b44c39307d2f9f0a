"""Procedurally drawn people, written as a Market-1501 tree."""
