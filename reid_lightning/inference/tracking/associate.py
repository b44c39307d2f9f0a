"""Association: which detection of a frame is which person, by norfair, from motion and vectors.

Two questions are asked. From frame to frame: is this detection where the person is expected, and does it look like the
person? And of everyone who has just appeared: is this somebody who was lost a while ago? The first needs motion, and vectors
help where people cross; the second is answered by vectors alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reid_lightning.distances import Distance, pairwise_distances
from reid_lightning.errors import InputError

MISSING = (
    'reid track needs norfair: install it with `pip install --no-deps norfair "filterpy<2"` (without its dependencies, '
    "whose bounds exclude numpy 2)."
)
_LOST = 1.5  # seconds for which a person is expected where the motion leads
_NEW = 3  # frames after the first in which a new person must be found, too
_PAST = 8  # vectors that are remembered of a person, spread over the time


@dataclass(frozen=True)
class Settings:
    """How detections are associated.

    Attributes:
        min_overlap: Least IoU of a detection and the place where the person is expected, 0 to 1.
        threshold: Largest distance of the vectors of one person.
        distance: How vectors are compared.
        appearance: Share of the vectors in the cost of a match from frame to frame, 0 to 1; the rest is overlap.
        memory: Seconds for which a lost person is remembered.
    """

    min_overlap: float = 0.2
    threshold: float = 0.3
    distance: Distance = "cosine"
    appearance: float = 0.5
    memory: float = 60.0


@dataclass(eq=False)
class Track:
    """What is known of one person in one camera.

    Attributes:
        frames: Frames, rising.
        boxes: Corners in each.
        confidence: Of the detection in each.
        vectors: Vector in each, (D,); empty without a model.
    """

    frames: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    vectors: list[Tensor] = field(default_factory=list)

    def mean_vector(self) -> Tensor:
        """Return the mean of the vectors of sure detections, (D,), scaled to length 1; NaN if there is none."""
        if not self.vectors:
            return torch.full((1,), torch.nan)
        vectors = torch.stack(self.vectors)
        known = ~vectors.isnan().any(dim=1)
        sure = torch.tensor(self.confidence) >= float(np.median(self.confidence))
        chosen = vectors[known & sure] if (known & sure).any() else vectors[known]
        return torch.nn.functional.normalize(chosen.mean(dim=0), dim=0)


class Association:
    """Follows the people of one camera, frame by frame.

    Args:
        rate: Frames a second.
        settings: How detections are associated; vectors are used where `update` gets them.
        appearance: Whether it will.

    Raises:
        InputError: norfair is not installed.
    """

    def __init__(self, rate: float, settings: Settings, appearance: bool) -> None:
        norfair = _norfair()
        self._detection = norfair.Detection
        life = max(round(_LOST * rate), 2 * _NEW)
        self._tracker = norfair.Tracker(
            "iou",  # replaced below
            distance_threshold=1.0,
            hit_counter_max=life,
            initialization_delay=_NEW,
            past_detections_length=_PAST,
            reid_distance_threshold=1.0,
            reid_hit_counter_max=round(settings.memory * rate) if appearance else None,
        )
        self._tracker.distance_function = _MotionAndAppearance(settings)
        if appearance:
            self._tracker.reid_distance_function = _Appearance(settings)
        self._tracks: dict[int, Track] = {}
        self._objects: dict[int, Any] = {}  # keeps them alive, so that no other object gets their number

    def update(
        self, frame: int, boxes: np.ndarray, confidence: np.ndarray, vectors: Tensor | None = None
    ) -> None:
        """Take the detections of the next frame.

        Args:
            frame: Its number.
            boxes: Corners x1, y1, x2, y2 in pixels, (N, 4).
            confidence: (N,).
            vectors: (N, D), NaN for boxes outside of the frame; None: motion alone.
        """
        detections = [
            self._detection(
                points=box.reshape(2, 2),
                data=(frame, float(sure)),
                embedding=None if vectors is None else vectors[row],
            )
            for row, (box, sure) in enumerate(zip(boxes, confidence, strict=True))
        ]
        before = list(self._tracker.tracked_objects)
        self._tracker.update(detections)
        known = {id(one.last_detection): one for one in self._tracker.tracked_objects}
        for (
            one
        ) in before:  # one that turned out to be somebody lost is gone, and the other has its last detection
            owner = known.get(id(one.last_detection))
            if owner is not None and owner is not one:
                self._merge(self._track(one), self._track(owner))
        for one in self._tracker.tracked_objects:
            if one.last_detection.data[0] == frame:
                track, last = self._track(one), one.last_detection
                track.frames.append(frame)
                track.boxes.append(last.points.reshape(4))
                track.confidence.append(last.data[1])
                if last.embedding is not None:
                    track.vectors.append(last.embedding)

    def finish(self) -> list[Track]:
        """Return everyone who was seen long enough, in the order of their appearance."""
        tracks = [self._tracks[key] for key, one in self._objects.items() if one.id is not None]
        return sorted((track for track in tracks if track.frames), key=lambda track: track.frames[0])

    def _track(self, one: Any) -> Track:
        self._objects[id(one)] = one
        return self._tracks.setdefault(id(one), Track())

    @staticmethod
    def _merge(new: Track, old: Track) -> None:
        """Give the few frames of somebody who was taken for a new person to the one whom it is."""
        for name in ("frames", "boxes", "confidence", "vectors"):
            getattr(old, name).extend(getattr(new, name))
            getattr(new, name).clear()


class _MotionAndAppearance:
    """Cost of a detection for a person who is followed; 1 and more is none."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def get_distances(self, objects: Sequence[Any], candidates: Sequence[Any]) -> np.ndarray:
        """Return the costs, (candidates, objects) float32."""
        if not objects or not candidates:
            return np.full((len(candidates), len(objects)), np.inf, np.float32)
        overlap = overlaps(
            np.stack([one.points.reshape(4) for one in candidates]),
            np.stack([one.estimate.reshape(4) for one in objects]),
        )
        cost = (1 - overlap) / (1 - self._settings.min_overlap)
        apart = _apart(
            [[one] for one in candidates], [one.past_detections for one in objects], self._settings
        )
        if apart is not None:
            # Twice the threshold: from frame to frame a person may be half hidden, and place speaks as well.
            share, unlike = self._settings.appearance, apart / (2 * self._settings.threshold)
            cost = np.where(
                cost < 1, np.where(np.isnan(unlike), cost, (1 - share) * cost + share * unlike), cost
            )
        return np.where(overlap > self._settings.min_overlap, cost, np.inf).astype(np.float32)


class _Appearance:
    """Cost of taking somebody new for somebody lost: the distance of their vectors over the largest one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def get_distances(self, objects: Sequence[Any], candidates: Sequence[Any]) -> np.ndarray:
        """Return the costs, (candidates, objects) float32."""
        shape = len(candidates), len(objects)
        if not objects or not candidates:
            return np.full(shape, np.inf, np.float32)
        past = [[one.past_detections for one in several] for several in (candidates, objects)]
        apart = _apart(past[0], past[1], self._settings)
        if apart is None:
            return np.full(shape, np.inf, np.float32)
        # Who was still seen when somebody else appeared is somebody else.
        began = np.asarray([one.past_detections[0].data[0] for one in candidates])
        ended = np.asarray([one.last_detection.data[0] for one in objects])
        possible = (began[:, None] > ended[None, :]) & ~np.isnan(apart)
        return np.where(possible, apart / self._settings.threshold, np.inf).astype(np.float32)


def _apart(first: Sequence[Any], second: Sequence[Any], settings: Settings) -> np.ndarray | None:
    """Return the distance of the mean vectors of lists of detections, NaN where one has none; None without vectors."""
    if first[0][0].embedding is None:
        return None
    means = []
    for several in (first, second):
        rows = [torch.stack([one.embedding for one in detections]) for detections in several]
        means.append(torch.stack([torch.nanmean(row, dim=0) for row in rows]).double())
    return pairwise_distances(means[0], means[1], settings.distance).numpy()


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union of boxes (N, 4) and (M, 4), corners x1, y1, x2, y2: (N, M).

    Examples:
        >>> overlaps(np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 3, 2.0], [5, 5, 6, 6]])).round(3).tolist()
        [[0.333, 0.0]]
    """
    corner = np.maximum(first[:, None, :2], second[None, :, :2])
    other = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.clip(other - corner, 0, None).prod(axis=2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (first, second)]
    return common / np.maximum(areas[0][:, None] + areas[1][None, :] - common, 1e-9)


def _norfair() -> Any:
    try:
        import norfair
    except ImportError:
        raise InputError(MISSING) from None
    return norfair
