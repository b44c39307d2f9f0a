"""The run: from a config to a trained, evaluated and reported model.

`python train.py`, `reid train` and the further processes of a multi-GPU job all come through `main`. Heavy imports
wait until a job really starts, so that `--help` answers at once.
"""

import sys

import hydra
from hydra.errors import CompactHydraException
from omegaconf import DictConfig

from reid_lightning.errors import InputError
from reid_lightning.training.configuration import CONF, plain
from reid_lightning.training.hints import hints


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
            for hint in hints(sys.argv[1:]):
                print(hint, file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
