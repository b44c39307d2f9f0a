"""The training with Lightning: module, objective, metrics, optimizers, loggers."""
