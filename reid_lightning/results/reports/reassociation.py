"""Whether people are found again some frames later in the same recording, as a tracker asks."""

import logging
from collections.abc import Mapping, Sequence

import pandas as pd
import torch

from reid_lightning.data.cells import column
from reid_lightning.data.table import camera_keys
from reid_lightning.errors import InputError
from reid_lightning.retrieval.reassociation import Sightings, reassociation
from reid_lightning.systems.task import Report, Run

log = logging.getLogger("reid_lightning")


class ReassociationReport(Report):
    """Looks for every person among the images of the same camera and sequence that come later.

    It needs data with cameras and frames (`frame_id`, and `sequence_id` where frame numbers start again); images without are
    left out, and those of distractors are wrong answers.

    Args:
        gaps: First frames of the ranges, as of `retrieval.reassociation`.

    Raises:
        ValueError: They are not rising whole numbers from 1.
    """

    name = "reassociation"

    def __init__(self, gaps: Sequence[int] = (1, 25, 250)) -> None:
        self.gaps = list(gaps)
        if not self.gaps or any(type(gap) is not int or gap < 1 for gap in self.gaps):
            raise ValueError(
                f"gaps must be rising whole numbers from 1, such as [1, 25, 250], got {self.gaps}"
            )
        if self.gaps != sorted(set(self.gaps)):
            raise ValueError(
                f"gaps must be rising whole numbers from 1, such as [1, 25, 250], got {self.gaps}"
            )

    def scores(self, run: Run) -> dict[str, float]:
        """Return rate, chance and number of questions of every range; empty where there are no frames or no questions."""
        if run.rows is None:
            return {}
        try:
            found = reassociation(_sightings(run), self.gaps, distance=run.protocol.distance)
        except InputError as error:
            log.warning("report=reassociation measures nothing: %s", error)
            return {}
        scores: dict[str, float] = {}
        for one in found:
            if one.questions:
                scores |= {
                    f"found_from_{one.first}": one.rate,
                    f"chance_from_{one.first}": one.chance,
                    f"questions_from_{one.first}": float(one.questions),
                }
        return scores

    def line(self, scores: Mapping[str, float]) -> str | None:
        """Return the rates in a line."""
        lasts = [f"to {following - 1}" for following in self.gaps[1:]] + ["or more"]
        parts = [
            f"{100 * scores[f'found_from_{gap}']:.1f} after {gap} {last} frames (by chance "
            f"{100 * scores[f'chance_from_{gap}']:.1f}, {scores[f'questions_from_{gap}']:,.0f} questions)"
            for gap, last in zip(self.gaps, lasts, strict=True)
            if f"found_from_{gap}" in scores
        ]
        return f"found again: {'; '.join(parts)}" if parts else None


def _sightings(run: Run) -> Sightings:
    """Return the evaluated images whose frame is known, and in which camera or sequence.

    Raises:
        InputError: There is none.
    """
    assert run.rows is not None
    who = run.datamodule.table.iloc[run.rows.index.cpu().numpy()]
    cameras, sequences = camera_keys(who), column(who, "sequence_id")
    timed = (who["frame_id"].notna() & (cameras.notna() | sequences.notna())).to_numpy(bool)
    if not timed.any():
        raise InputError(
            "the evaluated images have no camera with frames; give a table the columns camera_id (or sequence_id) and "
            "frame_id"
        )
    where = cameras.fillna(who["source"]) + "/" + sequences.fillna("")
    rows, who, recordings = (
        run.rows.select(torch.tensor(timed).to(run.rows.index.device)),
        who[timed],
        pd.factorize(where[timed])[0],
    )
    nobody = torch.tensor(who["distractor"].to_numpy(bool)).to(rows.person_ids.device)
    return Sightings(
        rows.vectors,
        rows.person_ids.masked_fill(nobody, -1),
        torch.tensor(recordings),
        torch.tensor(who["frame_id"].to_numpy("int64")),
        rows.tracklet_ids,
    )
