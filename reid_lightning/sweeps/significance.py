"""What is better than what in a sweep: options against one of them, and the effect of each choice."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reid_lightning.errors import InputError
from reid_lightning.files import read_own
from reid_lightning.reporting.cells import read_cell
from reid_lightning.retrieval.statistics import (
    Difference,
    Resampled,
    difference,
    difference_over_splits,
    holm,
    resample_people,
    word,
)

LEVEL = 0.95  # of the intervals and, after Holm, of the words
COMPARED = {"test/mAP": "average_precision", "test/rank1": "first_match_rank"}
RESULTS = ("difference", "low", "high", "p", "word")
NUMBERS = ["average_precision", "first_match_rank", "num_matches"]
DEFAULT = "default"  # an option's value of a key that it does not override


@dataclass(frozen=True)
class Comparison:
    """The options of a sweep against one of them.

    Attributes:
        against: The option that all others are compared with; None: nothing can be compared.
        table: A row per other option: `option`, and for test mAP and Rank-1 `NAME/difference` (from the reference, a
            fraction), `NAME/low` and `NAME/high` (95 % interval of this comparison), `NAME/p` (after Holm) and
            `NAME/word`.
        notes: Sentences about what could not be compared.
        over: What the intervals are over.
    """

    against: str | None
    table: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    over: str = "seeds and people"


def compare(
    folder: Path, jobs: pd.DataFrame, options: Sequence[str], baseline: str | None = None
) -> Comparison:
    """Compare every option of a sweep with one of them, query by query, on the test set.

    Args:
        folder: The sweep's folder; every job's `queries.csv` is read.
        jobs: As `read_sweep` returns them.
        options: Their options, the best on validation first.
        baseline: What all others are compared with: an option, or part of the name of just one; None: the first.

    Raises:
        InputError: The baseline names none of the options, or several.
    """
    reference = options[0] if baseline is None else _named(baseline, options)
    columns = ["option", *(f"{name}/{result}" for name in COMPARED for result in RESULTS)]
    others = [option for option in options if option != reference]
    nothing = pd.DataFrame(columns=columns)
    if not others or jobs["failure"].notna().all():
        return Comparison(None, nothing)
    if baseline is None and ("validation/mAP" not in jobs or jobs["validation/mAP"].isna().all()):
        return Comparison(
            None,
            nothing,
            ["without validation no option is the best: name one to compare with by --baseline"],
        )
    finished = jobs[jobs["failure"].isna()].drop_duplicates(["option", "seed"], keep="last")
    finished = finished.assign(rank=finished["option"].ne(reference)).sort_values("rank", kind="stable")
    if "split" in finished and finished["split"].nunique() > 1:
        found, notes = _over_splits(folder, finished, others, reference)
        return Comparison(reference, _told(pd.DataFrame(found, columns=columns)), notes, "random splits")
    used, scores, people, notes = _common_queries(folder, finished)
    if not any(used["option"] == reference):
        notes.append(f"{reference} has no job whose queries can be compared, so nothing is")
        return Comparison(None, nothing, notes)
    seeds = {option: list(rows["seed"]) for option, rows in used.groupby("option", sort=False)}
    alone = [option for option in options if len(seeds.get(option, [])) == 1]
    if alone:
        notes.append(
            f"{_list(alone)}: one seed tells no difference from chance; add seeds, such as seed=1,2,3"
        )
    rows: list[dict[str, Any]] = [{"option": option} for option in others]
    for name, table in scores.items():
        resampled = resample_people(table, people)
        for row in rows:
            row |= _against(name, resampled, used, row["option"], reference)
    return Comparison(reference, _told(pd.DataFrame(rows, columns=columns)), notes)


def _over_splits(
    folder: Path, finished: pd.DataFrame, others: Sequence[str], reference: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """Compare options over random splits, in each of which they rank the same queries; seeds of a split are averaged."""
    means, notes = [], []
    for split, jobs in finished.groupby("split", sort=False):
        used, scores, _, said = _common_queries(folder, jobs)
        notes += said
        columns = {name: table.mean(axis=1) for name, table in scores.items()}
        means.append(used[["option"]].assign(split=split, **columns))
    table = pd.concat(means).groupby(["option", "split"], sort=False).mean()
    found = {option: table.xs(option) for option in table.index.unique("option")}
    rows: list[dict[str, Any]] = []
    few = []
    for option in others:
        row: dict[str, Any] = {"option": option}
        both = {option, reference} <= set(found)
        gaps = (found[option] - found[reference]).dropna() if both else pd.DataFrame()
        if len(gaps) == 1:
            few.append(option)
        elif both and len(gaps) < max(len(found[option]), len(found[reference])):
            notes.append(
                f"{option} and {reference} are compared over the {len(gaps)} random splits that both have; their means "
                "above are over different people"
            )
        for name in COMPARED if len(gaps) else ():
            row |= _results(name, difference_over_splits(gaps[name], _test_to_train(finished), LEVEL))
        rows.append(row)
    if few:
        notes.append(
            f"{_list(few)}: one random split in common with {reference} tells no difference from chance"
        )
    notes.append("differences are over random splits; that these share people is allowed for")
    return rows, notes


def _test_to_train(finished: pd.DataFrame) -> float:
    """Return the people of a test set over those of a training set; 1, half of the people, where nobody has counted."""
    if not {"people/test", "people/train"} <= set(finished):
        return 1.0
    ratio = float((finished["people/test"] / finished["people/train"]).mean())
    return ratio if np.isfinite(ratio) and ratio > 0 else 1.0


def _named(baseline: str, options: Sequence[str]) -> str:
    found = [option for option in options if option == baseline] or [o for o in options if baseline in o]
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"--baseline {baseline} names {'none' if not found else 'several'} of the options; give one of: "
        + "; ".join(found or options)
    )


def _common_queries(
    folder: Path, finished: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, Any], Any, list[str]]:
    """Return the jobs that rank the same queries as the first, their scores (jobs, queries) and whom queries show."""
    first: pd.DataFrame | None = None
    used, tables, missing, other = [], [], [], []
    for place, job in enumerate(finished.to_dict("records")):
        file = folder / job["job"] / "queries.csv"
        if pd.isna(job.get("test/mAP")) or not file.is_file():
            missing.append(job["job"])
            continue
        queries = _read_queries(file)
        if first is None:
            first, first_job = queries, job["job"]
        if len(queries) != len(first) or not queries.index.sort_values().equals(first.index.sort_values()):
            other.append(job["job"])
            continue
        used.append(place)
        tables.append(queries.loc[first.index])
    notes = []
    if missing:
        notes.append(f"no test results of single queries (queries.csv) in job {_list(missing)}: not compared")
    if other:
        notes.append(f"job {_list(other)} ranks other queries than job {first_job}: not compared")
    if first is None:
        return finished.iloc[:0], {}, None, notes
    ranks = np.stack([table["first_match_rank"].to_numpy() for table in tables])
    scores = {
        "test/mAP": np.stack([table["average_precision"].to_numpy() for table in tables]),
        "test/rank1": (ranks == 1).astype(float),
    }
    return finished.iloc[used], scores, first.index.get_level_values("person").to_numpy(), notes


def _read_queries(file: Path) -> pd.DataFrame:
    """Return a job's scores by query; a query is its person, camera and file's name, wherever the data lies."""
    try:
        texts = ["person_id", "camera_id", "source", "path"]
        table = pd.read_csv(io.BytesIO(read_own(file)), dtype=dict.fromkeys(texts, str))
        table[texts] = table[texts].map(read_cell)
        table[NUMBERS] = table[NUMBERS].apply(pd.to_numeric)
        table = table[table["num_matches"] > 0]
        if not np.isfinite(table[NUMBERS]).all(axis=None):
            raise ValueError("numbers are missing")
        names = table["path"].str.replace(r".*[/\\]", "", regex=True)
        keys = pd.DataFrame(
            {
                "person": table["source"] + "/" + table["person_id"],
                "camera": table["camera_id"].fillna(""),
                "name": names,
            }
        )
        keys["copy"] = keys.groupby(["person", "camera", "name"]).cumcount()
        return table.set_axis(pd.MultiIndex.from_frame(keys))[["average_precision", "first_match_rank"]]
    except (KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        raise InputError(
            f"{file} is not a run's table of queries ({error}); remove the job, or repeat it"
        ) from error


def _against(
    name: str, resampled: Resampled, used: pd.DataFrame, option: str, reference: str
) -> dict[str, float]:
    """Compare one option's scores with the reference's."""
    own, theirs = (np.flatnonzero(used["option"] == one).tolist() for one in (option, reference))
    if not own:
        return {}
    return _results(name, difference(resampled, own, theirs, LEVEL))


def _results(name: str, found: Difference) -> dict[str, float]:
    values = (found.difference, found.low, found.high, found.p_value)
    return dict(zip((f"{name}/{result}" for result in RESULTS), values, strict=False))


def _told(table: pd.DataFrame) -> pd.DataFrame:
    """Adjust all p-values together and say the word of each."""
    columns = [f"{name}/p" for name in COMPARED]
    values = table[columns].astype(float).to_numpy()
    table[columns] = holm(values.ravel()).reshape(values.shape)
    for name in COMPARED:
        pairs = zip(table[f"{name}/difference"].astype(float), table[f"{name}/p"], strict=True)
        table[f"{name}/word"] = [word(gap, p_value, LEVEL) for gap, p_value in pairs]
    return table


def _list(names: Sequence[str]) -> str:
    """Name a few and count the rest."""
    shown = "; ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def choices_of(jobs: pd.DataFrame) -> pd.DataFrame:
    """Return a row per option and a column per override that differs between options, such as `loss` or `optimizer.lr`."""
    settings = jobs.drop_duplicates("option").set_index("option").filter(regex="^override/").astype(object)
    settings = settings.where(settings.notna(), DEFAULT)
    settings = settings.set_axis([str(name).removeprefix("override/") for name in settings], axis=1)
    return settings.loc[:, settings.nunique() > 1]


def marginal_means(jobs: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """Average the options that share a value of one choice over all other choices.

    Only those combinations of the other choices count that every value of the choice was run with, so that no value is
    averaged over easier company. A choice without any is left out, such as a learning rate that a sampler drew.

    Args:
        jobs: As `read_sweep` returns them.
        summary: As `summarise` returns it.

    Returns:
        A row per choice and value, the best validation mAP of each choice first: `choice`, `value`,
        `validation/mAP` and `test/mAP` (fractions) and `combinations` (how many were averaged).

    Examples:
        >>> jobs = pd.DataFrame({"option": ["a", "b"], "override/loss": ["triplet", "circle"]})
        >>> summary = pd.DataFrame({"option": ["a", "b"], "validation/mAP/mean": [0.2, 0.4], "test/mAP/mean": 0.3})
        >>> marginal_means(jobs, summary)[["value", "validation/mAP"]].values.tolist()
        [['circle', 0.4], ['triplet', 0.2]]
    """
    settings = choices_of(jobs)
    choices = list(settings)
    scores = summary.set_index("option")[["validation/mAP/mean", "test/mAP/mean"]]
    scores = scores.set_axis(["validation/mAP", "test/mAP"], axis=1).dropna(how="all")
    settings = settings.reindex(scores.index)
    tables = []
    for choice in map(str, choices):
        rest = settings.drop(columns=choice).apply(tuple, axis=1) if len(choices) > 1 else "all"
        cells = scores.assign(value=settings[choice], rest=rest)
        complete = cells.groupby("rest")["value"].transform("nunique") == cells["value"].nunique()
        kept = cells[complete]
        if kept["value"].nunique() > 1:
            means = kept.groupby("value")[["validation/mAP", "test/mAP"]].mean()
            means = means.assign(combinations=kept.groupby("value").size()).reset_index()
            means.insert(0, "choice", choice)
            tables.append(means.sort_values("validation/mAP", ascending=False, kind="stable"))
    columns = ["choice", "value", "validation/mAP", "test/mAP", "combinations"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
