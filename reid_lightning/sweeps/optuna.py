"""What `hydra/sweeper=optuna` needs to be continued by the same command."""

import atexit
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, read_write

from reid_lightning.experiments.source_tables import TABLES
from reid_lightning.sweeps.fingerprint import fingerprint

if TYPE_CHECKING:
    import optuna


class ContinueSearch(Callback):
    """Lets a search go on where its storage says it has ended.

    The sweeper adds `n_trials` trials to a stored study; here only those are left that have no result yet. A trial that was
    running when the sweep ended is tried again with its values, so that its job can be resumed. The sampler's seed moves on
    with the study, or the continued search would draw the values of its beginning once more.

    A study on a server may have several commands at work: what runs there may be another machine's and is left alone, each
    command draws from a seed of its own, and adds trials until the study has `n_trials` results or its own are done.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Open the study, and leave to the sweeper what is still to be tried."""
        sweeper = config.hydra.sweeper
        Path(config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)  # sqlite makes no folder
        import optuna

        with read_write(sweeper):  # trials of another default, data or code are of another study
            sweeper.study_name = f"{sweeper.study_name}-{fingerprint(config, TABLES).name}"
        study = optuna.create_study(
            storage=sweeper.storage,
            study_name=sweeper.study_name,
            direction=sweeper.direction,
            load_if_exists=True,
        )
        shared = is_shared(sweeper.storage)
        if not shared:
            try_again(study)
        with read_write(sweeper):
            if shared:
                sweeper.sampler.seed = None
            elif sweeper.sampler.get("seed") is not None:
                sweeper.sampler.seed += len(study.trials)
            sweeper.n_trials = trials_left(study, sweeper.n_trials)
        atexit.register(partial(report_without_result, study, config.hydra.sweep.dir))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Hand the sweeper None for a failed job: a NaN ends it; with None it records a failed trial and continues."""
        value = job_return._return_value
        if isinstance(value, float) and math.isnan(value):
            job_return.return_value = None


def report_without_result(study: "optuna.Study", folder: str) -> None:
    """Summarize a search of which every trial failed: the sweeper asks for its best and ends before the summary."""
    from optuna.trial import TrialState

    from reid_lightning.sweeps.report import report_sweep

    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    if states and all(state is TrialState.FAIL for state in states):
        report_sweep(folder)


def is_shared(storage: str | None) -> bool:
    """Tell whether a study lies on a server, where several machines work on it.

    Args:
        storage: Address as SQLAlchemy takes it; None: the study is in memory.

    Examples:
        >>> is_shared("postgresql://reid@host/search"), is_shared("sqlite:///study.db"), is_shared(None)
        (True, False, False)
    """
    return storage is not None and not storage.startswith("sqlite")


def try_again(study: "optuna.Study") -> None:
    """Queue the values of trials that were running when their sweep ended."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params)


def trials_left(study: "optuna.Study", wanted: int) -> int:
    """Return how many trials a study lacks of the wanted number of results."""
    from optuna.trial import TrialState

    return max(0, wanted - len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))))
