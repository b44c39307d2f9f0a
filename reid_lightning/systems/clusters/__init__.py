"""Training without labels: people are clusters that are found anew before each epoch (cluster contrast)."""
