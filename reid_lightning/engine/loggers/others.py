"""MLflow's logger, and that of `metrics.csv`, which keeps what is logged by step alone."""

from collections.abc import Sequence

from lightning.pytorch.loggers import Logger, MLFlowLogger

from reid_lightning.engine.loggers.outcome import Outcome, flat, record
from reid_lightning.engine.metrics_file import MetricsFile


@record.register(MetricsFile)
def _(logger: MetricsFile, outcome: Outcome) -> None:
    """Leave the file as it is: a result lies in `metrics.json`."""


def beside_the_file(loggers: Sequence[Logger]) -> list[Logger]:
    """Return the loggers that somebody has chosen: all but that of `metrics.csv`."""
    return [logger for logger in loggers if not isinstance(logger, MetricsFile)]


@record.register(MLFlowLogger)
def _(logger: MLFlowLogger, outcome: Outcome) -> None:
    client, run = logger.experiment, logger.run_id
    for name, value in flat(outcome.numbers):
        if isinstance(value, str):
            client.set_tag(run, name, value)
        else:
            client.log_metric(run, name, float(value))
    for name, sentence in outcome.notes.items():
        client.set_tag(run, name, sentence)
    for path in outcome.pictures.values():
        client.log_artifact(run, str(path), "pictures")
    for name, curve in outcome.curves.items():
        for x, y in curve.points:
            client.log_metric(run, name, y, step=int(x))
