"""The run: from a config to a trained, evaluated and reported model.

`python train.py`, `reid train` and the further processes of a multi-GPU job all come through `main`. Heavy imports
wait until a job really starts, so that `--help` answers at once.
"""

import logging
import math
import os
import sys
from pathlib import Path
from traceback import walk_tb
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from reid_lightning.config.command_line import check_flags, readable, settled_per_job
from reid_lightning.config.options import HELP_FLAGS, run_help
from reid_lightning.config.refused import REFUSED, in_our_words
from reid_lightning.config.resolve import CONF, plain
from reid_lightning.distributed.launched import with_shared_folder
from reid_lightning.errors import InputError
from reid_lightning.signals import stopped_by_signals
from reid_lightning.streams import own_streams, require_current_folder
from reid_lightning.sweeps.folders import with_folder
from reid_lightning.sweeps.launchers import prefer_own_options

log = logging.getLogger("reid_lightning")


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _main(config: DictConfig) -> float | None:
    """Run one job; Hydra composes the config, and a sweeper reads the returned validation mAP.

    In a sweep a finished job returns the result that is there, and one that fails leaves its reason in its folder and
    returns NaN, so that the others run.
    """
    from reid_lightning.config.leftover import without_leftover
    from reid_lightning.config.no_effect import say_without_effect
    from reid_lightning.distributed.ddp_launcher import is_first_process
    from reid_lightning.experiments.resume import how_to_continue
    from reid_lightning.experiments.run import run_job
    from reid_lightning.sweeps.job import run_in_sweep
    from reid_lightning.sweeps.reader import forget_failure

    sweeping = HydraConfig.get().mode is RunMode.MULTIRUN
    try:
        overrides: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
        taken = without_leftover(config, overrides)
        if is_first_process():
            if taken:
                log.info("left out, as the part chosen in its place does not take it: %s", ", ".join(taken))
            say_without_effect(config, overrides)
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
            _refuse([str(error)])  # an exit passes through Hydra, which says more about an exception
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
    """Train and evaluate as the command line says; exit with a code that is not 0 after an error.

    What the user can correct is one sentence on standard error; an error of the program keeps its traceback.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises, and does not print around what it raises
    logging.raiseExceptions = False  # a log file on a full disk is not worth a traceback for every line
    given = sys.argv[1:]
    require_current_folder()
    with own_streams():
        if HELP_FLAGS & set(given):
            print(run_help())
        else:
            _run(given)


def _run(given: list[str]) -> None:
    try:
        check_flags(given)
        sys.argv[1:] = settled_per_job(with_folder(with_shared_folder(readable(given))))
        prefer_own_options()
        with stopped_by_signals():
            _main()
    except InputError as error:
        _refuse([str(error)])
    except REFUSED as error:
        if (said := in_our_words(error, given)) is None:
            raise
        _refuse(said)
    except OSError as error:
        if error.filename is None or any(
            frame.f_code.co_name == "_main" for frame, _ in walk_tb(error.__traceback__)
        ):
            raise  # from within the job, and not from making its folder
        _refuse(
            [
                f"{error.filename} cannot be written ({error.strerror}); choose another folder with hydra.run.dir=DIR"
            ]
        )


def _refuse(said: list[str]) -> NoReturn:
    """Write an error's sentence, and those that follow it, and exit."""
    sys.stdout.flush()
    print("\n".join([f"error: {said[0]}", *said[1:]]), file=sys.stderr)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
