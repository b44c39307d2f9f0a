"""Identification of people never seen: all vectors or their mean, thresholds for strangers, images left out by quality.

`python benchmarks/identification.py VECTORS.npz`, of a test set by `reid evaluate --embeddings`, its images in place.
With `--spoil CHECKPOINT`, a fifth of the images is blurred or darkened first, and embedded again with the checkpoint.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from reid_lightning.data.quality import file_qualities
from reid_lightning.retrieval.embeddings import Embeddings
from reid_lightning.retrieval.enrolled import PerPerson
from reid_lightning.retrieval.identification import Enrolment
from reid_lightning.retrieval.matches import Side
from reid_lightning.retrieval.ranking import rank
from reid_lightning.retrieval.strangers import StrangerTable

IMAGES, RATES, SPOILED, DRAWS = (1, 2, 4, 8), (0.01, 0.1), 0.2, 1000
WAYS: tuple[PerPerson, ...] = ("all", "mean")


def side(vectors: Embeddings, rows: NDArray[Any]) -> Side:
    people, cameras = vectors.codes()
    places = torch.from_numpy(np.flatnonzero(rows))
    return Side(vectors.vectors[places], people[places], cameras[places])


def enrolled(vectors: Embeddings, people: Any, images: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Rows to enrol and rows to ask: each person is asked about from one camera and enrolled from the others."""
    rows, asked = [], []
    for person in people:
        own = vectors.people == person
        cameras = np.unique(vectors.cameras[own & vectors.is_query])
        camera = rng.choice(cameras)
        others = rng.permutation(np.flatnonzero(own & ~vectors.is_query & (vectors.cameras != camera)))[
            :images
        ]
        if len(others):
            rows.append(others)
            asked.append(np.flatnonzero(own & vectors.is_query & (vectors.cameras == camera)))
    return np.concatenate(rows), np.concatenate(asked)


def one_or_all(vectors: Embeddings, seeds: int) -> None:
    """A third of the people is enrolled, a third are strangers, and a third gives the thresholds."""
    print(
        "enrolled images | way | named right | right and known, at 1 % and 10 % of strangers | strangers known at 1 % asked"
    )
    known = np.unique(vectors.people[vectors.is_query])
    ways: dict[str, tuple[PerPerson, int]] = {
        "votes of 5": ("all", 5),
        "nearest": ("all", 1),
        "mean": ("mean", 1),
    }
    found: dict[tuple[int, str], list[tuple[float, ...]]] = {
        (images, way): [] for images in IMAGES for way in ways
    }
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        ours, strangers, others = np.array_split(rng.permutation(known), 3)
        foreign = np.flatnonzero(np.isin(vectors.people, strangers) & vectors.is_query)
        among = np.isin(vectors.people, others)
        query, gallery = (side(vectors, among & part) for part in (vectors.is_query, ~vectors.is_query))
        tables = {way: StrangerTable.measure(query, gallery, vectors.distance, way) for way in WAYS}
        for images in IMAGES:
            rows, asked = enrolled(vectors, ours, images, rng)
            enrolment = Enrolment(vectors.distance)
            enrolment.add(vectors.vectors[rows], vectors.people[rows].tolist())
            for way, (per_person, k) in ways.items():
                own, other = (
                    enrolment.identify(vectors.vectors[part], k=k, per_person=per_person)
                    for part in (asked, foreign)
                )
                right = np.array(own.names) == vectors.people[asked]
                near, far = (part.candidates.distances[:, 0].numpy() for part in (own, other))
                at = [(right & (near < np.quantile(far, rate))).mean() for rate in RATES]
                limit = tables[per_person].threshold(RATES[0], len(enrolment.people), images)[0]
                found[images, way].append((right.mean(), *at, (far <= limit).mean()))
    for (images, way), numbers in found.items():
        mean, deviation = np.mean(numbers, axis=0), np.std(numbers, axis=0)
        print(
            f"{images} | {way} | "
            + " | ".join(f"{100 * a:.1f} ± {100 * b:.1f}" for a, b in zip(mean, deviation, strict=True))
        )


def thresholds(vectors: Embeddings, seeds: int, calibrated: int) -> None:
    """Thresholds of some people, and how many of the others they let through, each once as a stranger."""
    known = np.unique(vectors.people[vectors.is_query])
    print(
        f"calibrated on {calibrated} of {len(known)} people; strangers known, as a share of the rate asked for"
    )
    found: dict[tuple[int, float], list[float]] = {}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        order = rng.permutation(known)
        some, others = (np.isin(vectors.people, part) for part in (order[:calibrated], order[calibrated:]))
        table = StrangerTable.measure(
            side(vectors, some & vectors.is_query), side(vectors, some & ~vectors.is_query), vectors.distance
        )
        truth = _TrueShares(vectors, others, seed)
        for people in (10, 50, 75, 200):
            if people < min(calibrated - 1, len(known) - calibrated - 1):
                for rate in (0.1, 0.02, 0.01, 0.005):
                    limit, measured = table.threshold(rate, people, 4)
                    if measured:
                        found.setdefault((people, rate), []).append(truth(limit, people) / rate)
    for (people, rate), ratios in found.items():
        print(
            f"{people} enrolled, {100 * rate:g} % asked: {np.mean(ratios):.2f} in the mean, {np.median(ratios):.2f} median, "
            f"{min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} draws"
        )


class _TrueShares:
    """Shares of strangers who come within a distance of the nearest of some people, over random choices of them."""

    def __init__(self, vectors: Embeddings, rows: NDArray[Any], seed: int) -> None:
        query, gallery = side(vectors, rows & vectors.is_query), side(vectors, rows & ~vectors.is_query)
        far = (
            1
            - torch.nn.functional.normalize(query.vectors) @ torch.nn.functional.normalize(gallery.vectors).T
        )
        assert vectors.distance == "cosine"
        self.rng, self.people = np.random.default_rng(seed), query.person_ids.numpy()
        self.known = np.unique(self.people)
        columns = gallery.person_ids.numpy()
        self.far = np.stack(
            [
                far[:, torch.from_numpy(self.rng.permutation(np.flatnonzero(columns == person))[:4])]
                .amin(1)
                .numpy()
                for person in self.known
            ],
            axis=1,
        )

    def __call__(self, limit: float, people: int) -> float:
        shares = []
        for _ in range(100):
            chosen = self.rng.permutation(len(self.known))[:people]
            stranger = ~np.isin(self.people, self.known[chosen])
            accepted = self.far[stranger][:, chosen].min(axis=1) <= limit
            who, counts = np.unique(self.people[stranger], return_inverse=True, return_counts=True)[1:]
            shares.append((accepted / counts[who]).sum() / len(counts))
        return float(np.mean(shares))


def dropped(vectors: Embeddings, scores: NDArray[Any], seeds: int) -> None:
    """Queries, then enrolled images, without the worst by their quality, against as many drawn at random."""
    query = vectors.is_query
    ranking = rank(side(vectors, query), side(vectors, ~query & ~vectors.distractor))
    precision = np.asarray(ranking.average_precision, float)
    first = np.where(np.isfinite(precision), np.asarray(ranking.first_match_rank) == 1, np.nan)
    people, score = vectors.people[query], scores[query]
    print(f"{query.sum()} queries; mAP {100 * np.nanmean(precision):.1f}")
    for share in (0.1, 0.2):
        keep = np.argsort(score, kind="stable")[round(share * len(score)) :]
        mask = np.isin(np.arange(len(score)), keep)
        for name, values in (("mAP", precision), ("Rank-1", first)):
            difference = _against(values, mask, people)
            print(f"queries without the worst {share:.0%}: {name} {difference} against as many at random")
    for share in (0.1, 0.2):
        differences: dict[PerPerson, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            known = np.unique(vectors.people[query])
            rows, asked = enrolled(vectors, known, 8, rng)
            count = round(share * len(rows))
            worst = np.argsort(scores[rows], kind="stable")
            parts = {"quality": rows[worst[count:]], "random": rng.permutation(rows)[count:]}
            for way in differences:
                right = {}
                for name, part in parts.items():
                    enrolment = Enrolment(vectors.distance)
                    enrolment.add(vectors.vectors[part], vectors.people[part].tolist())
                    found = enrolment.identify(vectors.vectors[asked], per_person=way)
                    right[name] = np.array(found.names) == vectors.people[asked]
                differences[way].append((right["quality"].mean(), right["random"].mean()))
        for way, pairs in differences.items():
            right_of = 100 * np.array(pairs)
            gain = right_of[:, 0] - right_of[:, 1]
            error = 2 * gain.std(ddof=1) / len(gain) ** 0.5
            print(
                f"enrolled without the worst {share:.0%}, {way}: named right {right_of[:, 0].mean():.1f} %, "
                f"at random {right_of[:, 1].mean():.1f} %, {gain.mean():+.2f} ± {error:.2f}"
            )


def _against(values: NDArray[Any], mask: NDArray[Any], people: Any) -> str:
    """Mean of the kept values less the mean of all, over people drawn again and again."""
    there = np.isfinite(values)
    values, mask, people = values[there], mask[there], people[there]
    rng = np.random.default_rng(0)
    names, who = np.unique(people, return_inverse=True)

    def sums(weights: NDArray[Any]) -> Any:
        return np.bincount(who, weights, minlength=len(names))

    table = np.stack([sums(values * mask), sums(mask * 1.0), sums(values), sums(np.ones(len(values)))])

    def difference(part: Any) -> float:
        total = part.sum(axis=-1)
        return total[0] / total[1] - total[2] / total[3]

    drawn = difference(table[:, rng.integers(len(names), size=(DRAWS, len(names)))])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{100 * difference(table):+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def spoiled(vectors: Embeddings, checkpoint: Path, folder: str, rows: NDArray[Any]) -> tuple[Any, Any]:
    """Blur or darken some images, and embed them again."""
    from reid_lightning.inference.embed import Embedder

    rng = np.random.default_rng(0)
    chosen = rng.permutation(rows)[: round(SPOILED * len(rows))]
    paths = vectors.paths.astype(object)
    for number, row in enumerate(chosen):
        read = cv2.imread(str(paths[row]))
        assert read is not None, paths[row]
        image: NDArray[Any] = read.astype(np.float32)
        blurred = cv2.GaussianBlur(image, (0, 0), rng.uniform(1.5, 4))
        image = blurred if number % 2 else image * rng.uniform(0.05, 0.35)
        paths[row] = f"{folder}/{row}.png"
        cv2.imwrite(paths[row], image.astype(np.uint8))
    vectors.vectors[chosen] = Embedder(checkpoint)([str(path) for path in paths[chosen]])
    return Embeddings(**{**vars(vectors), "paths": paths.astype(str)}), np.isin(np.arange(len(paths)), chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--spoil", type=Path)
    parser.add_argument("--only-queries", action="store_true", help="spoil queries alone")
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    vectors = Embeddings.load(options.vectors)
    vectors = vectors.select(~vectors.distractor)
    people = len(np.unique(vectors.people[vectors.is_query]))
    with tempfile.TemporaryDirectory() as folder:
        if options.spoil:
            rows = np.flatnonzero(
                vectors.is_query if options.only_queries else np.ones(len(vectors.paths), bool)
            )
            vectors, bad = spoiled(vectors, options.spoil, folder, rows)
        scores = np.array([found.score for found in file_qualities(vectors.paths.tolist())])
        if options.spoil:
            from sklearn.metrics import roc_auc_score

            print(
                f"a spoiled image scores below another with probability {roc_auc_score(bad[rows], -scores[rows]):.3f}"
            )
        else:
            one_or_all(vectors, options.seeds)
            for calibrated in (100, people // 2):
                thresholds(vectors, options.seeds, calibrated)
        dropped(vectors, scores, options.seeds)


if __name__ == "__main__":
    main()
