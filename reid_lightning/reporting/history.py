"""Learning curves of a page, from the rows that a run has logged."""

import pandas as pd

from reid_lightning.reporting.charts import Chart, Line, line_chart

NOT_TERMS = ("train/accuracy", "train/joint_accuracy", "train/lr", "train/images_per_second", "train/loss")


def history_charts(history: pd.DataFrame) -> list[Chart]:
    """Return charts of losses, validation scores and learning rate over epochs, those that the history holds.

    Args:
        history: A run's `metrics.csv`: `step`, `epoch`, `train/...`, `val/...`; a row holds what was logged together.
    """
    tested = [name for name in history.columns if str(name).startswith("test/")]
    history = history[history[tested].isna().all(axis=1)]  # the test comes after the last epoch
    if history.empty or "step" not in history:
        return []
    steps = history["step"] + 1
    epochs = steps / (steps.max() / (history["epoch"].max() + 1))
    terms = [name for name in map(str, history.columns) if name.startswith("train/") and name.count("/") == 1]
    losses = ["train/loss", *sorted(name for name in terms if name not in NOT_TERMS)]
    if len(losses) == 2:
        losses = losses[:1]  # one term is the sum
    charts = [
        _chart(history, epochs, losses, "Loss", "loss"),
        _chart(history, epochs, ["val/mAP", "val/rank1"], "Validation", "percent", 100, (0.0, 100.0)),
        _chart(history, epochs, ["train/lr"], "Learning rate", "largest rate of the groups"),
    ]
    return [chart for chart in charts if chart is not None]


def _chart(
    history: pd.DataFrame,
    epochs: pd.Series,
    names: list[str],
    title: str,
    unit: str,
    factor: float = 1.0,
    y_range: tuple[float, float] | None = None,
) -> Chart | None:
    lines = []
    for name in names:
        values = history[name].dropna() if name in history else pd.Series(dtype=float)
        if len(values):
            points = [
                (float(x), factor * float(y)) for x, y in zip(epochs[values.index], values, strict=True)
            ]
            lines.append(Line(_label(name), points))
    if not lines:
        return None
    return line_chart(
        lines,
        title=title,
        x_label="epoch",
        y_label=unit,
        x_whole=True,
        x_range=(0.0, max(float(epochs.max()), 1.0)),
        y_range=y_range,
    )


def _label(name: str) -> str:
    known = {"train/loss": "total", "val/mAP": "mAP", "val/rank1": "Rank-1", "train/lr": "learning rate"}
    return known.get(name, name.split("/", 1)[1].replace("_", " "))
