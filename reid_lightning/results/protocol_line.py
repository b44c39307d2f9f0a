"""How a run's numbers were taken, in one line: the split, the image size, the protocol, and what was left out."""

import logging

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only

from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.data.table import describe_protocols, identity_keys
from reid_lightning.results.data_facts import describe_left_out
from reid_lightning.retrieval.matches import Matches, Side
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.systems.task import Run

log = logging.getLogger("reid_lightning")

FEWEST_QUERIES, FEWEST_PEOPLE = 20, 10  # fewer choose an epoch by chance


def protocol_line(run: Run) -> str:
    """Return the line of a run's last evaluation, and of its validation where that differs."""
    data = run.datamodule
    height, width = data.image_size
    parts = [*describe_protocols(data.table), f"{height}x{width} pixels"]
    if not (feed := run.network.feed).is_plain:
        parts.append(feed.in_short())
    if getattr(run.network.backbone, "reads_cameras", False):
        parts.append(_told_cameras(data, *run.evaluated_splits))
    parts.append(run.protocol.describe(_known_cameras(data, *run.evaluated_splits)))
    rows = data.table[data.table["split"].isin(run.evaluated_splits)]
    if distractors := int(rows["distractor"].sum()):
        parts.append(f"{distractors:,} {_plural('distractor', distractors)}")
    if left_out := describe_left_out(data):
        parts.append(left_out)
    if data.has_nameless_test:
        parts.append("a test set without identities")
    elif unknown := int(rows["person_id"].isna().sum()):
        parts.append(f"{unknown:,} {_plural('image', unknown)} of unknown people ignored")
    if run.ranking is not None and (unmatched := run.ranking.queries_without_match):
        queries = len(run.ranking.num_matches)
        parts.append(f"{unmatched:,} of {queries:,} queries without a true match left out")
    if data.has_validation and data.is_tested:
        parts.append(_of_validation(data, run.protocol, bool(distractors)))
    return "; ".join(parts)


def _told_cameras(data: ReIDDataModule, *splits: str) -> str:
    """Return of how many images a network that asks for the camera is told it."""
    numbers = data.annotations.columns.get("cameras", np.array([], np.int64))
    seen = numbers[data.table["split"].isin(splits).to_numpy()] if len(numbers) else numbers
    told = float((seen >= 0).mean()) if len(seen) else 0.0
    if told == 1:
        return "the network uses each image's camera"
    if told == 0:
        return "the network knows none of the cameras"
    return f"the network uses the camera of {100 * told:.0f} % of the images"


@rank_zero_only
def warn_of_small_validation(data: ReIDDataModule, protocol: EvaluationProtocol) -> None:
    """Warn about a validation that is too small to choose an epoch by."""
    if warning := small_validation(data, protocol):
        log.warning("%s", warning)


def small_validation(data: ReIDDataModule, protocol: EvaluationProtocol) -> str | None:
    """Return a warning about a validation that is too small to choose an epoch by; None if it is large enough or absent."""
    if not data.has_validation:
        return None
    queries, people = validation_size(data, protocol)
    if queries >= FEWEST_QUERIES and people >= FEWEST_PEOPLE:
        return None
    points = min(
        100.0, 98 / max(people, 1) ** 0.5
    )  # of a number in [0, 1], whose deviation is at most a half
    return (
        f"validation has {queries} {'query' if queries == 1 else 'queries'} with a true match, of {people} people, too few "
        f"to choose an epoch by ({FEWEST_QUERIES} queries and {FEWEST_PEOPLE} people are the least): the 95 % interval of "
        f"its mAP may reach {points:.0f} points to either side; raise data.validation, or train on all people with "
        "data.validation=none"
    )


def validation_size(data: ReIDDataModule, protocol: EvaluationProtocol) -> tuple[int, int]:
    """Return how many queries of the validation have a true match, and how many people these show."""
    codes, rows = data.annotations, np.flatnonzero(data.table["split"] == "val")
    rows = rows[codes.person_ids[rows] >= 0]
    query, gallery = rows[codes.is_query[rows]], rows[~codes.is_query[rows]]
    asked, known = (
        Side(
            torch.empty(len(side), 0),
            *map(torch.from_numpy, (codes.person_ids[side], codes.camera_ids[side])),
        )
        for side in (query, gallery)
    )
    of_query, _, counted = Matches.of(asked, known, protocol.camera_policy).of_queries(slice(None))
    matched = query[np.unique(of_query[counted])]
    tracklets = codes.tracklet_ids[matched]
    queries = np.where(tracklets < 0, -1 - matched, tracklets) if protocol.tracklets else matched
    return len(np.unique(queries)), len(np.unique(codes.person_ids[matched]))


def _of_validation(data: ReIDDataModule, protocol: EvaluationProtocol, distractors_in_test: bool) -> str:
    """Say how the validation differs from the test."""
    rows = data.table[data.table["split"] == "val"]
    if data.validation_queries is not None:
        queries = f"{data.validation_queries:,} random queries"
    else:
        unit = "tracklet" if (data.annotations.tracklet_ids[rows.index] >= 0).any() else "image"
        cameras = " and camera" if rows["camera_id"].notna().any() else ""
        queries = f"one {unit} per person{cameras} as query"
    said = [f"validation on {identity_keys(rows).nunique():,} other people", queries]
    if distractors_in_test:
        said.append("without distractors")
    known = _known_cameras(data, "val")
    if known != _known_cameras(data, "query", "gallery"):
        policy = protocol.describe(known).split("; ")
        said += [
            part for part in policy if part not in protocol.describe(_known_cameras(data, "query", "gallery"))
        ]
    return ", ".join(said)


def _known_cameras(data: ReIDDataModule, *splits: str) -> float:
    """Return the share of the images of some splits whose camera is known."""
    cameras = data.table.loc[data.table["split"].isin(splits), "camera_id"]
    return float(cameras.notna().mean()) if len(cameras) else 1.0


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
