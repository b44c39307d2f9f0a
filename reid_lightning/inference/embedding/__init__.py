"""Vectors of any number of images into one file, in parts that outlive a kill."""
