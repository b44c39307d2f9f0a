"""What a run leaves: numbers with their protocol, per-query results, pictures and a page."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from lightning import Trainer
from lightning.pytorch.loggers import Logger

from reid_lightning import __version__
from reid_lightning.config.resolve import instantiate
from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.data.table_checks import describe_nameless
from reid_lightning.engine.callbacks.throughput import Throughput
from reid_lightning.engine.loggers import Outcome, beside_the_file, record_all
from reid_lightning.engine.module import ReIDModule
from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path
from reid_lightning.models.flops import forward_gflops
from reid_lightning.reporting.cells import write_csv
from reid_lightning.reporting.page import Picture
from reid_lightning.reporting.tables import Table
from reid_lightning.results.browsing.sections import pair_table
from reid_lightning.results.console import intervals_text, print_result
from reid_lightning.results.data_facts import describe_left_out, facts_of_images
from reid_lightning.results.logged import curves_of, draw_pairs, tables_of
from reid_lightning.results.protocol_line import protocol_line
from reid_lightning.results.rankings import write_nameless
from reid_lightning.results.run_page import draw_pictures, is_full, write_page
from reid_lightning.results.summary import METRICS, RunResult, Stopwatch
from reid_lightning.retrieval.camera_pairs import CameraPairs, camera_pairs
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
        calibration=module.calibration,
        losses=dict(module.objective.losses),
        miners=module.objective.miners,
    )


def write_results(
    run: Run,
    trainer: Trainer,
    module: ReIDModule,
    seconds: dict[str, float],
    score: float | None = None,
    validation: Mapping[str, float] | None = None,
    validation_interval: list[float] | None = None,
    epoch: int | None = None,
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
        epoch: Epochs that it was trained for.
    """
    reports = measured_by(run, module) if trainer.is_global_zero else []
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
        note=note_of(run),
        epoch=epoch,
        reports={name: numbers for name, numbers in scores.items() if numbers},
    )
    if trainer.is_global_zero:
        if run.steps is None:
            _write_numbers(result, run.output_dir)  # before anything that may fail
        lines = lines_of(result, reports)
        record_all(trainer.loggers, Outcome(numbers=_summary(result)))
        if run.steps is None:
            write_page_of(result, run, reports, module.objective.terms, beside_the_file(trainer.loggers))
        print_result(result, lines, run.output_dir)
    return result


def _summary(result: RunResult) -> dict[str, Any]:
    """Return the numbers that a table of runs compares: those of the chosen checkpoint, its cost, and the protocol."""
    return {
        "best/val": result.validation,
        **({"best/epoch": result.epoch} if result.epoch is not None else {}),
        "cost": result.cost,
        "interval": result.intervals,
        "protocol": result.protocol,
        **result.reports,
    }


def measured_by(run: Run, module: ReIDModule) -> list[Report]:
    """Return tasks and reports of a run, without those that compare people where nobody is known."""
    reports: list[Report] = [*module.tasks, *reports_of(run.config)]
    return [report for report in reports if not (run.datamodule.has_nameless_test and report.needs_people)]


def note_of(run: Run) -> str:
    """Return why the test has no numbers; empty where it has some, or where there was none."""
    return describe_nameless(run.datamodule.table) if run.datamodule.has_nameless_test else ""


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
    with atomic_path(output_dir / METRICS) as temporary:
        temporary.write_text(json.dumps({"version": __version__} | result.as_dict(), indent=2) + "\n")


def lines_of(result: RunResult, reports: Sequence[Report]) -> list[str]:
    """Return what tasks and reports say of their numbers, as "title: numbers"."""
    said = (report.line(result.reports.get(report.name, {})) for report in reports)
    return [line for line in (*([f"test: {result.note}"] if result.note else []), *said) if line]


def write_page_of(
    result: RunResult,
    run: Run,
    reports: Sequence[Report],
    terms: Sequence[str],
    loggers: Sequence[Logger],
    again: bool = False,
) -> None:
    """Write a row per query, the files and pictures of tasks and reports, and the page.

    Args:
        result: The run's numbers.
        run: After its last evaluation.
        reports: Its tasks and reports.
        terms: Of its loss.
        loggers: Receive the pictures.
        again: Whether the run has had its page, which stays where a whole one cannot be written.

    Raises:
        InputError: A file cannot be written.
    """
    pictures: list[Picture] = []
    pairs = None
    if run.rows is not None:
        thorough = bool(loggers) or is_full(run.config)
        if run.ranking is not None and thorough:
            pairs = camera_pairs(run.rows, run.protocol)
        if run.ranking is not None:
            write_csv(per_query(run.ranking, run.rows, run.datamodule.table), run.output_dir / "queries.csv")
        pictures = draw_pictures(
            run.ranking, run.rows, run.protocol, run.datamodule.table, run.output_dir, curves_too=thorough
        )
        if result.note:
            write_nameless(run)  # a task or a report replaces it by its own
        tables: dict[str, Table] = {}
        for report in reports:
            numbers = result.reports.get(report.name, {})
            report.write(run, numbers)
            pictures += report.figures(run, numbers)
            if loggers:
                tables |= {
                    f"test/{report.name}/{name}": table for name, table in report.tables(run, numbers).items()
                }
        if loggers:
            record_all(loggers, _outcome(result, run, pictures, tables, pairs))
    else:
        seeing = [report for report in reports if not report.needs_evaluation]
        pictures = [picture for report in seeing for picture in report.figures(run, {})]
    facts = _facts(result, run.config, lines_of(result, reports), terms)
    facts["Repeated images"] = run.datamodule.content.describe()
    if left_out := describe_left_out(run.datamodule):
        facts["Left out"] = left_out
    write_page(run, result, facts, pictures, pairs, again)


def _outcome(
    result: RunResult,
    run: Run,
    pictures: Sequence[Picture],
    tables: Mapping[str, Table],
    pairs: CameraPairs | None,
) -> Outcome:
    """Return what loggers are shown of the last evaluation."""
    if pairs is not None:
        path = run.output_dir / "camera_pairs_map.png"
        draw_pairs(pair_table(pairs, run.datamodule.table), path)
        pictures = [*pictures, Picture("Pairs of cameras", path)]
    return Outcome(
        notes={"test/note": result.note} if result.note else {},
        pictures={f"test/{picture.path.stem}": picture.path for picture in pictures},
        tables={f"test/{name}": table for name, table in tables_of(run, pairs).items()} | dict(tables),
        curves={f"test/{name}": curve for name, curve in curves_of(run).items()},
    )


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
