"""What the training was shown: augmented images, the triplets of a batch, and what the lossless loss asks of them."""

import logging
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from reid_lightning.losses.lossless import LARGEST, LosslessTripletLoss
from reid_lightning.losses.pairs import pair_masks
from reid_lightning.losses.spec import margin_of, spec_of
from reid_lightning.mining.kinds import KINDS, BatchTriplets
from reid_lightning.reporting.cost_curves import CostCurve, cost_curves
from reid_lightning.reporting.page import Picture
from reid_lightning.reporting.training_sheets import (
    Augmented,
    Shares,
    ShownTriplet,
    TripletKind,
    augmented_images,
    triplet_kinds,
)
from reid_lightning.results.kept_pictures import keep_pictures, kept_pictures
from reid_lightning.results.run_page import is_full
from reid_lightning.results.training_batch import SeenBatch, augmentation_of, in_words, triplet_loss_of, who
from reid_lightning.retrieval.rerank import whole_number
from reid_lightning.systems.task import Report, Run

log = logging.getLogger("reid_lightning")

LIST = "training.json"
WIDE = 0.7  # width / height of images from which on they are drawn in one column
PLACES = 401  # of a cost curve


class TrainingReport(Report):
    """Draws what the training was shown; a brief page, such as that of a sweep's job, has none of it.

    It comes after the numbers and changes none: the random state, the sampler and the network are left as they were, and a
    picture that cannot be drawn is a warning.

    Args:
        images: Training images that are shown with their augmentation.
        draws: Draws of the augmentation of each.
        triplets: Triplets shown of each kind.
        margin: Between semi-hard and easy triplets where the loss has none of its own; None: 0.3, or 0.2 of squared
            distances.

    Raises:
        ValueError: A setting is out of range.
    """

    name = "training"
    needs_people: ClassVar[bool] = False
    needs_evaluation: ClassVar[bool] = False

    def __init__(
        self, images: int = 8, draws: int = 5, triplets: int = 4, margin: float | None = None
    ) -> None:
        for name, value in (("images", images), ("draws", draws), ("triplets", triplets)):
            whole_number(name, value, 1)
        if margin is not None and not margin > 0:
            raise ValueError(f"margin must be > 0 or null, got {margin}")
        self.images, self.draws, self.triplets, self.margin = images, draws, triplets, margin

    def figures(self, run: Run, scores: Mapping[str, float]) -> list[Picture]:
        """Draw the pictures; where nothing was trained, return those that a training has left in the folder."""
        if run.config.get("augmentation") is None and not run.losses:
            return kept_pictures(run.output_dir, LIST)
        if not is_full(run.config):
            return []
        drawing = _Drawing(self, run)
        pictures = []
        for draw in (drawing.augmented, drawing.triplets, drawing.lossless):
            if (picture := _drawn(draw)) is not None:
                pictures.append(picture)
        keep_pictures(pictures, run.output_dir, LIST)
        return pictures


def _drawn(draw: Callable[[], Picture | None]) -> Picture | None:
    """Return a picture, or None and a warning: nothing is worth losing the run's other results."""
    try:
        with isolate_rng():
            return draw()
    except Exception as error:
        log.warning("report=training leaves out the picture %s: %s", draw.__name__, error)
        return None


class _Drawing:
    """The pictures of one run."""

    def __init__(self, report: TrainingReport, run: Run) -> None:
        self.report, self.run = report, run

    @cached_property
    def batch(self) -> SeenBatch:
        """The batch of both pictures of triplets."""
        return SeenBatch.of(self.run)

    def augmented(self) -> Picture | None:
        """Draw training images before and after their augmentation."""
        run, data = self.run, self.run.datamodule
        table = data.table
        rows = data.train_rows
        count = min(self.report.images, len(rows))
        rows = rows[np.linspace(0, len(rows) - 1, count).round().astype(int)]
        changes = getattr(data.train_transform, "transforms", [data.train_transform])
        draws = self.report.draws if data.train_transform is not None and len(changes) else 0
        seeds = (
            np.random.default_rng([data.seed, len(rows)]).integers(2**63, size=(len(rows), draws)).tolist()
        )
        read = data.training_batch([(row, 0) for row in rows.tolist()], augmented=False)["images"]
        path = run.output_dir / "augmented_images.png"
        shown = [
            Augmented(
                who(table.iloc[row]),
                _pixels(read[place]),
                [
                    _pixels(image)
                    for image in data.training_batch([(row, seed) for seed in seeds[place]])["images"]
                ]
                if draws
                else [],
            )
            for place, row in enumerate(rows.tolist())
        ]
        height, width = data.image_size
        augmented_images(shown, path, columns=(4 if not draws else 1 if width / height > WIDE else 2))
        size = f"{height} x {width} pixels, the size at which the network sees them"
        if not draws:
            return Picture(
                "Training images", path, f"Training images at {size}. They are not augmented.", width=40
            )
        caption = (
            f"Training images at {size}, as read and in {draws} draws of the augmentation "
            f"{augmentation_of(run.config)}. The training draws again whenever it sees an image."
        )
        return Picture("Augmented images", path, caption)

    def triplets(self) -> Picture | None:
        """Draw easy, semi-hard and hard triplets of a batch, and count them."""
        found = triplet_loss_of(self.run)
        if found is None:
            return None
        name, loss = found
        triplets = self.batch.triplets(loss, self.report.margin)
        counts = triplets.by_anchor().sum(dim=0).tolist()
        if not sum(counts):
            return None
        miner = self.run.miners.get(name)
        mined = None if miner is None or spec_of(loss).forms_own_pairs else self._mined(name, loss, triplets)
        shares = [Shares(f"all {sum(counts):,} valid ones", counts)]
        if mined is not None:
            shares.append(Shares(f"{sum(mined):,} by {in_words(miner)}", mined))
        gap = f"{triplets.margin:g}"
        titles = (
            "hard: the other person is not farther",
            f"semi-hard: farther, by less than {gap}",
            f"easy: farther by {gap} or more",
        )
        path = self.run.output_dir / "triplets.png"
        kinds = [
            TripletKind(
                title, [self._shown(triplets, *one) for one in triplets.examples(kind, self.report.triplets)]
            )
            for kind, title in enumerate(titles)
        ]
        triplet_kinds(kinds, shares, path)
        return Picture("Triplets of a batch", path, self._explained(name, loss, triplets, counts, mined))

    def _mined(self, name: str, loss: nn.Module, triplets: BatchTriplets) -> list[int]:
        """Return how many triplets of each kind the miner picks from the batch."""
        miner = self.run.miners[name]
        assert miner is not None
        with torch.no_grad():
            return triplets.of(miner(self.batch.compared(loss), self.batch.labels))

    def _shown(self, triplets: BatchTriplets, anchor: int, positive: int, negative: int) -> ShownTriplet:
        places, table = (anchor, positive, negative), self.run.datamodule.table
        images = tuple(_pixels(self.batch.images[place]) for place in places)
        captions = tuple(who(table.iloc[int(self.batch.rows[place])]) for place in places)
        near, far = (float(triplets.distances[anchor, other]) for other in (positive, negative))
        return ShownTriplet(images, captions, near, far)  # type: ignore[arg-type]

    def _explained(
        self, name: str, loss: nn.Module, triplets: BatchTriplets, counts: list[int], mined: list[int] | None
    ) -> str:
        people = len(self.batch.labels.unique())
        unit = "squared Euclidean" if getattr(loss, "squared", False) else "Euclidean"
        vectors = "unit vectors" if getattr(loss, "normalize", False) else "the vectors before the neck"
        own = margin_of(loss) is not None
        margin = f"the margin {triplets.margin:g} of loss={name}" if own else (
            f"{triplets.margin:g}, since loss={name} has no margin of its own"
        )  # fmt: skip
        sentences = [
            f"A training batch of {len(self.batch.labels):,} images of {people:,} people as the sampler draws it after the "
            f"last epoch, augmented, and as the trained network sees it in evaluation mode: {unit} distances of {vectors}.",
            f"It has {sum(counts):,} valid triplets (anchor, same person, other person): {_listed(counts)}. Semi-hard ends "
            f"at {margin}.",
        ]
        if mined is not None:
            miner = in_words(self.run.miners[name])
            sentences.append(f"The miner ({miner}) picks {sum(mined):,} of them: {_listed(mined)}.")
        elif spec_of(loss).forms_own_pairs:
            sentences.append(
                f"loss={name} forms its own pairs from the whole batch; no miner chooses for it."
            )
        else:
            sentences.append(f"There is no miner: loss={name} is the mean over all of them.")
        sentences.append(
            "Each row is the median of its anchor's triplets of that kind by the gap of the two distances."
        )
        return " ".join(sentences)

    def lossless(self) -> Picture | None:
        """Draw what the lossless triplet loss costs over the distance, and where the batch lies."""
        found = next(
            ((n, loss) for n, loss in self.run.losses.items() if isinstance(loss, LosslessTripletLoss)), None
        )
        if found is None:
            return None
        name, loss = found
        distances = self.batch.distances(loss).double()
        same, other = (distances[mask] for mask in pair_masks(self.batch.labels))
        places = torch.linspace(0, LARGEST, PLACES, dtype=torch.float64)
        path = self.run.output_dir / "lossless.png"
        curves = []
        for label, term, pairs in (("same person", loss.pull, same), ("other person", loss.push, other)):
            costs, slopes = term(places)
            curves.append(CostCurve(label, costs.numpy(), slopes.numpy(), pairs.numpy()))
        cost_curves(places.numpy(), curves, "squared Euclidean distance of unit vectors", path)
        caption = (
            f"What a pair costs in loss={name} with beta {loss.beta:g}, largest squared distance {LARGEST:g} and eps "
            f"{loss.eps:g}: -ln(1 - d²/beta + eps) for the same person, -ln(1 - ({LARGEST:g} - d²)/beta + eps) for another. "
            f"The slope never vanishes, so that easy pairs still teach. Below: the {len(same):,} pairs of one person "
            f"(median d² {_median(same)}) and {len(other):,} of two ({_median(other)}) of the batch above; dots mark the "
            "medians."
        )
        return Picture("Lossless triplet loss", path, caption)


def _pixels(image: Tensor) -> np.ndarray:
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def _listed(counts: list[int]) -> str:
    total = max(1, sum(counts))
    return ", ".join(
        f"{count:,} {kind} ({100 * count / total:.1f} %)" for kind, count in zip(KINDS, counts, strict=True)
    )


def _median(values: Tensor) -> str:
    return f"{float(np.median(values.numpy())):.3f}" if len(values) else "none"
