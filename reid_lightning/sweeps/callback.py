"""What happens at the end of every `--multirun`."""

from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class SweepSummary(Callback):
    """Summarises a sweep when its last job has ended; the exit code is 1 if one of them failed."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write and print the summary of the sweep's folder."""
        from reid_lightning.sweeps.report import report_sweep

        if report_sweep(config.hydra.sweep.dir):
            raise SystemExit(1)  # Hydra turns other exceptions of a callback into warnings
