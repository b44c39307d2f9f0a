"""A run's page written again, from its checkpoint, its numbers and its data."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reid_lightning.errors import InputError
from reid_lightning.experiments.checkpoint import load_module
from reid_lightning.experiments.evaluate import evaluating, require_sources
from reid_lightning.experiments.factory import build_datamodule
from reid_lightning.experiments.finished_run import CARD, PLACES, require_run, without_checkpoint
from reid_lightning.experiments.quiet import quiet
from reid_lightning.experiments.run_folder import alone_in
from reid_lightning.folders import require_own
from reid_lightning.reporting.terminal import say
from reid_lightning.results.browsing.content import DATA
from reid_lightning.results.browsing.folder import FOLDER
from reid_lightning.results.card_facts import read_facts
from reid_lightning.results.run_result import measured_by, run_of, write_page_of
from reid_lightning.results.summary import METRICS, RunResult, Stopwatch
from reid_lightning.systems.task import Report

CLOSE = 1e-3
"""Another processor's last digits may turn a near tie; what differs by more is another model or other data."""


def report_run(folder: str | Path, overrides: Sequence[str] = (), trust: Sequence[str] = ()) -> Path:
    """Rank a run's test set again and write its page, with every query to look into.

    The numbers are those of `metrics.json`; that the ranking still has them is checked.

    Args:
        folder: Of a finished run.
        overrides: Such as `data.root=DIR`, where the data lie elsewhere now.
        trust: Packages of your own that the run's config may name; their code is run.

    Returns:
        The page.

    Raises:
        InputError: The folder holds no finished run, its data are not there, or they rank differently now.
    """
    quiet()
    folder = Path(folder)
    result = require_run(folder)
    require_own(folder / FOLDER, DATA)
    checkpoint = checkpoint_of(folder)
    module, config = load_module(checkpoint, overrides, trust)
    config |= {"output_dir": str(folder), "page": "full"}
    require_sources(config["data"]["sources"])
    with alone_in(folder):
        datamodule = build_datamodule(config)
        datamodule.setup()
        if bool(result.test) != datamodule.has_test:
            there, where = ("a", "and the data have none") if result.test else ("no", "and the data have one")
            raise InputError(
                f"{folder / 'metrics.json'} has {there} test {where}: they are not those of the run; name their place, as "
                "with data.root=DIR."
            )
        datamodule.prepare_data()
        trainer = evaluating(config)
        evaluate: Any = trainer.test if datamodule.is_tested else trainer.validate
        evaluate(module, datamodule, verbose=False)
        run = run_of(trainer, module, datamodule, folder, config, Stopwatch())
        if run.ranking is not None:
            numbers = run.ranking.summary(run.protocol.ranks)
            _check_numbers(folder, numbers, result.test if datamodule.has_test else result.validation)
        reports = measured_by(run, module)
        _check_reports(folder, result, reports)
        write_page_of(result, run, reports, list(config.get("loss") or {}), [], again=True)
    page = folder / "report.html"
    say(f"report: {page}")
    return page


def checkpoint_of(folder: Path) -> Path:
    """Return the checkpoint that a run's numbers are of, as its card says.

    Raises:
        InputError: There is none.
    """
    for place in PLACES:
        facts = read_facts(folder / place / CARD)
        if facts.finished and (file := folder / place / Path(facts.checkpoint).name).is_file():
            return file
    raise InputError(without_checkpoint(folder))


def _check_reports(folder: Path, result: RunResult, reports: Sequence[Report]) -> None:
    """Refuse numbers of tasks and reports that these have not written.

    Raises:
        InputError: Something is missing or no number.
    """
    for report in reports:
        try:
            report.line(result.reports.get(report.name, {}))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{folder / METRICS} does not hold the numbers of {report.name} ({type(error).__name__}): name the folder "
                "of a finished run."
            ) from error


def _check_numbers(folder: Path, now: dict[str, float], then: dict[str, float]) -> None:
    """Refuse a page whose lists do not belong to its numbers.

    Raises:
        InputError: A number differs.
    """
    for name, value in then.items():
        close = name not in now or math.isclose(now[name], value, rel_tol=CLOSE, abs_tol=CLOSE)
        if name != "queries" and not close and not (math.isnan(now[name]) and math.isnan(value)):
            raise InputError(
                f"{folder / 'metrics.json'} says {name} {100 * value:.2f}, and the run's data rank with "
                f"{100 * now[name]:.2f} now: they are not the data of the run; name their place, as with data.root=DIR."
            )
