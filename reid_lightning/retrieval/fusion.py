"""Two similarities of the same people as one: body and face, where there is a face (HiQo 2019).

Scores of two models have different ranges, so each is normalized over all pairs before they are combined (Jain, Nandakumar
and Ross 2005, "Score normalization in multimodal biometric systems").
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from reid_lightning.errors import InputError
from reid_lightning.retrieval.similarities import PairSimilarities, Similarities

Normalisation = Literal["z_score", "min_max"]
Rule = Literal["sum", "product"]


@dataclass(frozen=True)
class Scale:
    """What brings scores of one kind to the scale of others: `(score - shift) / spread`."""

    shift: float
    spread: float

    @classmethod
    def of(cls, parts: Iterable[Tensor], normalisation: Normalisation) -> "Scale":
        """Measure scores that come in parts: mean and standard deviation, or smallest and range.

        Raises:
            InputError: There is no score.

        Examples:
            >>> Scale.of([torch.tensor([1.0, 3.0]), torch.tensor([[5.0]])], "min_max")
            Scale(shift=1.0, spread=4.0)
        """
        count, mean, squares, lowest, highest = 0, 0.0, 0.0, float("inf"), float("-inf")
        for part in parts:
            if not part.numel():
                continue
            values = part.double()
            # Chan's update of mean and squared deviations: a difference of large sums would lose the digits.
            here, own = values.numel(), values.mean().item()
            squares += (values - own).square().sum().item() + (own - mean) ** 2 * count * here / (
                count + here
            )
            mean += (own - mean) * here / (count + here)
            count += here
            lowest, highest = min(lowest, values.min().item()), max(highest, values.max().item())
        if not count:
            raise InputError(
                "There is no pair of a query and a gallery image that both have a face; nothing is fused."
            )
        shift, spread = (
            (lowest, highest - lowest) if normalisation == "min_max" else (mean, (squares / count) ** 0.5)
        )
        return cls(shift, spread or 1.0)  # equal scores say nothing, and become 0

    def __call__(self, scores: Tensor) -> Tensor:
        """Return the scores on the common scale."""
        return (scores - self.shift) / self.spread


def fuse(
    body: Tensor,
    face: Tensor,
    query_faces: Tensor,
    gallery_faces: Tensor,
    *,
    weight: float = 0.5,
    normalisation: Normalisation = "z_score",
    rule: Rule = "sum",
    scales: tuple[Scale, Scale] | None = None,
) -> Tensor:
    """Combine similarities of bodies and faces; where either image has no face, the body's alone.

    With b and f the normalized scores and w the weight:

    - sum: (1 - w) b + w f. Under "z_score" it is divided by sqrt((1 - w)² + w²), the spread that such a sum of
      independent scores has, so that pairs with and without a face can be compared.
    - product: b^(1 - w) f^w, for "min_max" alone, whose scores are not negative.

    Args:
        body: (Q, G) similarities, larger is more alike.
        face: (Q, G); what stands where a face is missing is not read.
        query_faces: (Q,) bool, which queries have a face.
        gallery_faces: (G,) bool.
        weight: Weight of the face, from 0 to 1.
        normalisation: "z_score" (mean 0, standard deviation 1) or "min_max" (0 to 1), each over all pairs of its kind.
        rule: "sum" or "product".
        scales: Of body and face where they are known, as for a part of the queries; None measures these scores.

    Returns:
        (Q, G) fused similarities.

    Raises:
        InputError: A choice is unknown or does not fit, or no pair has two faces.

    Examples:
        >>> body, face = torch.tensor([[0.0, 4.0]]), torch.tensor([[1.0, torch.nan]])
        >>> fuse(body, face, torch.tensor([True]), torch.tensor([True, False]), normalisation="min_max", weight=0.25)
        tensor([[0., 1.]])
    """
    check_choices(weight, normalisation, rule)
    both = query_faces[:, None] & gallery_faces
    if scales is None:
        scales = Scale.of([body], normalisation), Scale.of([face[both]], normalisation)
    own, other = scales[0](body), scales[1](face)
    if rule == "product":
        fused = own.clamp(min=0) ** (1 - weight) * other.clamp(min=0) ** weight
    else:
        fused = (1 - weight) * own + weight * other
        if normalisation == "z_score":
            fused = fused / ((1 - weight) ** 2 + weight**2) ** 0.5
    return torch.where(both, fused, own)


def check_choices(weight: float, normalisation: str, rule: str) -> None:
    """Raise `InputError` where a way of fusing is not one."""
    for name, value, choices in (("normalisation", normalisation, Normalisation), ("rule", rule, Rule)):
        if value not in get_args(choices):
            raise InputError(
                f"The {name} '{value}' is unknown; choose one of {', '.join(get_args(choices))}."
            )
    if not 0 <= weight <= 1:
        raise InputError(f"The face's weight {weight} is not a number between 0 and 1.")
    if rule == "product" and normalisation != "min_max":
        raise InputError(
            "The product rule needs scores that are not negative; choose the normalization min_max."
        )


@dataclass(frozen=True, eq=False)
class FusedSimilarities(PairSimilarities):
    """Fused similarities of queries to a gallery a chunk of queries at a time, which `ranking.rank_pairs` ranks."""

    body: Similarities
    face: Similarities
    """As long as the body's; rows without a face hold anything finite."""
    query_faces: Tensor
    """(Q,) bool."""
    gallery_faces: Tensor
    """(G,) bool."""
    weight: float
    normalisation: Normalisation
    rule: Rule
    scales: tuple[Scale, Scale]
    """Of body and face, over all pairs."""

    @classmethod
    def of(
        cls,
        body: Similarities,
        face: Similarities,
        query_faces: Tensor,
        gallery_faces: Tensor,
        *,
        weight: float = 0.5,
        normalisation: Normalisation = "z_score",
        rule: Rule = "sum",
    ) -> "FusedSimilarities":
        """Measure both kinds of scores over all pairs; arguments as in `fuse`."""
        check_choices(weight, normalisation, rule)

        def faces() -> Iterator[Tensor]:
            for rows, chunk in face.chunks():
                yield _comparable(face, rows, chunk)[query_faces[rows]][:, gallery_faces]

        scales = (
            Scale.of((_comparable(body, *part) for part in body.chunks()), normalisation),
            Scale.of(faces(), normalisation),
        )
        return cls(body, face, query_faces, gallery_faces, weight, normalisation, rule, scales)

    def chunks(self, chunk_size: int | None = None) -> Iterator[tuple[slice, Tensor]]:
        """Yield a slice of queries and its fused similarities (chunk, G), which the caller may overwrite."""
        for (rows, body), (_, face) in zip(
            self.body.chunks(chunk_size), self.face.chunks(chunk_size), strict=True
        ):
            yield (
                rows,
                fuse(
                    _comparable(self.body, rows, body),
                    _comparable(self.face, rows, face),
                    self.query_faces[rows],
                    self.gallery_faces,
                    weight=self.weight,
                    normalisation=self.normalisation,
                    rule=self.rule,
                    scales=self.scales,
                ),
            )

    def rounding(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Bound the rounding error of the fused similarities at (rows, columns); a product only roughly."""
        parts = (
            side.rounding(rows, columns) / scale.spread
            for side, scale in zip((self.body, self.face), self.scales, strict=True)
        )
        return 2 * sum(parts, torch.zeros(()))


def _comparable(similarities: Similarities, rows: slice, chunk: Tensor) -> Tensor:
    """Return cosine similarities, or negative squared distances, that mean the same for every query."""
    return chunk if similarities.distance == "cosine" else chunk - similarities.query_squares[rows, None]
