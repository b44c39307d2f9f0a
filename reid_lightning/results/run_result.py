"""What a run leaves: numbers with their protocol, per-query results, pictures and a page."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from lightning import Trainer

from reid_lightning import __version__
from reid_lightning.config.resolve import instantiate
from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.engine.callbacks.throughput import Throughput
from reid_lightning.engine.loggers import log_images
from reid_lightning.engine.module import ReIDModule
from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path
from reid_lightning.models.flops import forward_gflops
from reid_lightning.reporting.cells import write_csv
from reid_lightning.reporting.page import Picture
from reid_lightning.results.console import intervals_text, print_result
from reid_lightning.results.data_facts import describe_left_out, facts_of_images
from reid_lightning.results.protocol_line import protocol_line
from reid_lightning.results.run_page import draw_pictures, write_page
from reid_lightning.results.summary import RunResult, Stopwatch
from reid_lightning.retrieval.evaluation import EvaluationRows, map_interval
from reid_lightning.retrieval.ranking import Ranking
from reid_lightning.systems.task import Report, Run

PEOPLE_OF = {"train": ("train", "val"), "test": ("query",)}  # the splits whose people are counted


def run_of(
    trainer: Trainer,
    module: ReIDModule,
    datamodule: ReIDDataModule,
    output_dir: Path,
    config: Mapping[str, Any],
    watch: Stopwatch,
) -> Run:
    """Return a run as its tasks and reports see it now."""
    ranking, rows = module.evaluated or (None, None)
    return Run(
        config=config,
        output_dir=output_dir,
        network=module.network,
        datamodule=datamodule,
        protocol=module.protocol,
        device=trainer.strategy.root_device,
        ranking=ranking,
        rows=rows,
        steps=int(config["trainer"].get("fast_dev_run", 0)) or None,
        stage=watch.stage,
    )


def write_results(
    run: Run,
    trainer: Trainer,
    module: ReIDModule,
    seconds: dict[str, float],
    score: float | None = None,
    validation: Mapping[str, float] | None = None,
    validation_interval: list[float] | None = None,
) -> RunResult:
    """Write numbers, per-query results, pictures and the page of a run.

    Args:
        run: After its last evaluation, which is reported: the test, or the validation where the data has no test.
        trainer: The trainer of that evaluation.
        module: What was evaluated.
        seconds: Seconds per stage so far.
        score: Validation mAP of the chosen checkpoint.
        validation: Numbers of the chosen checkpoint's own validation.
        validation_interval: The 95 % interval of its mAP.
    """
    reports: list[Report] = [*module.tasks, *reports_of(run.config)] if trainer.is_global_zero else []
    scores = {report.name: report.scores(run) for report in reports}
    table = run.datamodule.table
    tested = run.datamodule.has_test and run.ranking is not None and run.rows is not None
    test_interval = map_interval(run.ranking, run.rows) if tested else None  # type: ignore[arg-type]
    intervals = {"validation": validation_interval, "test": test_interval}
    result = RunResult(
        score=score,
        validation=dict(validation or {}),
        test=run.ranking.summary(run.protocol.ranks) if run.datamodule.has_test and run.ranking else {},
        protocol=protocol_line(run),
        cost=_cost(run, trainer, module, seconds),
        people={name: _people(table, splits) for name, splits in PEOPLE_OF.items()},
        data=facts_of_images(run.datamodule),
        intervals={stage: interval for stage, interval in intervals.items() if interval is not None},
        reports={name: numbers for name, numbers in scores.items() if numbers},
    )
    if trainer.is_global_zero:
        if run.steps is None:
            _write_numbers(result, run.output_dir)  # before anything that may fail
        said = (report.line(scores[report.name]) for report in reports)
        lines = [line for line in said if line]
        if run.steps is None:
            _write(result, run, reports, lines, trainer, module.objective.terms)
        print_result(result, lines, run.output_dir)
    return result


def reports_of(config: Mapping[str, Any]) -> list[Report]:
    """Return the reports that a config asks for."""
    found = []
    for name, node in (config.get("reports") or {}).items():
        report = instantiate(node, f"reports.{name}") if node else None
        if not isinstance(report, Report):
            raise InputError(f"reports.{name}={node} is not a Report (reid_lightning.systems.task.Report)")
        found.append(report)
    return found


def _cost(run: Run, trainer: Trainer, module: ReIDModule, seconds: dict[str, float]) -> dict[str, Any]:
    """Return throughput, memory, parameters, GFLOPs of an image and seconds per stage."""
    cost: dict[str, Any] = {"parameters": sum(parameter.numel() for parameter in module.network.parameters())}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Throughput):
            cost |= callback.summary()
            seconds = seconds | {"fit": seconds["fit"] + callback.earlier} if "fit" in seconds else seconds
    cost["gflops"] = round(forward_gflops(module.network, run.datamodule.image_size), 4)
    cost["seconds"] = {stage: round(value, 2) for stage, value in seconds.items()}
    return cost


def _write_numbers(result: RunResult, output_dir: Path) -> None:
    output_dir.mkdir(parents=True, exist_ok=True)
    with atomic_path(output_dir / "metrics.json") as temporary:
        temporary.write_text(json.dumps({"version": __version__} | result.as_dict(), indent=2) + "\n")


def _write(
    result: RunResult,
    run: Run,
    reports: Sequence[Report],
    lines: Sequence[str],
    trainer: Trainer,
    terms: Sequence[str],
) -> None:
    pictures: list[Picture] = []
    if run.ranking is not None and run.rows is not None:
        write_csv(per_query(run.ranking, run.rows, run.datamodule.table), run.output_dir / "queries.csv")
        pictures = draw_pictures(run.ranking, run.rows, run.protocol, run.datamodule.table, run.output_dir)
        for report in reports:
            numbers = result.reports.get(report.name, {})
            report.write(run, numbers)
            pictures += report.figures(run, numbers)
        log_images(trainer.loggers, {f"test/{picture.path.stem}": picture.path for picture in pictures})
    scores = {"validation": result.validation, "test": result.test}
    facts = _facts(result, run.config, lines, terms)
    facts["Repeated images"] = run.datamodule.content.describe()
    if left_out := describe_left_out(run.datamodule):
        facts["Left out"] = left_out
    write_page(run.output_dir, result.protocol, scores, facts, pictures, run.config)


def _people(table: pd.DataFrame, splits: Sequence[str]) -> int:
    """Count the people in some splits of a table."""
    rows = table.loc[table["split"].isin(splits), ["source", "person_id"]]
    return len(rows.dropna().drop_duplicates())


def _facts(
    result: RunResult, config: Mapping[str, Any], lines: Sequence[str], terms: Sequence[str]
) -> dict[str, str]:
    """Return what the page says beside the scores."""
    cost = result.cost
    facts = {
        "Data": ", ".join(config["data"]["sources"]),
        "Parameters": f"{cost['parameters'] / 1e6:.2f} M",
        **({"Losses": ", ".join(terms)} if terms else {}),  # none where nothing is trained
        "Seed": str(config["seed"]),
        **({"95 % interval of mAP": intervals_text(result)} if result.intervals else {}),
        "Time": ", ".join(f"{stage} {value:.0f} s" for stage, value in cost["seconds"].items()),
    }
    for line in lines:
        title, _, numbers = line.partition(": ")
        facts[title.capitalize()] = numbers
    if "images_per_second" in cost:
        facts["Training"] = f"{cost['images_per_second']:.0f} images/s"
    return facts


def per_query(ranking: Ranking, rows: EvaluationRows, table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per query: who, where, and how well it was answered; empty numbers where nothing matched."""
    who = table.iloc[rows.query.index.cpu().numpy()][
        ["path", "source", "person_id", "camera_id"]
    ].reset_index(drop=True)
    return who.assign(
        average_precision=ranking.average_precision.numpy(),
        trapezoid_ap=ranking.trapezoid_ap.numpy(),
        inp=ranking.inp.numpy(),
        first_match_rank=ranking.first_match_rank.numpy(),
        num_matches=ranking.num_matches.numpy(),
    )
