"""Maps of embeddings: of the last evaluation on a run's page, and of a file, as `reid report map` draws them."""

import math
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from reid_lightning.distances import unit_vectors
from reid_lightning.errors import InputError
from reid_lightning.reporting.embedding_map import FEWEST, choose_points, embedding_map, tsne
from reid_lightning.reporting.figures import require_figure
from reid_lightning.reporting.page import Picture
from reid_lightning.reporting.terminal import say
from reid_lightning.results.ranked_embeddings import embeddings_of
from reid_lightning.retrieval.embeddings import Embeddings
from reid_lightning.retrieval.rerank import whole_number
from reid_lightning.systems.task import Report, Run

PEOPLE, IMAGES = 12, 2000
PERPLEXITY = 30.0


class EmbeddingMapReport(Report):
    """Lays the vectors of the last evaluation out in the plane (t-SNE); arguments as in `draw_map`.

    Raises:
        ValueError: A setting is out of range.
    """

    name = "embedding_map"

    def __init__(
        self,
        people: int = PEOPLE,
        images: int = IMAGES,
        perplexity: float = PERPLEXITY,
        seed: int = 0,
        thumbnails: bool = False,
    ) -> None:
        whole_number("people", people, 1)
        whole_number("images", images, 1)
        whole_number("seed", seed, 0)
        if not perplexity > 0:
            raise ValueError(f"perplexity must be > 0, got {perplexity}")
        self.people, self.images, self.perplexity = people, images, perplexity
        self.seed, self.thumbnails = seed, thumbnails

    def figures(self, run: Run, scores: Mapping[str, float]) -> list[Picture]:
        """Draw `embedding_map.png`, where there is something to lay out."""
        rows = run.rows
        if rows is None or len(rows) < FEWEST or bool((rows.vectors == rows.vectors[0]).all()):
            return []
        return [
            draw_map(
                embeddings_of(rows, run.datamodule.table, run.protocol.distance),
                run.output_dir / "embedding_map.png",
                self.people,
                self.images,
                self.perplexity,
                self.seed,
                self.thumbnails,
            )
        ]


def draw_map(
    embeddings: Embeddings,
    path: Path,
    people: int = PEOPLE,
    images: int = IMAGES,
    perplexity: float = PERPLEXITY,
    seed: int = 0,
    thumbnails: bool = False,
) -> Picture:
    """Draw embeddings as points in the plane, colored by person.

    Args:
        embeddings: What is drawn.
        path: Picture file.
        people: How many are named, those with the most images.
        images: How many are laid out: those of the people named, and of the others as many at random.
        perplexity: Perplexity: about the number of neighbors of each point.
        seed: The same seed gives the same map.
        thumbnails: Whether the images lie on the map.

    Raises:
        InputError: There are too few images, or a setting is not positive.
    """
    if people < 1 or images < 1:
        raise InputError(f"A map names people and shows images; got {people} people and {images} images.")
    start = time.perf_counter()
    rows, named = choose_points(embeddings.people, embeddings.distractor, people, images, seed)
    part = embeddings.select(rows)
    vectors = unit_vectors(part.vectors) if part.distance == "cosine" else part.vectors
    who = np.where(part.distractor, "", part.people)
    perplexity = min(perplexity, (len(rows) - 1) / 3)  # t-SNE can mind no more
    positions = tsne(vectors.numpy(), perplexity, seed)
    title = (
        f"{len(rows):,} of {len(embeddings.paths):,} images"
        if len(rows) < len(embeddings.paths)
        else f"{len(rows):,} images"
    )
    embedding_map(positions, who, named, path, list(part.paths) if thumbnails else None, title)
    caption = (
        f"The vectors of {title} by t-SNE (perplexity {perplexity:.3g}), laid out and drawn in "
        f"{time.perf_counter() - start:.0f} s. Close points have close vectors; sizes of groups and distances between them "
        "mean nothing."
    )
    return Picture("Embedding map", path, caption, width=46)


def map_file(
    file: Path, output: Path, people: int, images: int, perplexity: float, seed: int, thumbnails: bool
) -> None:
    """Draw the embeddings of a file, as `reid evaluate --embeddings` writes it, and say how long it took."""
    for option, value, least in (("--people", people, 1), ("--images", images, 1), ("--seed", seed, 0)):
        if value < least:
            raise InputError(f"{option} must be {least} or more, got {value}.")
    if not (perplexity > 0 and math.isfinite(perplexity)):
        raise InputError(f"--perplexity must be a positive number, got {perplexity}.")
    require_figure(output)
    picture = draw_map(Embeddings.load(file), output, people, images, perplexity, seed, thumbnails)
    say(f"{output}: {picture.caption}")
