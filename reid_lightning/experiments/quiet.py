"""Silence for what libraries say on every run and nobody can act on."""

import logging
import warnings


def quiet() -> None:
    """Silence what Lightning and its friends say on every run and nobody can act on."""
    for name in (
        "lightning.pytorch.utilities.rank_zero",
        "lightning.pytorch.accelerators.cuda",
        "lightning.fabric.utilities.distributed",  # each process says its number
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*The number of training batches.*is smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*Experiment logs directory .* exists and is not empty.*",
        ".*in eval mode at the start of training.*",  # frozen layers
        "The `srun` command is available.*",  # SLURM is asked for by hydra/launcher=slurm
        ".*`isinstance.treespec, LeafSpec.` is deprecated.*",
    ):
        warnings.filterwarnings("ignore", message)
