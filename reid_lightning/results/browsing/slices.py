"""Scores of parts of the queries: of every class of every attribute; and who is taken for whom."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_lightning.data.attributes import AttributeSchema
from reid_lightning.retrieval.ranking import Ranking
from reid_lightning.retrieval.subset_scores import SubsetScores, subset_scores

FEWEST = 5
"""Queries of a class that is shown."""


@dataclass(frozen=True)
class Slice(SubsetScores):
    """Scores of the queries that share a class of an attribute."""

    of: str
    """Such as "hat"."""
    value: str
    """Such as "yes"."""


@dataclass(frozen=True)
class Mistaken:
    """How often the nearest image of a person's queries shows one other person."""

    person: str
    taken_for: str
    """Empty: distractors."""
    times: int
    queries: int
    """Of this person, with a true match."""


def hits(ranking: Ranking) -> NDArray[np.float64]:
    """Return per query 1 where the nearest image is right and 0 where not; NaN without a true match."""
    first = ranking.first_match_rank.double().numpy()
    return np.where(np.isfinite(first), (first == 1).astype(float), np.nan)


def attribute_slices(
    ranking: Ranking, queries: pd.DataFrame, people: NDArray[np.object_], schema: AttributeSchema
) -> list[Slice]:
    """Return the scores of the queries of each class of each attribute, those of fewer than `FEWEST` left out.

    Args:
        ranking: Scores of the queries.
        queries: Their rows of the table.
        people: (Q,) whom they show.
        schema: The attributes.
    """
    found, precision, right = [], ranking.average_precision.numpy(), hits(ranking)
    for attribute in schema:
        if attribute.name not in queries:
            continue
        codes = queries[attribute.name].fillna(-1).astype(int).to_numpy()
        for code, name in enumerate(attribute.classes):
            mask = codes == code
            scores = subset_scores(precision[mask], right[mask], people[mask])
            if scores is not None and scores.queries >= FEWEST:
                found.append(Slice(**vars(scores), of=attribute.title, value=name))
    return found


def mistaken_people(
    query: NDArray[np.object_],
    nearest: NDArray[np.object_],
    nobody: NDArray[np.bool_],
    counted: NDArray[np.bool_],
    most: int = 20,
) -> list[Mistaken]:
    """Return who is taken for whom most often.

    Args:
        query: (Q,) whom the queries show.
        nearest: (Q,) whom the nearest image shows.
        nobody: (Q,) whether that is a distractor.
        counted: (Q,) queries with a true match and an answer.
        most: Pairs that are returned.
    """
    wrong = counted & (nobody | (query != nearest))
    pairs = Counter(
        (str(who), "" if distractor else str(other))
        for who, other, distractor in zip(query[wrong], nearest[wrong], nobody[wrong], strict=True)
    )
    asked = Counter(map(str, query[counted]))
    order = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return [Mistaken(who, other, times, asked[who]) for (who, other), times in order[:most]]
