"""Miners select the triplets of a batch to train on."""
