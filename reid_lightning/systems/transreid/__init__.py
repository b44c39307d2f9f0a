"""TransReID (He et al., ICCV 2021): a vision transformer with side information and shuffled patches."""
