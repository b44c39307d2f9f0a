"""A table to train on from answers about pairs: what `reid label FOLDER --apply` does."""

from pathlib import Path

import numpy as np
import pandas as pd

from reid_lightning.errors import InputError
from reid_lightning.experiments.quiet import quiet
from reid_lightning.files import require_output
from reid_lightning.inference.answers import counted
from reid_lightning.inference.compare import check_rates
from reid_lightning.inference.label.answers import all_answers, links_of
from reid_lightning.inference.label.folder import distances, moved_threshold, read_vectors
from reid_lightning.inference.options import require_option
from reid_lightning.reporting.cells import write_csv
from reid_lightning.reporting.terminal import say
from reid_lightning.retrieval.clustering import cluster_scores
from reid_lightning.retrieval.constrained import constrained_groups

TABLE = "people.csv"


def apply(
    folder: Path,
    filled: Path | None = None,
    output: Path | None = None,
    threshold: float | None = None,
    least: int = 2,
) -> pd.DataFrame:
    """Group a round's images so that all answers hold, and write a table that `data=table` trains on.

    Args:
        folder: Of the round.
        filled: The filled CSV; None: `answers.csv` in the folder.
        output: The table (.csv); None: `people.csv` in the folder.
        threshold: Largest mean distance of two groups that join; None: that of the round, moved by the answers
            unless --threshold chose it then.
        least: Images that make a person; of smaller groups the name is left empty, and no training learns them.

    Returns:
        Columns `path`, `person_id`, `camera_id` and `split`, a row per image in the round's order.

    Raises:
        InputError: The folder or the CSV cannot be used, answers contradict each other, an option is out of range, or no
            group is large enough.
    """
    require_option("--least", least >= 1, "be 1 or more", least)
    check_rates(None, threshold)
    quiet()
    output = folder / TABLE if output is None else output
    state, answers = all_answers(folder, filled)
    require_output(output, (".csv",))
    told, links = links_of(answers, state.paths)
    far = distances(read_vectors(folder, len(state.paths)), state.distance, state.rerank)
    if threshold is None:
        threshold = (
            state.threshold if state.given else moved_threshold(state.threshold, state.slope, far, told)
        )
    groups = constrained_groups(far, threshold, links)
    sizes = np.bincount(groups)
    people = int((sizes >= least).sum())
    if not people:
        raise InputError(
            f"No group has {least} images or more: answer more pairs, or give a larger --threshold than "
            f"{threshold:.4g}."
        )
    digits = max(4, len(str(people)))
    names = [f"p{group + 1:0{digits}}" if sizes[group] >= least else None for group in groups.tolist()]
    table = pd.DataFrame(
        {
            "path": pd.Series(state.paths, dtype=object),
            "person_id": pd.Series(names, dtype=object),
            "camera_id": pd.Series(state.cameras, dtype=object),
            "split": "train",
        }
    )
    write_csv(table, output)
    given = {word: sum(each.answer == word for each in answers) for word in ("same", "different", "unknown")}
    said = ", ".join(f"{count:,} {word}" for word, count in given.items())
    left_out = int((sizes[groups] < least).sum())
    say(f"{counted(len(answers), 'answer')} ({said}); groups joined within {threshold:.4g}")
    say(
        f"{people:,} people of {least} images or more, {len(groups) - left_out:,} images; {left_out:,} images have no name"
    )
    _judge(groups, state.people)
    say(f"train on it: python train.py data=table data.root={output}", "dim")
    return table


def _judge(groups: np.ndarray, people: list[str | None]) -> None:
    """Say how well the groups are people where somebody knows them."""
    known = np.array([name is not None for name in people])
    if not known.any():
        return
    scores = cluster_scores(groups[known], np.array([name for name in people if name is not None]))
    share = {name: f"{100 * scores[name]:.1f}" for name in ("f", "precision", "recall")}
    say(
        f"judged by {int(known.sum()):,} images of {scores['people']:,.0f} known people: pairwise F {share['f']} "
        f"(precision {share['precision']}, recall {share['recall']})"
    )
