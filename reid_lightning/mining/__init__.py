"""Miners: which triplets of a batch to train on."""
