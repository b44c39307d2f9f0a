"""The run: from a config to a trained, evaluated and reported model.

`python train.py`, `reid train` and the further processes of a multi-GPU job all come through `main`. Heavy imports
wait until a job really starts, so that `--help` answers at once.
"""

import logging
import math
import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from reid_lightning.config import options  # noqa: F401  the resolver of the help
from reid_lightning.config.resolve import CONF, plain
from reid_lightning.config.suggest import hints, settled_per_job
from reid_lightning.errors import InputError
from reid_lightning.signals import Stopped, stopped_by_signals
from reid_lightning.sweeps.folders import with_folder
from reid_lightning.sweeps.launchers import prefer_own_options


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _main(config: DictConfig) -> float | None:
    """Run one job; Hydra composes the config, and a sweeper reads the returned validation mAP.

    In a sweep a finished job returns the result that is there, and one that fails leaves its reason in its folder and
    returns NaN, so that the others run.
    """
    from reid_lightning.config.no_effect import say_without_effect
    from reid_lightning.distributed.ddp_launcher import is_first_process
    from reid_lightning.experiments.resume import how_to_continue
    from reid_lightning.experiments.run import run_job
    from reid_lightning.sweeps.job import run_in_sweep
    from reid_lightning.sweeps.reader import forget_failure

    sweeping = HydraConfig.get().mode is RunMode.MULTIRUN
    try:
        if "LOCAL_RANK" not in os.environ:
            say_without_effect(config, HydraConfig.get().overrides.task)
        with stopped_by_signals():
            if sweeping:
                score = run_in_sweep(config)
            else:
                result = run_job(plain(config))
                score = result.score if result else None
    except (KeyboardInterrupt, SystemExit):  # submitit exits, too
        if is_first_process():
            print(how_to_continue(_folder(), sweeping), file=sys.stderr)
        raise
    except Exception as error:
        if sweeping:
            return _failed(error)
        if isinstance(error, InputError):
            raise CompactHydraException(f"error: {error}") from error
        raise
    forget_failure(_folder())
    return score


def _failed(error: Exception) -> float:
    from reid_lightning.sweeps.reader import record_failure

    record_failure(_folder(), error)
    return math.nan


def _folder() -> Path:
    return Path(HydraConfig.get().runtime.output_dir)


def main() -> None:
    """Train and evaluate as the command line says; exit with a code that is not 0 after an error."""
    sys.argv[1:] = settled_per_job(with_folder(sys.argv[1:]))
    prefer_own_options()
    logging.raiseExceptions = False  # a log file on a full disk is not worth a traceback for every line
    try:
        with stopped_by_signals():
            _main()
    except Stopped:
        raise
    except SystemExit as error:
        if error.code not in (0, None):
            for hint in hints(sys.argv[1:]):
                print(hint, file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
