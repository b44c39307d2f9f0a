"""What an identification says of each query: its candidates, and whether it is known."""

from dataclasses import dataclass

from torch import Tensor

from reid_lightning.retrieval.voting import Candidates


@dataclass(frozen=True, eq=False)
class Identification:
    """Who each query is, of the people enrolled."""

    people: tuple[str, ...]
    """Names of all people enrolled."""
    candidates: Candidates
    """Their numbers are places in `people`."""
    known: Tensor
    """(Q,) bool: whether the best candidate's nearest image lies within the threshold."""
    images: tuple[str, ...]
    """What the enrolled images are called."""
    nearest_images: Tensor
    """(Q, n) int64 row of each candidate's nearest image in `images`, -1 where there is no more."""
    same_image: Tensor
    """(Q,) bool: whether the query is itself the best candidate's nearest image, which then has all the votes."""
    pair_probabilities: Tensor | None
    """(Q, n) float64 probability that the query and the candidate's nearest image show one person, at a prior of one half;
    0 where there is no more. None of people without calibration."""
    threshold: float | None
    """Largest distance at which a query is known; None: every query is."""
    measured: bool
    """Whether the calibration saw so small a rate of false accepts; otherwise `threshold` is that of the smallest seen."""

    @property
    def names(self) -> list[str | None]:
        """The best name of each query; None where it is unknown."""
        best = self.candidates.people[:, 0].tolist()
        return [
            self.people[person] if known else None
            for person, known in zip(best, self.known.tolist(), strict=True)
        ]
