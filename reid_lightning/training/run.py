"""The run: from a config to a trained, evaluated and reported model.

`python train.py`, `reid train` and the further processes of a multi-GPU job all come through `main`. Heavy imports
wait until a job really starts, so that `--help` answers at once.
"""

import logging
import sys
import warnings

import hydra
from hydra.errors import CompactHydraException
from omegaconf import DictConfig

from reid_lightning.errors import InputError
from reid_lightning.training.configuration import CONF, nearest_key, plain, plain_unresolved

log = logging.getLogger("reid_lightning")


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _main(config: DictConfig) -> float | None:
    """Run one job; Hydra composes the config, and a sweeper reads the returned validation mAP."""
    from reid_lightning.training.job import run_job

    try:
        return run_job(plain(config)).score
    except InputError as error:
        raise CompactHydraException(f"error: {error}") from error


def main() -> None:
    """Train and evaluate as the command line says; exit with a code that is not 0 after an error."""
    try:
        _main()
    except SystemExit as error:
        if error.code not in (0, None):
            _hint(sys.argv[1:])
        raise


def _hint(arguments: list[str]) -> None:
    """After a failure, name the nearest right key for an override whose key does not exist."""
    from omegaconf import OmegaConf

    overrides = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    wrong = [o.split("=", 1)[0] for o in overrides if o[0] not in "+~" and not o.startswith("hydra")]
    if not wrong:
        return
    groups = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir())
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            choices = [o for o in overrides if o.split("=", 1)[0] in groups and "," not in o.split("=", 1)[1]]
            config = hydra.compose("config", choices)
        except CompactHydraException:
            return
    known = plain_unresolved(config)
    for key in wrong:
        if key not in groups and OmegaConf.select(config, key, throw_on_missing=False) is None:
            near = nearest_key(key, known | dict.fromkeys(groups))
            if near and near != key:
                print(f"Did you mean {near!r} instead of {key!r}?", file=sys.stderr)


def quiet() -> None:
    """Silence what Lightning and its friends say on every run and nobody can act on."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*The number of training batches.*is smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*Experiment logs directory .* exists and is not empty.*",
        ".*`isinstance.treespec, LeafSpec.` is deprecated.*",
    ):
        warnings.filterwarnings("ignore", message)


if __name__ == "__main__":
    main()
