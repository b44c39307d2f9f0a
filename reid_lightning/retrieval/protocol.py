"""The choices behind a retrieval score, in one value that is printed and stored with every number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from reid_lightning.config.declared import ignores
from reid_lightning.distances import Metric
from reid_lightning.errors import InputError
from reid_lightning.retrieval.k_reciprocal import KReciprocal
from reid_lightning.retrieval.matches import CameraPolicy

FeatureName = Literal["embedding", "before_neck", "descriptor", "stripes"]

_FEATURES = {
    "embedding": "feature after the neck",
    "before_neck": "feature before the neck",
    "descriptor": "multi-depth descriptor",
    "stripes": "features of the stripes together",
}


@ignores("single_shot_seed", "the whole gallery is ranked", single_shot=None)
@ignores("aligned_weight", "nothing is re-ranked by stripes", aligned=None)
@dataclass(frozen=True)
class EvaluationProtocol:
    """How features are taken, compared and scored. The defaults are those of BoT (Luo et al. 2019).

    Args:
        feature: Field of `Features`: "embedding" (after the neck), "before_neck" (before its normalisation), "descriptor"
            (multi-depth, where the model has one) or "stripes" (its parts' features one after the other, likewise).
        normalize: Scale features to length 1 before they are compared.
        metric: Distance: "cosine", "euclidean" or "sqeuclidean".
        camera_policy: "exclude_same_camera" removes gallery images of the query's person from the query's own
            camera, "allow" keeps them.
        ranks: The k of each Rank-k that is reported.
        flip: Average the features of an image and its mirror image (both scaled to length 1 if `normalize`).
        tracklets: "pool" compares the mean over each tracklet (`tracklets.pool_tracklets`); None each image.
        single_shot: Draws of a gallery of one random image per identity, over which scores are averaged
            (`single_shot.rank_single_shot`); None ranks the whole gallery.
        single_shot_seed: Another seed draws other galleries.
        aligned: How many of the nearest images are ordered anew with the aligned distance of their stripes
            (`aligned.AlignedRerank`); None leaves them.
        aligned_weight: Factor of that distance beside the features' own.
        k_reciprocal: (k1, k2, weight) of re-ranking by reciprocal neighbours (`k_reciprocal.KReciprocal`); None leaves
            the distances as they are.
        identification: How many nearest images vote to name each query, beside the ranking
            (`open_set.identification_summary`); None measures no identification.
        map: Draw the vectors as a map (t-SNE) beside the scores, which it does not change.

    Raises:
        InputError: A value is not one of these.

    Examples:
        >>> EvaluationProtocol(flip=True).describe()
        'feature after the neck, L2-normalised, averaged with the mirror image; cosine distance; same camera excluded; AP as mean precision; ties against the query'
    """  # noqa: E501

    feature: FeatureName = "embedding"
    normalize: bool = True
    metric: Metric = "cosine"
    camera_policy: CameraPolicy = "exclude_same_camera"
    ranks: Sequence[int] = (1, 5, 10, 20)
    flip: bool = False
    tracklets: Literal["pool"] | None = None
    single_shot: int | None = None
    single_shot_seed: int = 0
    aligned: int | None = None
    aligned_weight: float = 1.0
    k_reciprocal: Sequence[float] | None = None
    identification: int | None = None
    map: bool = False

    def __post_init__(self) -> None:
        ranks = self.ranks if isinstance(self.ranks, Sequence) else (self.ranks,)
        object.__setattr__(self, "ranks", tuple(ranks))
        for name, choices in (
            ("feature", get_args(FeatureName)),
            ("metric", get_args(Metric)),
            ("camera_policy", get_args(CameraPolicy)),
            ("normalize", (True, False)),
            ("flip", (True, False)),
            ("map", (True, False)),
            ("tracklets", ("pool", None)),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise InputError(
                    f"evaluation.{name}={value} is unknown; choose one of {', '.join(map(str, choices))}."
                )
        if not self.ranks or any(type(k) is not int or k < 1 for k in self.ranks):
            raise InputError(
                f"evaluation.ranks={list(self.ranks)} must be a list of whole numbers from 1 on, as [1,5,10]."
            )
        if self.single_shot is not None and (type(self.single_shot) is not int or self.single_shot < 1):
            raise InputError(
                f"evaluation.single_shot={self.single_shot} must be a number of draws from 1 on, or null for the whole "
                "gallery."
            )
        if self.identification is not None and (
            type(self.identification) is not int or self.identification < 1
        ):
            raise InputError(
                f"evaluation.identification={self.identification} must be a number of images that vote from 1 on, or null "
                "for no identification."
            )
        if self.aligned is not None:
            self._check_aligned()
        if self.k_reciprocal is not None:
            self._check_k_reciprocal()

    def _check_aligned(self) -> None:
        if type(self.aligned) is not int or self.aligned < 1 or self.aligned_weight < 0:
            raise InputError(
                f"evaluation.aligned={self.aligned} must be a number of gallery images from 1 on, or null for no second "
                f"look, and evaluation.aligned_weight={self.aligned_weight} 0 or more."
            )
        if self.tracklets or self.single_shot:
            raise InputError(
                f"evaluation.aligned={self.aligned} compares the stripes of single images; set evaluation.tracklets=null "
                "and evaluation.single_shot=null, or leave it out."
            )

    def _check_k_reciprocal(self) -> None:
        given = list(self.k_reciprocal) if isinstance(self.k_reciprocal, Sequence) else []
        if [type(value) for value in given] not in ([int, int, float], [int, int, int]):
            raise InputError(
                f"evaluation.k_reciprocal={self.k_reciprocal} must be [k1,k2,weight], as in [20,6,0.3], or null for "
                "no re-ranking."
            )
        KReciprocal(*given)  # type: ignore[arg-type]
        object.__setattr__(self, "k_reciprocal", tuple(given))
        if self.aligned or self.single_shot:
            raise InputError(
                f"evaluation.k_reciprocal={given} re-ranks a whole gallery by itself; set evaluation.aligned=null and "
                "evaluation.single_shot=null, or leave it out."
            )

    def describe(self) -> str:
        """Return one line that names every choice."""
        return "; ".join(
            (
                ", ".join(
                    (
                        _FEATURES[self.feature],
                        "L2-normalised" if self.normalize else "not normalised",
                        *(["averaged with the mirror image"] if self.flip else []),
                        *(["averaged over each tracklet"] if self.tracklets else []),
                    )
                ),
                f"{self.metric} distance",
                *(
                    ["re-ranked by k-reciprocal neighbours ({}/{}/{})".format(*self.k_reciprocal)]
                    if self.k_reciprocal
                    else []
                ),
                *(
                    [f"nearest {self.aligned} re-ranked with {self.aligned_weight} x aligned distance"]
                    if self.aligned
                    else []
                ),
                f"same camera {'excluded' if self.camera_policy == 'exclude_same_camera' else 'allowed'}",
                *([self._describe_draws()] if self.single_shot else []),
                "AP as mean precision",
                "ties against the query",
            )
        )

    def _describe_draws(self) -> str:
        draws = "1 draw" if self.single_shot == 1 else f"mean of {self.single_shot} draws"
        return f"one random gallery image per identity, {draws} (seed {self.single_shot_seed})"
