"""The part branch learns body key points before the training that fine-tunes it."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from torch import Tensor
from torch.nn import functional

from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.data.keypoints import HIDDEN, IN_SIGHT, has_keypoints, mirrored_joints, read_keypoints
from reid_lightning.errors import DivergedError, InputError, require
from reid_lightning.files import atomic_path
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.systems.pose.bilinear import PoseBilinear
from reid_lightning.systems.pose.heat_maps import correct_key_points, heat_maps, peaks

log = logging.getLogger("reid_lightning")

BRANCH_FILE = "part_branch.pt"
WITHIN = (0.05, 0.1)  # fractions of the height: PCK@0.05, PCK@0.1
_MEASURED = 1000  # images that PCK is taken of


@dataclass(frozen=True, eq=False)
class PosedImages:
    """Images of a table whose key points are known.

    Attributes:
        datamodule: Gives the images, as an evaluation sees them.
        rows: The table's rows, (N,).
        joints: Names of the joints.
        positions: (N, J, 2) column and row as fractions.
        seen: (N, J) 2 in sight, 1 hidden, 0 outside.
    """

    datamodule: ReIDDataModule
    rows: np.ndarray
    joints: tuple[str, ...]
    positions: Tensor
    seen: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def images(self, chosen: Tensor) -> Tensor:
        """Return (B, 3, H, W) uint8 images."""
        return self.datamodule.images_of(self.rows[chosen.numpy()].tolist())


def posed_images(
    datamodule: ReIDDataModule, splits: Sequence[str], at_most: int | None = None
) -> PosedImages | None:
    """Return the images of some splits that have key points, evenly thinned out; None where there are none.

    Args:
        datamodule: After its setup.
        splits: Of the table.
        at_most: Images to keep; None for all.
    """
    table = datamodule.table
    rows = np.flatnonzero(table["split"].isin(splits).to_numpy(bool) & has_keypoints(table))
    if not len(rows):
        return None
    if at_most is not None and len(rows) > at_most:
        rows = rows[np.linspace(0, len(rows) - 1, at_most).round().astype(int)]
    found = read_keypoints(table.iloc[rows])
    points = torch.from_numpy(found.points)
    return PosedImages(datamodule, rows, found.joints, points[..., :2], points[..., 2])


@dataclass(frozen=True)
class PartPretraining:
    """Trains a part branch to draw a bell at each joint, by binary cross-entropy in each cell of its maps.

    A joint that is hidden or outside has an empty map, and none is left out of the loss: there is nothing of it that
    could be pooled, and its map should say so.

    Args:
        epochs: Times that all training images with key points are seen.
        batch_size: Images.
        lr: Highest learning rate of AdamW; it rises over the first tenth and then falls to 0 as a cosine.
        weight_decay: Decay per step, times the learning rate.
        sigma: Standard deviation of a bell, in cells.
        hidden: Draw hidden joints as well.
        flip: Probability that an image is mirrored, left joints then being right ones.
        shift: Largest shift in each direction, as a fraction of the size.
        scale: Largest change of size, as a fraction.
    """

    epochs: int = 6
    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 1e-4
    sigma: float = 0.8
    hidden: bool = False
    flip: float = 0.5
    shift: float = 0.08
    scale: float = 0.15

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            require(getattr(self, name) >= 1, name, ">= 1", getattr(self, name))
        for name in ("lr", "sigma"):
            require(getattr(self, name) > 0, name, "> 0", getattr(self, name))
        require(0 <= self.flip <= 1, "flip", "a probability from 0 to 1", self.flip)
        for name in ("shift", "scale"):
            require(0 <= getattr(self, name) < 1, name, "a fraction in [0, 1)", getattr(self, name))

    def __call__(
        self,
        network: ReIDNetwork,
        datamodule: ReIDDataModule,
        file: Path,
        seed: int,
        device: torch.device | str = "cpu",
        steps: int | None = None,
    ) -> None:
        """Train the branch of a network in place, and write its weights.

        The same seed gives the same weights; nothing is drawn from torch's own generator.

        Args:
            network: Its `parts` are a `PoseBilinear`.
            datamodule: After its setup.
            file: Receives the branch's weights.
            seed: Order of the images and augmentation.
            device: Where to train.
            steps: Stop after so many, and write nothing; None for all.

        Raises:
            InputError: No training image has key points, or they are of other joints than the branch's.
        """
        assert isinstance(network.parts, PoseBilinear)
        posed = self.images(datamodule, network.parts.branch.joints)
        network.to(device)
        self._train(network, posed, seed, steps)
        if steps is None:
            with atomic_path(file) as temporary:
                torch.save({k: v.cpu() for k, v in network.parts.branch.state_dict().items()}, temporary)
        held_out = posed_images(datamodule, ["val"], _MEASURED)
        held_out = held_out or posed_images(datamodule, ["query", "gallery"], _MEASURED)
        if held_out is not None and steps is None:
            scores = score_parts(network, held_out)
            log.info(
                "part branch: %s of the joints in sight, on %d images of people held out",
                describe_scores(scores), len(held_out),
            )  # fmt: skip
        network.cpu().train()

    def images(self, datamodule: ReIDDataModule, joints: int) -> PosedImages:
        """Return the training images with key points.

        Raises:
            InputError: There are none, or they have another number of joints.
        """
        posed = posed_images(datamodule, ["train"])
        if posed is None:
            raise InputError(
                f"pretraining=pose needs key points, and no training image of {', '.join(datamodule.sources)} has any: "
                "train on generated people first (python train.py experiment=megvii/pose data=pedestrians) and pass what "
                f"it leaves, parts.weights=RUN/{BRANCH_FILE}, or choose pretraining=none"
            )
        if len(posed.joints) != joints:
            raise InputError(
                f"parts.joints={joints}, and the data's key points have {len(posed.joints)} joints: set "
                f"parts.joints={len(posed.joints)}"
            )
        return posed

    def _train(self, network: ReIDNetwork, posed: PosedImages, seed: int, steps: int | None) -> None:
        assert isinstance(network.parts, PoseBilinear)
        branch, device = network.parts.branch.train().requires_grad_(True), network.normalize.mean.device
        per_epoch = -(-len(posed) // self.batch_size)
        total = min(self.epochs * per_epoch, steps or self.epochs * per_epoch)
        optimizer = torch.optim.AdamW(branch.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_rate, total=total))
        generator = torch.Generator().manual_seed(seed)
        mirror = mirrored_joints(posed.joints)
        for step, chosen in zip(
            range(total), _shown(self._batches(len(posed), generator), total), strict=False
        ):
            images = network.normalize(posed.images(chosen).to(device))
            images, positions, seen = self._augment(
                images, posed.positions[chosen], posed.seen[chosen], mirror, generator
            )
            logits = branch(images)
            shown = seen >= (HIDDEN if self.hidden else IN_SIGHT)
            wanted = heat_maps(positions.to(device), shown.to(device), tuple(logits.shape[2:]), self.sigma)
            loss = functional.binary_cross_entropy_with_logits(logits, wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if (step + 1) % per_epoch == 0 and not loss.isfinite():
                raise DivergedError(
                    "the loss of pretraining=pose became NaN or infinite; lower pretraining.lr"
                )
        branch.requires_grad_(not network.parts.frozen)

    def _batches(self, images: int, generator: torch.Generator) -> Iterator[Tensor]:
        for _ in range(self.epochs):
            yield from torch.randperm(images, generator=generator).split(self.batch_size)

    def _augment(
        self,
        images: Tensor,
        positions: Tensor,
        seen: Tensor,
        mirror: list[int],
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mirror, shift and scale images and joints alike; a joint that leaves the image is outside.

        Args:
            images: (B, 3, H, W) float; what comes into view is 0.
            positions: (B, J, 2).
            seen: (B, J).
            mirror: Joint of the mirror image for each joint.
            generator: Draws it all.
        """
        draws = torch.rand(len(images), 4, generator=generator)
        flipped = draws[:, 0] < self.flip
        sizes = 1 + self.scale * (2 * draws[:, 1] - 1)
        shifts = self.shift * (2 * draws[:, 2:] - 1)
        factors = torch.stack([torch.where(flipped, -sizes, sizes), sizes], dim=1)
        inverse = torch.cat([torch.diag_embed(1 / factors), (-2 * shifts / factors)[..., None]], dim=2)
        grid = functional.affine_grid(inverse.to(images), list(images.shape), align_corners=False)
        images = functional.grid_sample(images, grid, align_corners=False)
        positions = torch.where(flipped[:, None, None], positions[:, mirror], positions)
        seen = torch.where(flipped[:, None], seen[:, mirror], seen)
        positions = 0.5 + (positions - 0.5) * factors[:, None] + shifts[:, None]
        inside = ((positions >= 0) & (positions < 1)).all(dim=2)
        return images, positions, seen * inside


def _rate(step: int, total: int) -> float:
    """Return the learning rate of a step, as a fraction of the highest."""
    warm = max(1, total // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 + 0.5 * math.cos(math.pi * (step - warm) / max(1, total - warm))


def _shown(batches: Iterator[Tensor], total: int) -> Iterator[Tensor]:
    """Yield the batches under a bar."""
    console = Console()
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar as progress:
        yield from progress.track(batches, total=total, description="Pre-training the part branch")


@torch.no_grad()
def score_parts(network: ReIDNetwork, posed: PosedImages) -> dict[str, float]:
    """Return PCK at each of `WITHIN`, of the joints in sight, by `pck@0.05`."""
    assert isinstance(network.parts, PoseBilinear)
    network.eval()
    size, device = posed.datamodule.image_size, network.normalize.mean.device
    found = [
        peaks(network.parts.branch(network.normalize(posed.images(chosen).to(device))), size).cpu()
        for chosen in torch.arange(len(posed)).split(128)
    ]
    in_sight, aspect = posed.seen == IN_SIGHT, size[1] / size[0]
    return {
        f"pck@{within:g}": correct_key_points(torch.cat(found), posed.positions, in_sight, aspect, within)
        for within in WITHIN
    }


def describe_scores(scores: dict[str, float]) -> str:
    """Return PCK in words.

    Examples:
        >>> describe_scores({"pck@0.05": 0.5, "pck@0.1": 0.75})
        'PCK@0.05 50.0, PCK@0.1 75.0'
    """
    return ", ".join(f"{name.upper()} {100 * value:.1f}" for name, value in scores.items())
