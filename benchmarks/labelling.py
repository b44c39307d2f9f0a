"""What answers about pairs are worth: groups and trainings per 100 simulated answers, beside pairs chosen otherwise.

`python benchmarks/labelling.py CHECKPOINT` groups generated people whom the checkpoint has never seen, asks 100 questions at
a time, answers them by the truth, and prints pairwise F and the adjusted Rand index. `pairs` are those of `reid label`;
`neighbors` are an image drawn at random and one of its ten nearest; `random` are two images drawn at random. With
`--train EPOCHS`, the checkpoint's network is trained on from each table, and the test people of the same cameras are ranked.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measure import arguments, write_rows
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from reid_lightning.data.pedestrians.dataset import read_pedestrians
from reid_lightning.inference.embed import Embedder
from reid_lightning.inference.label.folder import distances, moved_threshold
from reid_lightning.retrieval.clustering import cluster_scores
from reid_lightning.retrieval.constrained import constrained_groups
from reid_lightning.retrieval.links import Link, Links
from reid_lightning.retrieval.prior import drawn_distances, estimated_prior, even_distance
from reid_lightning.retrieval.questions import choose_questions

WAYS = ("pairs", "neighbors", "random")
ROUND, NEAREST = 100, 10
TRAIN = Path(__file__).resolve().parents[1] / "train.py"


class Crops:
    """Images of one generated set, their distances, and whom they really show."""

    def __init__(self, embedder: Embedder, people: int, seed: int) -> None:
        self.table = read_pedestrians(train_identities=people, test_identities=100, seed=seed)
        self.train = self.table[self.table["split"] == "train"].reset_index(drop=True)
        self.truth = pd.factorize(self.train["person_id"])[0]
        vectors = embedder(self.train["path"].tolist())
        assert embedder.model.calibration is not None, "the checkpoint has no calibration"
        curve = embedder.model.calibration.logistic
        self.slope = curve.slope
        self.threshold = even_distance(curve, estimated_prior(curve, drawn_distances(vectors)))
        self.far = distances(vectors.numpy(), embedder.protocol.distance, rerank=False)

    def link(self, first: int, second: int) -> Link:
        same = self.truth[first] == self.truth[second]
        return Link(int(first), int(second), "same" if same else "different")

    def asked(
        self, way: str, groups: NDArray[np.int64], within: float, links: Links, rng: np.random.Generator
    ) -> list[tuple[int, int]]:
        """Pairs of a round."""
        if way == "pairs":
            found = choose_questions(self.far, groups, within, links, ROUND, slope=self.slope)
            return [(one.first, one.second) for one in found]
        first = rng.choice(len(self.far), ROUND, replace=False)
        if way == "random":
            return [(one, (one + rng.integers(1, len(self.far))) % len(self.far)) for one in first]
        near = np.argsort(self.far[first], axis=1)[:, 1 : NEAREST + 1]
        return list(zip(first, rng.permuted(near, axis=1)[:, 0], strict=True))

    def rounds(self, way: str, most: int, seed: int) -> Iterator[Any]:
        """Yield the number of answers, the groups, and the share of "same" among the answers."""
        rng = np.random.default_rng(seed)
        told: list[Link] = []
        for count in range(0, most + 1, ROUND):
            links = Links.of(told, len(self.far))
            within = moved_threshold(self.threshold, self.slope, self.far, told)
            groups = constrained_groups(self.far, within, links)
            yield count, groups, np.mean([one.answer == "same" for one in told]) if told else float("nan")
            told += [self.link(*pair) for pair in self.asked(way, groups, within, links, rng)]


def trained(
    crops: Crops, groups: NDArray[np.int64] | None, checkpoint: Path, epochs: int, seed: int
) -> tuple[float, Any]:
    """Test mAP, with its interval, after training on the groups of two images or more; None trains on the truth."""
    names = crops.truth if groups is None else groups
    sizes = np.bincount(names)
    person = pd.Series([f"p{name}" if sizes[name] > 1 else None for name in names], dtype=object)
    test = crops.table[crops.table["split"].isin(["query", "gallery"])]
    table = pd.concat([crops.train.assign(person_id=person), test])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "people.csv"
        table[["path", "person_id", "camera_id", "split", "distractor"]].to_csv(file, index=False)
        settings = [
            "data=table", f"data.root={file}", "data.image_size=[96,48]", "backbone=resnet10",
            f"backbone.weights={checkpoint}", "data.validation=none", f"trainer.max_epochs={epochs}", "optimizer.lr=5e-4",
            f"seed={seed}", "report=[]", "page=brief", f"hydra.run.dir={folder}/run",
        ]  # fmt: skip
        subprocess.run([sys.executable, TRAIN, *settings], check=True, capture_output=True)
        return scores(Path(folder) / "run" / "metrics.json")


def scores(file: Path) -> tuple[float, Any]:
    """Test mAP and its 95 % interval."""
    found = json.loads(file.read_text())
    return found["test"]["mAP"], found.get("intervals", {}).get("test")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--answers", type=int, default=600)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9], help="of the generated people")
    parser.add_argument("--train", type=int, default=0, metavar="EPOCHS")
    parser.add_argument("--train-at", type=int, nargs="+", default=[0, 100, 300, 600])
    options = parser.parse_args()
    embedder, rows = Embedder(options.checkpoint), []
    for seed in options.seeds:
        crops = Crops(embedder, options.people, seed)
        for way in options.ways:
            for count, groups, same in crops.rounds(way, options.answers, seed):
                found = cluster_scores(groups, crops.truth)
                row = {
                    "seed": seed,
                    "way": way,
                    "answers": count,
                    "f": found["f"],
                    "precision": found["precision"],
                }
                row |= {
                    "ari": float(adjusted_rand_score(crops.truth, groups)),
                    "groups": found["groups"],
                    "same": same,
                }
                if options.train and count in options.train_at:
                    row["mAP"], row["interval"] = trained(
                        crops, groups, options.checkpoint, options.train, seed
                    )
                rows.append(row)
                print(
                    " ".join(
                        f"{key}={value:.3f}" if isinstance(value, float) else f"{key}={value}"
                        for key, value in row.items()
                    ),
                    flush=True,
                )
        if options.train:
            mean_ap, interval = trained(crops, None, options.checkpoint, options.train, seed)
            rows.append({"seed": seed, "way": "truth", "mAP": mean_ap, "interval": interval})
            print(rows[-1], flush=True)
    write_rows(options.json, rows)


if __name__ == "__main__":
    main()
