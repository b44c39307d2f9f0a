"""Body parts by pose (Suh et al. 2018)."""
