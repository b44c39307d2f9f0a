"""Do images show one person: what `Model.compare` and `reid compare` do."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from reid_lightning.arguments import as_number
from reid_lightning.distances import Distance, pairwise_distances
from reid_lightning.errors import InputError
from reid_lightning.experiments.quiet import quiet
from reid_lightning.inference.answers import require_answers, short_path, write_answers
from reid_lightning.inference.embed import Embedder, list_images
from reid_lightning.inference.options import require_option
from reid_lightning.reporting.terminal import as_it_is, say
from reid_lightning.retrieval.calibration import FALSE_ACCEPTS, Calibration

UNCALIBRATED = (
    "the model does not say what its distances mean (it is imported, of an earlier version, trained without validation "
    "people, or its vectors are taken otherwise; `reid calibrate` measures it)"
)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Pairs of images compared; arrays are (N, M), and () where both sides are a single image.

    Attributes:
        distance: As the model's protocol says.
        probability: Of the same person; None where the model is not calibrated.
        threshold: The largest distance that is taken for one person; None where it is not known.
        same: Whether a pair is; None where there is no threshold.
        false_accepts: Share of pairs of two people that the threshold accepts; None for a threshold of one's own.
        prior: Share of all pairs that show one person.
    """

    distance: NDArray[np.float64]
    probability: NDArray[np.float64] | None
    threshold: float | None
    same: NDArray[np.bool_] | None
    false_accepts: float | None
    prior: float

    def of_single(self) -> "Comparison":
        """Return the only pair as scalars."""
        return replace(
            self,
            distance=self.distance[0, 0],
            probability=None if self.probability is None else self.probability[0, 0],
            same=None if self.same is None else self.same[0, 0],
        )


def compare_vectors(
    first: Tensor,
    second: Tensor,
    distance: Distance,
    calibration: Calibration | None,
    false_accepts: float | None = None,
    threshold: float | None = None,
    prior: float = 0.5,
) -> Comparison:
    """Compare every vector with every other.

    Args:
        first: (N, D).
        second: (M, D).
        distance: How the model compares.
        calibration: What its distances mean; None where that is not known.
        false_accepts: Share of pairs of two people that may be taken for one person; None: `FALSE_ACCEPTS` where it is
            calibrated.
        threshold: A largest distance of one's own instead.
        prior: Share of all pairs that show one person.

    Raises:
        InputError: A value is out of range, both kinds of threshold are given, or the rate needs a calibration.
    """
    if false_accepts is not None and threshold is not None:
        raise InputError("Give a false accept rate or a threshold, not both.")
    if threshold is not None and not as_number(threshold, "A threshold") >= 0:  # NaN as well
        raise InputError(f"A threshold must be a distance from 0 on, got {threshold}.")
    if not 0 < as_number(prior, "The prior") < 1:
        raise InputError(f"The prior must be between 0 and 1, got {prior}.")
    if false_accepts is not None and as_number(false_accepts, "A false accept rate") and calibration is None:
        raise InputError(f"A false accept rate needs a calibration, and {UNCALIBRATED}; give a threshold.")
    far = pairwise_distances(first.double(), second.double(), distance).numpy()
    rate = false_accepts
    if threshold is None and calibration is not None:
        rate = FALSE_ACCEPTS if false_accepts is None else false_accepts
        threshold = calibration.threshold(rate)
    return Comparison(
        far,
        None if calibration is None else calibration.probability(far, prior),
        threshold,
        None if threshold is None else far <= threshold,
        rate,
        prior,
    )


def compare(
    first: Path,
    second: Path,
    checkpoint: Path,
    overrides: Sequence[str] = (),
    false_accepts: float | None = None,
    threshold: float | None = None,
    prior: float = 0.5,
    output: Path | None = None,
    as_page: bool = False,
    trust: Sequence[str] = (),
) -> Comparison:
    """Compare images, a line for each pair.

    Args:
        first: An image, a folder, or a table with a column `path`.
        second: Likewise; each of the first is compared with each of the second.
        checkpoint: A checkpoint file written by a run, or the folder of a saved model.
        overrides: Hydra overrides of the checkpoint's config.
        false_accepts: As of `compare_vectors`, like the next two.
        threshold: A largest distance of one's own.
        prior: Share of all pairs that show one person.
        output: A `.csv` file, or any other for JSON lines; None prints JSON lines.
        as_page: Whether a table is printed instead.
        trust: Packages of your own that the checkpoint's config may name; their code is run.

    Raises:
        InputError: There are no images, an option is out of range, or the output cannot be written.
    """
    check_rates(false_accepts, threshold)
    require_option("--prior", 0 < prior < 1, "be between 0 and 1", prior)
    quiet()
    if output is not None:
        require_answers(output)
    sides = [list_images(side)["path"].tolist() for side in (first, second)]
    embedder = Embedder(checkpoint, overrides, trust)
    paths = list(dict.fromkeys([*sides[0], *sides[1]]))
    row = {path: place for place, path in enumerate(paths)}
    vectors = embedder(paths)
    one, other = (vectors[[row[path] for path in side]] for side in sides)
    model = embedder.model
    found = compare_vectors(
        one, other, model.protocol.distance, model.calibration, false_accepts, threshold, prior
    )
    answers = [
        _answer(a, b, found, (place_a, place_b))
        for place_a, a in enumerate(sides[0])
        for place_b, b in enumerate(sides[1])
    ]
    if as_page:
        _print(answers)
    if output is not None or not as_page:
        write_answers(answers, output)
    say(_said(found, model.calibration))
    return found


def _print(answers: Sequence[dict[str, Any]]) -> None:
    page = Table(show_edge=False, pad_edge=False)
    for title in ("first", "second"):
        page.add_column(title, overflow="fold")
    for title in ("distance", "probability", "same person"):
        page.add_column(title, justify="right")
    for answer in answers:
        probability, same = answer["probability"], answer["same"]
        page.add_row(
            as_it_is(short_path(answer["first"])),
            as_it_is(short_path(answer["second"])),
            f"{answer['distance']:.4f}",
            "" if probability is None else f"{100 * probability:.1f} %",
            {None: "", True: "yes", False: "no"}[same],
        )
    Console().print(page)


def check_rates(false_accepts: float | None, threshold: float | None) -> None:
    """Refuse options that are out of range or exclude each other.

    Raises:
        InputError: They are.
    """
    fits = threshold is None or (threshold >= 0 and math.isfinite(threshold))
    require_option("--threshold", fits, "be a number from 0 on", threshold)
    fits = false_accepts is None or 0 < false_accepts <= 1
    require_option("--false-accepts", fits, "be above 0 and up to 1", false_accepts)
    if false_accepts is not None and threshold is not None:
        raise InputError("Give --false-accepts or --threshold, not both.")


def _answer(first: str, second: str, found: Comparison, pair: tuple[int, int]) -> dict[str, Any]:
    return {
        "first": first,
        "second": second,
        "distance": round(float(found.distance[pair]), 6),
        "probability": None if found.probability is None else round(float(found.probability[pair]), 4),
        "same": None if found.same is None else bool(found.same[pair]),
    }


def _said(found: Comparison, calibration: Calibration | None) -> str:
    """Return what the answers rest on."""
    parts = []
    if found.threshold is not None:
        rate = found.false_accepts
        given = (
            "as given" if rate is None else f"{100 * rate:g} % of the pairs of different people are as near"
        )
        parts.append(f"one person: a distance of at most {found.threshold:.4g} ({given})")
    if calibration is None:
        parts.append(f"no probability: {UNCALIBRATED}")
    else:
        off = "" if calibration.error is None else f", mean error {100 * calibration.error:.1f} %"
        parts.append(
            f"probabilities assume that {100 * found.prior:g} % of all pairs show one person (--prior), and were measured "
            f"on {calibration.people:,} validation people{off}"
        )
    return "; ".join(parts)
