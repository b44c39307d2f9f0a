"""Questions about images without names: what `reid label IMAGES` does."""

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from reid_lightning.data.cells import identifiers
from reid_lightning.errors import InputError
from reid_lightning.experiments.quiet import quiet
from reid_lightning.files import atomic_path, require_writable
from reid_lightning.inference.answers import counted
from reid_lightning.inference.cluster import RERANKED
from reid_lightning.inference.compare import UNCALIBRATED, check_rates
from reid_lightning.inference.embed import Embedder, list_images
from reid_lightning.inference.label import folder as places
from reid_lightning.inference.label.answers import all_answers, links_of, write_questions
from reid_lightning.inference.label.folder import (
    Asked,
    Earlier,
    Round,
    distances,
    moved_threshold,
    require_few,
    write_vectors,
)
from reid_lightning.inference.options import require_option
from reid_lightning.reporting.label_page import Pair, write_label_page, write_sheets
from reid_lightning.reporting.terminal import say
from reid_lightning.retrieval.constrained import constrained_groups
from reid_lightning.retrieval.k_reciprocal import KReciprocalRerank
from reid_lightning.retrieval.prior import drawn_distances, estimated_prior, even_distance
from reid_lightning.retrieval.questions import Question, choose_questions


def ask(
    images: Path,
    checkpoint: Path,
    output: Path,
    overrides: Sequence[str] = (),
    answers: int = 100,
    after: Path | None = None,
    filled: Path | None = None,
    threshold: float | None = None,
    rerank: bool = False,
    cameras: str | None = None,
    seed: int = 0,
    trust: Sequence[str] = (),
) -> list[Question]:
    """Choose the pairs whose answers change the groups most, and write a folder with a page, sheets and a CSV to fill in.

    Args:
        images: A folder, or a table with a column `path` and, where known, `camera_id`. Of a column `person_id` nothing is
            read but what the result is judged by.
        checkpoint: A checkpoint file written by a run, or the folder of a saved model.
        output: The new folder.
        overrides: Hydra overrides of the checkpoint's config.
        answers: Questions at most.
        after: Folder of the round before, whose answers stay valid.
        filled: Its filled CSV; None: `answers.csv` in it.
        threshold: Largest mean distance of two groups that join; None: as `reid cluster` chooses it, moved by the
            answers so far.
        rerank: Whether neighborhoods are compared instead of vectors.
        cameras: Regular expression whose first group is the camera in a file's name.
        seed: Decides between questions of equal weight, and which pairs the prior is estimated from.
        trust: Packages of your own that the checkpoint's config may name; their code is run.

    Returns:
        The questions, the weightiest first.

    Raises:
        InputError: There are fewer than two images, an option is out of range, earlier answers cannot be used, there is
            nothing left to ask, or the folder cannot be written.
    """
    require_option("--answers", answers >= 1, "be 1 or more", answers)
    check_rates(None, threshold)
    free = not os.path.lexists(output) or (output.is_dir() and not any(output.iterdir()))
    require_option("--output", free, "name a folder that is not there yet", output)
    pattern = None if cameras is None else _pattern(cameras)
    quiet()
    require_writable(output.absolute().parent)
    table = list_images(images, all_columns=True)
    require_few(len(table))
    if len(table) < 2:
        raise InputError(f"{images} holds one image, of which there are no pairs; give two or more.")
    paths = [os.path.abspath(path) for path in table["path"]]
    if len(set(paths)) < len(paths):
        twice = pd.Series(paths)[pd.Series(paths).duplicated()].iloc[0]
        raise InputError(f"{images} names {twice} twice: remove one of the two rows.")
    before, first_pair = _before(after, filled)
    told, links = links_of(before, paths)
    embedder = Embedder(checkpoint, overrides, trust)
    if rerank:
        KReciprocalRerank(weight=0.0).check_size(len(paths))
    elif threshold is None and embedder.model.calibration is None:
        raise InputError(f"Labeling needs --threshold: {UNCALIBRATED}.")
    vectors = embedder(table["path"].tolist()).float().numpy()
    calibration = None if rerank else embedder.model.calibration
    slope = None if calibration is None else calibration.logistic.slope
    given = threshold is not None
    if threshold is None:
        threshold = RERANKED
        if calibration is not None:
            drawn = drawn_distances(torch.from_numpy(vectors), embedder.protocol.distance, seed=seed)
            prior = estimated_prior(calibration.logistic, drawn)
            threshold = even_distance(calibration.logistic, prior)
    if not math.isfinite(threshold):
        raise InputError("All pairs seem to show one person: give --threshold.")
    far = distances(vectors, embedder.protocol.distance, rerank)
    within = threshold if given else moved_threshold(threshold, slope, far, told)
    groups = constrained_groups(far, within, links)
    questions = choose_questions(far, groups, within, links, answers, slope=slope or None, seed=seed)
    if not questions:
        raise InputError("There is no pair left to ask about: apply the answers with --apply.")
    asked = [
        Asked(first_pair + place, one.first, one.second, one.distance, one.kind)
        for place, one in enumerate(questions)
    ]
    state = Round(
        paths,
        _cameras(table, str(images), pattern),
        _column(table, "person_id", str(images)),
        embedder.protocol.distance,
        rerank,
        float(threshold),
        given,
        slope,
        asked,
        before,
    )
    facts = {
        "model": embedder.mark,
        "first pair": str(first_pair),
        "images": f"{len(paths):,} in {int(groups.max()) + 1:,} groups",
        "joined within": f"{within:.4g} (mean {'Jaccard' if rerank else embedder.protocol.distance} distance)",
        "earlier answers": f"{len(before):,}",
    }
    missing = _write(output, state, vectors, questions, facts)
    sides = counted(len(questions), "pair")
    say(
        f"{sides} of {counted(len(paths), 'image')} in {int(groups.max()) + 1:,} groups: open {output / places.PAGE}"
    )
    say(f"fill in {output / places.ANSWERS}, then: reid label {output} --apply", "dim")
    if missing:
        say(f"{counted(missing, 'image')} could not be shown", "yellow")
    return questions


def _before(after: Path | None, filled: Path | None) -> tuple[list[Earlier], int]:
    """Return the answers of earlier rounds, and the number of the next pair."""
    if after is None:
        if filled is not None:
            raise InputError("--filled belongs to --after or --apply: name the folder that it answers.")
        return [], 1
    asked, answers = all_answers(after, filled)
    return answers, 1 + max((each.pair for each in asked.questions), default=0)


def _write(
    output: Path, state: Round, vectors: np.ndarray, questions: Sequence[Question], facts: dict[str, str]
) -> int:
    """Write the folder atomically; return how many images could not be shown."""
    pairs = [
        Pair(
            each.pair,
            each.question,
            round(each.distance, 4),
            [state.paths[row] for row in (one.first, *one.beside_first)],
            [state.paths[row] for row in (one.second, *one.beside_second)],
        )
        for each, one in zip(state.questions, questions, strict=True)
    ]
    if output.is_dir():
        output.rmdir()
    with atomic_path(output) as part:
        part.mkdir()
        state.write(part)
        write_vectors(vectors, part)
        write_questions(state.questions, state.paths, part / places.ANSWERS)
        write_sheets(part / places.SHEETS, pairs)
        return write_label_page(part, places.PAGE, places.IMAGES, pairs, facts)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise InputError(f"--cameras {text} is not a regular expression: {error}.") from error
    require_option("--cameras", pattern.groups >= 1, "have a group in parentheses, such as _c(\\d+)", text)
    return pattern


def _cameras(table: pd.DataFrame, origin: str, pattern: re.Pattern[str] | None) -> list[str | None]:
    """Return the camera of each image, by the table's column or by its file's name."""
    if pattern is None:
        return _column(table, "camera_id", origin)
    found = []
    for path in table["path"]:
        match = pattern.search(os.path.basename(path))
        if match is None or not match[1]:
            raise InputError(f"--cameras {pattern.pattern} finds no camera in the name of {path}.")
        found.append(match[1])
    return found


def _column(table: pd.DataFrame, name: str, origin: str) -> list[str | None]:
    if name not in table.columns:
        return [None] * len(table)
    return [None if pd.isna(value) else str(value) for value in identifiers(table, name, origin)]
