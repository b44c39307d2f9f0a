"""Pedestrian attributes beside the identity (Lin et al. 2019)."""
