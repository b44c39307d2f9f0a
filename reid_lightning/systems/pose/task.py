"""Where the body parts are: a branch that learns them first, and is fine-tuned by identities."""

from collections.abc import Mapping
from typing import Any

from reid_lightning.config.resolve import instantiate
from reid_lightning.errors import InputError
from reid_lightning.reporting.page import Picture
from reid_lightning.systems.pose.figures import draw_skeletons
from reid_lightning.systems.pose.pretraining import (
    BRANCH_FILE,
    PartPretraining,
    describe_scores,
    posed_images,
    score_parts,
)
from reid_lightning.systems.task import Plan, Run, Task

MEASURED = 500  # images that PCK is taken of


class PoseTask(Task):
    """Pre-trains and judges the part branch of `PoseBilinear` (Suh et al. 2018, "Part-Aligned Bilinear Representations").

    It adds no term to the loss: identities alone train the branch after its pre-training.

    Args:
        pretraining: Trains the branch on key points first; None leaves it as it starts.
        started_from: File of the weights that the branch started from; None: what the pre-training wrote.
    """

    name = "pose"
    own_settings = False

    def __init__(self, pretraining: PartPretraining | None = None, started_from: str | None = None) -> None:
        super().__init__()
        self.pretraining, self.started_from = pretraining, started_from

    @classmethod
    def from_config(cls, plan: Plan) -> "PoseTask":
        """Return the task of the config's groups `parts` and `pretraining`."""
        weights = plan.config["parts"].get("weights")
        pretraining = None if weights else instantiate(plan.config.get("pretraining"), "pretraining")
        return cls(pretraining, weights)

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        """Refuse a pre-training of nothing, and a frozen branch that knows nothing."""
        parts = config.get("parts") or {}
        if not str(parts.get("_target_")).endswith(".PoseBilinear"):
            raise InputError(
                "pretraining=pose trains the part branch of parts=pose: add that, or pretraining=none"
            )
        if parts.get("frozen") and not parts.get("weights") and not config.get("pretraining"):
            raise InputError(
                "parts.frozen=true keeps a part branch that nothing has trained: add pretraining=pose, name its file with "
                "parts.weights=FILE, or set parts.frozen=false"
            )

    def before_fit(self, run: Run) -> None:
        """Train the part branch, from whose weights all processes start."""
        if self.pretraining is None or run.resumed:
            return
        with run.stage("pose"):
            self.pretraining(
                run.network,
                run.datamodule,
                run.output_dir / BRANCH_FILE,
                run.config["seed"],
                run.device,
                steps=run.steps,
            )

    def scores(self, run: Run) -> dict[str, float]:
        """Return PCK of the part branch on the test images, or the validation's; empty without key points."""
        posed = posed_images(run.datamodule, run.evaluated_splits, MEASURED)
        return {} if posed is None else score_parts(run.network, posed)

    def figures(self, run: Run, scores: Mapping[str, float]) -> list[Picture]:
        """Draw the part maps of some images before and after the training."""
        return draw_skeletons(run, scores, self.started_from)

    def line(self, scores: Mapping[str, float]) -> str | None:
        """Return PCK in words."""
        return f"joints in sight: {describe_scores(dict(scores))}" if scores else None
