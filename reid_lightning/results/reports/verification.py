"""How well a distance tells one person from two, and whether what the model says of its distances is true."""

import logging
from collections.abc import Mapping

import numpy as np

from reid_lightning.errors import InputError
from reid_lightning.reporting.page import Picture
from reid_lightning.reporting.verification_charts import reliability_diagram, roc_chart
from reid_lightning.retrieval.evaluation import pairs_of_rows
from reid_lightning.retrieval.rerank import whole_number
from reid_lightning.retrieval.verification import PairDistances, rate_name, roc, verification_scores
from reid_lightning.systems.task import Report, Run

log = logging.getLogger("reid_lightning")


class VerificationReport(Report):
    """Compares all pairs of a query and a gallery image (`retrieval.verification`, `retrieval.calibration`).

    The calibration is that of the checkpoint, from its validation people; here it meets the test's.

    Args:
        bins: Of the reliability diagram.

    Raises:
        ValueError: bins is below 1.
    """

    name = "verification"

    def __init__(self, bins: int = 15) -> None:
        whole_number("bins", bins, 1)
        self.bins = bins
        self._pairs: PairDistances | None = None  # of the last scores

    def scores(self, run: Run) -> dict[str, float]:
        """Return the rates, and where the model is calibrated how far it is off; empty without pairs of both kinds."""
        self._pairs = None
        if run.rows is None:
            return {}
        try:
            pairs = pairs_of_rows(run.rows, run.protocol)
            scores = verification_scores(pairs)
        except InputError as error:  # of a handful of people; the run's other results stand
            log.warning("report=verification measures nothing: %s", error)
            return {}
        self._pairs = pairs
        if _is_calibrated(run):
            assert run.calibration is not None
            scores["calibration_error"] = run.calibration.reliability(pairs, bins=self.bins).error
            for rate in (0.1, 0.01, 0.001):
                if rate in run.calibration.rates:
                    within = pairs.different <= run.calibration.threshold(rate)
                    scores[f"false_accepts_at_{rate_name(rate)}"] = float(np.mean(within))
        return scores

    def figures(self, run: Run, scores: Mapping[str, float]) -> list[Picture]:
        """Draw `roc.png` and, where the model is calibrated, `reliability.png`."""
        if self._pairs is None or not scores:
            return []
        path = run.output_dir / "roc.png"
        curve = roc(self._pairs)
        roc_chart(curve.false_accepts, curve.true_accepts, scores["eer"], len(self._pairs.different), path)
        pictures = [Picture("Verification", path, f"{_counted(scores)}.", width=46)]
        if _is_calibrated(run):
            assert run.calibration is not None
            found, path = (
                run.calibration.reliability(self._pairs, bins=self.bins),
                run.output_dir / "reliability.png",
            )
            reliability_diagram(found.stated, found.measured, found.weights, found.error, path)
            caption = (
                f"The {run.calibration.kind} curve was fitted to {run.calibration.people:,} validation people "
                f"({run.calibration.same_pairs:,} pairs of one person) and is compared with the people of the test."
            )
            pictures.append(Picture("Reliability", path, caption, width=36))
        return pictures

    def line(self, scores: Mapping[str, float]) -> str | None:
        """Return the rates in a line."""
        if not scores:
            return None
        rates = [
            f"{100 * value:.1f} at {name.removeprefix('tar_at_')}"
            for name, value in scores.items()
            if name.startswith("tar_at_")
        ]
        parts = [
            f"equal error rate {100 * scores['eer']:.2f}",
            f"true accepts {', '.join(rates)}" if rates else "",
        ]
        if "calibration_error" in scores:
            parts.append(f"probabilities off by {100 * scores['calibration_error']:.1f} on average")
        parts.append(_counted(scores))
        return f"verification: {'; '.join(part for part in parts if part)}"


def _is_calibrated(run: Run) -> bool:
    """Whether the model says what its distances mean, and these people are not those it says it from."""
    return run.calibration is not None and run.datamodule.has_test


def _counted(scores: Mapping[str, float]) -> str:
    return f"{scores['same_pairs']:,.0f} pairs of one person and {scores['different_pairs']:,.0f} of two"
