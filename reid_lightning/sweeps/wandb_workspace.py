"""A ready W&B workspace for the runs of this project: what `reid report wandb` saves or writes as JSON."""

import json
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from reid_lightning.engine.loggers import logged_in
from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, require_output
from reid_lightning.reporting.terminal import say
from reid_lightning.results.logged import CMC_AXES

CHOICES = ("backbone", "loss", "miner", "augmentation", "optimizer")
COSTS = {
    "cost/parameters": "parameters",
    "cost/gflops": "GFLOPs",
    "cost/train_seconds": "seconds of training",
}
ATTRIBUTES = {
    "accuracy": "Accuracy",
    "majority": "Accuracy of the most frequent class",
    "balanced_accuracy": "Balanced accuracy",
    "mean_accuracy": "Mean accuracy",
}
_EXTRA = "reid report wandb needs the wandb-workspaces package: pip install 'reid-lightning[workspaces]'"


def workspace(entity: str, project: str, name: str) -> Any:
    """Return the workspace: validation over epochs by choice, choices and scores, cost, the test, its tables.

    Args:
        entity: Team or user of W&B.
        project: W&B project.
        name: Name of the view.

    Raises:
        InputError: The package wandb-workspaces is missing.
    """
    panels, views = _packages()

    def over_epochs(metric: str, title: str, group: str | None = None) -> Any:
        grouped = (
            {}
            if group is None
            else {"groupby": panels.Config(f"choices.{group}"), "groupby_rangefunc": "stddev"}
        )
        return panels.LinePlot(
            title=title if group is None else f"{title} by {group}",
            x="epoch",
            y=[metric],
            title_x="epoch",
            **grouped,
        )

    best, test = panels.SummaryMetric("best/val/mAP"), panels.SummaryMetric("test/mAP")
    columns = [panels.ParallelCoordinatesPlotColumn(panels.Config(f"choices.{choice}")) for choice in CHOICES]
    columns += [panels.ParallelCoordinatesPlotColumn(metric) for metric in (best, test)]
    sections = [
        views.Section(
            name="Validation",
            panels=[
                over_epochs("val/mAP", "mAP"),
                over_epochs("val/rank1", "Rank-1"),
                *(over_epochs("val/mAP", "mAP", choice) for choice in CHOICES[:4]),
            ],
            is_open=True,
        ),
        views.Section(
            name="Choices",
            panels=[
                panels.ParallelCoordinatesPlot(title="Choices and scores", columns=columns),
                panels.BarPlot(title="Best validation mAP by loss", metrics=[best], groupby=panels.Config("choices.loss"),
                               groupby_rangefunc="stddev"),
            ],
            is_open=True,
        ),
        views.Section(
            name="Score and cost",
            panels=[
                panels.ScatterPlot(title=f"Test mAP and {title}", x=panels.SummaryMetric(cost), y=test)
                for cost, title in COSTS.items()
            ],
            is_open=True,
        ),
        views.Section(
            name="Test",
            panels=[
                panels.BarPlot(title="mAP", metrics=[test]),
                panels.BarPlot(title="Rank-1", metrics=[panels.SummaryMetric("test/rank1")]),
                panels.CustomChart(
                    query={"summaryTable": {"tableKey": "test/cmc_table"}},
                    chart_name="wandb/line/v0",  # W&B's own, with a line a run
                    chart_fields={"x": CMC_AXES[0], "y": CMC_AXES[1]},
                    chart_strings={"title": "Cumulative matching"},
                ),
                *(panels.WeavePanelSummaryTable(table_name=f"test/{table}")
                  for table in ("query_table", "lists", "camera_pairs", "attributes/confusion")),
                panels.MediaBrowser(title="Ranked lists", media_keys=["test/ranked_lists"]),
                panels.MediaBrowser(title="Pairs of cameras", media_keys=["test/camera_pairs_map"]),
            ],
            is_open=True,
        ),
        views.Section(
            name="Attributes",
            panels=[
                *(panels.BarPlot(title=title, metrics=[panels.SummaryMetric(f"attributes/{name}")])
                  for name, title in ATTRIBUTES.items()),
                over_epochs("val/attributes/mean_accuracy", "Mean accuracy"),
            ],
        ),
        views.Section(
            name="Training",
            panels=[over_epochs("train/loss", "Loss"), over_epochs("train/lr", "Learning rate"),
                    over_epochs("train/images_per_second", "Images a second")],
        ),
    ]  # fmt: skip
    return views.Workspace(
        entity=entity, project=project, name=name, sections=sections, auto_generate_panels=True
    )


def _packages() -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of pydantic, about the package
            return import_module("wandb_workspaces.reports.v2"), import_module("wandb_workspaces.workspaces")
    except ImportError as error:
        raise InputError(_EXTRA) from error


def report_wandb(project: str, entity: str | None, name: str, output: Path | None) -> None:
    """Save the workspace in W&B, or write it as JSON.

    Args:
        project: W&B project.
        entity: Team or user; None is that of the logged-in user.
        name: Name of the view.
        output: JSON file; None saves it in W&B.

    Raises:
        InputError: The package is missing, nobody is logged in, W&B refuses, or the file cannot be written.
    """
    if output is not None:
        require_output(output, (".json",))
        made = workspace(entity or "", project, name)
        spec = json.loads(made._to_model().model_dump_json(by_alias=True, exclude_none=True))
        with atomic_path(output) as temporary:
            temporary.write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")
        say(f"workspace: {output}")
        return
    if not logged_in():
        raise InputError(
            "nobody is logged in to W&B: run `wandb login` first, or write the workspace with --output workspace.json"
        )
    try:
        import wandb

        made = workspace(entity or str(wandb.Api().default_entity), project, name)
        made.save()
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"W&B has not saved the workspace of {project}: {reason}") from error
    say(f"workspace: {made.url}")
