"""Training with Lightning: module, objective, metrics, loggers."""
