"""What happens at the beginning and at the end of every run and every `--multirun`."""

import sys
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from reid_lightning.errors import InputError
from reid_lightning.files import require_writable


class FolderCheck(Callback):
    """Ends a command before it starts when its folder cannot be written to, before Hydra writes there."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Look at the run's folder."""
        self._check(config.hydra.run.dir)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Look at the sweep's folder."""
        self._check(config.hydra.sweep.dir)

    def _check(self, folder: str) -> None:
        try:
            require_writable(folder)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from error  # Hydra turns other exceptions of a callback into warnings


class SweepCheck(Callback):
    """Ends a sweep before it starts when it varies a setting that has no effect in any of its jobs."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Name the setting and why, and exit, if there is one."""
        from reid_lightning.sweeps.varied import varied_in_vain

        # As they are written: an override may name ${output_dir}, which is known in a job alone.
        params: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=False)
        task: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
        lines = [f"{key}={value}" for key, value in (params.get("params") or {}).items()]
        vain = varied_in_vain([*lines, *task], config.hydra.job.config_name)
        for key, why in vain.items():
            print(f"error: the sweep varies {key}, which has no effect in any job: {why}", file=sys.stderr)
            raise SystemExit(1)  # Hydra turns other exceptions of a callback into warnings


class SweepSummary(Callback):
    """Summarizes a sweep when its last job has ended; the exit code is 1 if one of them failed."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write and print the summary of the sweep's folder."""
        from reid_lightning.sweeps.report import report_sweep

        if report_sweep(config.hydra.sweep.dir):
            raise SystemExit(1)  # Hydra turns other exceptions of a callback into warnings
