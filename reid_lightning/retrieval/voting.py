"""The votes of a query's nearest images for the people whom they show."""

from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.arguments import as_choice
from reid_lightning.distances import Distance

Weighting = Literal["similarity", "uniform"]


class Candidates(NamedTuple):
    """The people whom a query's nearest images show, best first; rows are filled up where there are fewer."""

    people: Tensor
    """(Q, n) int64 people, -1 where there are no more."""
    shares: Tensor
    """(Q, n) float64 share of the votes, from 0 to 1; a query's shares add up to 1. It is not a probability: of five images
    that vote, each has about a fifth."""
    distances: Tensor
    """(Q, n) to the person's nearest image, infinite where there is no more."""
    places: Tensor
    """(Q, n) int64 column of that image among the neighbors, -1 where there is no more."""


def vote(
    people: Tensor,
    distances: Tensor,
    distance: Distance = "cosine",
    weighting: Weighting = "similarity",
    first_decides: Tensor | None = None,
) -> Candidates:
    """Let the nearest images of each query vote for their people.

    A vote weighs as much as the image is similar: max(0, cosine similarity), or 1 / (1 + distance) of the other
    metrics; where nobody is similar at all, each vote weighs 1. Of people with equally many votes the one whose nearest
    image is nearer comes first, at equal distance the one whose image stands earlier.

    Args:
        people: (Q, k) int64 people of the neighbors, -1 where there is no neighbor.
        distances: (Q, k), nearest first.
        distance: The distances' distance.
        weighting: "similarity", or "uniform": each vote weighs 1.
        first_decides: (Q,) bool: queries whose nearest image has all the votes, for it is the query itself.

    Raises:
        InputError: The weighting is unknown.

    Examples:
        >>> found = vote(torch.tensor([[3, 5, 5, 8]]), torch.tensor([[0.0, 0.25, 0.5, 0.75]]))
        >>> found.people.tolist(), found.shares.tolist()  # votes of 1, 0.75, 0.5 and 0.25
        ([[5, 3, 8]], [[0.5, 0.4, 0.1]])
    """
    as_choice(weighting, "weighting", get_args(Weighting))
    who, far = people.cpu().numpy(), distances.cpu().double().numpy()
    count = len(who)
    weights = _weights(far, distance) if weighting == "similarity" else np.ones_like(far)
    weights = np.where(who < 0, 0.0, weights)
    hopeless = ~weights.any(axis=1)
    weights[hopeless] = who[hopeless] >= 0
    if first_decides is not None:
        alone = first_decides.cpu().numpy() & (who[:, 0] >= 0)
        weights[alone] = np.arange(who.shape[1]) == 0
    rows, columns = np.nonzero(who >= 0)
    # Neighbors run from the nearest on, so the first of each pair (query, person) is the person's nearest image.
    span = int(who.max(initial=0)) + 1
    pairs, first, group = np.unique(rows * span + who[rows, columns], return_index=True, return_inverse=True)
    votes = np.bincount(group, weights[rows, columns], minlength=len(pairs))
    of_query, place = pairs // span, columns[first]
    order = np.lexsort((place, -votes, of_query))
    of_query, place, votes, person = of_query[order], place[order], votes[order], (pairs % span)[order]
    counts = np.bincount(of_query, minlength=count)
    position = np.arange(len(pairs)) - np.repeat(counts.cumsum() - counts, counts)
    at = of_query, position

    def filled(values: NDArray[np.generic], rest: float) -> Tensor:
        table = np.full((count, int(counts.max(initial=1))), rest, values.dtype)
        table[at] = values
        return torch.from_numpy(table)

    shares = votes / weights.sum(axis=1)[of_query]
    return Candidates(
        filled(person, -1), filled(shares, 0), filled(far[of_query, place], np.inf), filled(place, -1)
    )


def _weights(distances: NDArray[np.float64], distance: Distance) -> NDArray[np.float64]:
    weights: NDArray[np.float64]
    weights = (1 - distances).clip(min=0) if distance == "cosine" else 1 / (1 + distances)
    return weights
