"""People followed through videos, within a camera and across cameras, by motion and by the vectors of a model.

An example of what a model's vectors are for in a tracker, and not a product: `associate.py` is the part to read.
"""
