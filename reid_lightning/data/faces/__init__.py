"""Drawn faces: a data set of portraits that anyone can make."""
