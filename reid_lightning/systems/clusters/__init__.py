"""Training without labels: clusters, computed before each epoch, replace identities (cluster contrast)."""
