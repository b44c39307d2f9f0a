"""The choices behind a retrieval score, in one value that is printed and stored with every number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from reid_lightning.config.declared import ignores
from reid_lightning.distances import Distance
from reid_lightning.retrieval.matches import CameraPolicy
from reid_lightning.retrieval.rerank import Rerank

OWN_SIZE = (1.0,)
SMALLEST, LARGEST = 0.25, 4.0  # of the scales

FeatureName = Literal["embedding", "before_neck", "descriptor", "stripes", "jigsaw"]

_FEATURES = {
    "embedding": "feature after the neck",
    "before_neck": "feature before the neck",
    "descriptor": "multi-depth descriptor",
    "jigsaw": "features of the image and of groups of patches, joined",
    "stripes": "features of the stripes together",
}


@ignores("single_shot_seed", "the whole gallery is ranked", single_shot=None)
@dataclass(frozen=True)
class EvaluationProtocol:
    """How features are taken, compared and scored; `evaluation.py` does what it says.

    The defaults are those of BoT (Luo et al. 2019).

    Args:
        feature: Field of `Features`: "embedding" (after the neck), "before_neck" (before its normalization), "descriptor"
            (multi-depth, where the model has one), "stripes" (its parts' features one after the other, likewise) or "jigsaw"
            (the image's and a share of each group of patches', likewise).
        normalize: Scale features to length 1 before they are compared.
        distance: "cosine", "euclidean" or "sqeuclidean".
        camera_policy: "exclude_same_camera" removes gallery images of the query's person from the query's own
            camera, "allow" keeps them.
        ranks: The k of each Rank-k that is reported.
        flip: Average the features of an image and its mirror image (both scaled to length 1 if `normalize`).
        scales: Average the features of an image at these sizes likewise, as shares of its own; [1.0] takes its own alone.
        map_at: The k of each mAP@k that is reported beside the mAP (`Ranking.ap_at`).
        camera_statistics: Images of each camera, at most, by whose mean and variance its images are normalized inside the
            network (`models.camera_statistics`), without labels; None normalizes as in the training.
        tracklets: "pool" compares the mean over each tracklet (`tracklets.pool_tracklets`); None each image.
        single_shot: Draws of a gallery of one random image per identity, over which scores are averaged
            (`single_shot.rank_single_shot`); None ranks the whole gallery.
        single_shot_seed: Another seed draws other galleries.
        rerank: Orders the gallery by more than these distances; None leaves it in their order.

    Raises:
        ValueError: A value is not one of these, or two of them exclude each other.

    Examples:
        >>> EvaluationProtocol(flip=True).describe()
        'feature after the neck, L2-normalised, averaged with the mirror image; cosine distance; same camera excluded; AP as mean precision; ties against the query'
    """  # noqa: E501

    feature: FeatureName = "embedding"
    normalize: bool = True
    distance: Distance = "cosine"
    camera_policy: CameraPolicy = "exclude_same_camera"
    ranks: Sequence[int] = (1, 5, 10, 20)
    flip: bool = False
    scales: Sequence[float] = OWN_SIZE
    map_at: Sequence[int] = ()
    camera_statistics: int | None = None
    tracklets: Literal["pool"] | None = None
    single_shot: int | None = None
    single_shot_seed: int = 0
    rerank: Rerank | None = None

    def __post_init__(self) -> None:
        ranks = self.ranks if isinstance(self.ranks, Sequence) else (self.ranks,)
        object.__setattr__(self, "ranks", tuple(ranks))
        for name in ("scales", "map_at"):
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, Sequence) else (value,))
        for name, choices in (
            ("feature", get_args(FeatureName)),
            ("distance", get_args(Distance)),
            ("camera_policy", get_args(CameraPolicy)),
            ("normalize", (True, False)),
            ("flip", (True, False)),
            ("tracklets", ("pool", None)),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value}")
        if not self.ranks or any(type(k) is not int or k < 1 for k in self.ranks):
            raise ValueError(
                f"ranks must be a list of whole numbers >= 1, such as [1,5,10], got {list(self.ranks)}"
            )
        if any(type(k) is not int or k < 1 for k in self.map_at) or len(set(self.map_at)) < len(self.map_at):
            raise ValueError(
                f"map_at must be a list of different whole numbers >= 1, such as [10], or empty, got {list(self.map_at)}"
            )
        self._check_scales()
        if self.single_shot is not None and self.map_at:
            raise ValueError(
                "map_at must be empty with single_shot, whose galleries hold one match each: its mAP says the same"
            )
        if self.single_shot is not None and (type(self.single_shot) is not int or self.single_shot < 1):
            raise ValueError(
                f"single_shot must be a number of draws >= 1, or null for the whole gallery, got {self.single_shot}"
            )
        count = self.camera_statistics
        if count is not None and (type(count) is not int or count < 2):
            raise ValueError(
                f"camera_statistics must be a number of images >= 2, such as 1024, or null for the training's, got {count}"
            )
        if self.rerank is not None:
            self._check_rerank(self.rerank)

    def _check_scales(self) -> None:
        numbers = all(type(one) in (int, float) and SMALLEST <= one <= LARGEST for one in self.scales)
        if not self.scales or not numbers or len(set(self.scales)) < len(self.scales):
            raise ValueError(
                f"scales must be a list of different numbers from {SMALLEST} to {LARGEST:.0f}, such as [1.0,1.25], got "
                f"{list(self.scales)}"
            )
        object.__setattr__(self, "scales", tuple(float(one) for one in self.scales))

    def _check_rerank(self, rerank: Rerank) -> None:
        if self.single_shot is not None:
            raise ValueError(
                f"single_shot={self.single_shot} draws galleries that a re-ranking does not see: set single_shot=null or "
                "choose evaluation/rerank=none"
            )
        if rerank.reads is not None and self.tracklets is not None:
            raise ValueError(
                f"tracklets={self.tracklets} pools vectors, but this re-ranking compares the {rerank.reads} of single "
                "images: set tracklets=null or choose evaluation/rerank=none"
            )

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields of `Features` that an evaluation reads."""
        extra = None if self.rerank is None else self.rerank.reads
        return (self.feature,) if extra is None else (self.feature, extra)

    @property
    def vector_choices(self) -> tuple[object, ...]:
        """Feature, normalization, mirror image and, where there are others than the image's own, its sizes.

        Vectors that were taken with other choices cannot be compared.
        """
        chosen = self.feature, self.normalize, self.flip
        return chosen if self.scales == OWN_SIZE else (*chosen, self.scales)

    def describe(self, known_cameras: float = 1.0) -> str:
        """Return one line that names every choice.

        Args:
            known_cameras: Share of the evaluated images whose camera is known, 0 to 1.

        Examples:
            >>> EvaluationProtocol().describe(known_cameras=0.0).split("; ")[2]
            'cameras unknown, so none excluded'
        """
        return "; ".join(
            (
                ", ".join(
                    (
                        _FEATURES[self.feature],
                        "L2-normalised" if self.normalize else "not normalised",
                        *(["averaged with the mirror image"] if self.flip else []),
                        *([] if self.scales == OWN_SIZE else [self._describe_scales()]),
                        *(["averaged over each tracklet"] if self.tracklets else []),
                        *([self._describe_statistics()] if self.camera_statistics else []),
                    )
                ),
                f"{self.distance} distance",
                *([] if self.rerank is None else [self.rerank.describe()]),
                self._describe_cameras(known_cameras),
                *([self._describe_draws()] if self.single_shot else []),
                "AP as mean precision",
                "ties against the query",
            )
        )

    def _describe_cameras(self, known: float) -> str:
        if self.camera_policy == "allow":
            return "same camera allowed"
        if known == 0:
            return "cameras unknown, so none excluded"
        return "same camera excluded" + (f" where known ({100 * known:.3g} % of images)" if known < 1 else "")

    def _describe_scales(self) -> str:
        one, *more = (f"{scale:g}" for scale in self.scales)
        return (
            f"averaged over {' and '.join([one, *more])} times the image's size"
            if more
            else f"at {one} times the size"
        )

    def _describe_statistics(self) -> str:
        return f"batch normalization by up to {self.camera_statistics} evaluated images of each camera, without labels"

    def _describe_draws(self) -> str:
        draws = "1 draw" if self.single_shot == 1 else f"mean of {self.single_shot} draws"
        return f"one random gallery image per identity, {draws} (seed {self.single_shot_seed})"
