"""Who is with whom when nobody is named: what `reid cluster` does."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.errors import InputError
from reid_lightning.experiments.quiet import quiet
from reid_lightning.files import require_writable, writing
from reid_lightning.inference.answers import counted, require_answers, write_answers
from reid_lightning.inference.compare import UNCALIBRATED, check_rates
from reid_lightning.inference.embed import Embedder, list_images
from reid_lightning.inference.model import Model
from reid_lightning.inference.options import require_choice, require_option
from reid_lightning.reporting.contact_sheet import contact_sheet
from reid_lightning.reporting.pictures import require_picture
from reid_lightning.reporting.terminal import say
from reid_lightning.retrieval.clustering import Method, cluster, cluster_scores
from reid_lightning.retrieval.k_reciprocal import KReciprocalRerank
from reid_lightning.retrieval.prior import drawn_distances, estimated_prior, even_distance

RERANKED = 0.6  # of Jaccard distances (Ge et al. 2020, "Self-paced contrastive learning", section 4.1)
GROUPS_SHOWN, IMAGES_SHOWN = 20, 10


def cluster_images(
    images: Path,
    checkpoint: Path,
    overrides: Sequence[str] = (),
    method: Method = "agglomerative",
    false_accepts: float | None = None,
    threshold: float | None = None,
    rerank: bool = False,
    output: Path | None = None,
    folders: Path | None = None,
    sheet: Path | None = None,
    trust: Sequence[str] = (),
) -> NDArray[np.int64]:
    """Group images by the person whom they show, a line for each image.

    Args:
        images: A folder, or a table with a column `path` and, where known, `person_id`, which groups are judged by.
        checkpoint: A checkpoint file written by a run, or the folder of a saved model.
        overrides: Hydra overrides of the checkpoint's config.
        method: "agglomerative" or "dbscan", see `clustering.cluster`.
        false_accepts: Share of pairs of two people within the threshold, which the checkpoint's calibration turns into a
            distance.
        threshold: A largest distance of one's own. Where neither is given: of re-ranked distances 0.6, and otherwise the
            distance at which two images are as likely to show one person as not, by the calibration and by the share of such
            pairs, which is estimated from the images themselves.
        rerank: Whether neighborhoods are compared (k-reciprocal, Jaccard distance) instead of vectors.
        output: A `.csv` file, or any other for JSON lines; None prints JSON lines.
        folders: A new folder, which gets a folder of copies for each group.
        sheet: Picture of the largest groups, one per row.
        trust: Packages of your own that the checkpoint's config may name; their code is run.

    Returns:
        (N,) number of each image's group.

    Raises:
        InputError: There are no images, an option is out of range, no threshold is known, or an output cannot be written.
    """
    require_choice("--method", method, get_args(Method))
    check_rates(false_accepts, threshold)
    if rerank and false_accepts is not None:
        raise InputError("--false-accepts is a share of plain distances; give --threshold with --rerank.")
    quiet()
    if output is not None:
        require_answers(output)
    if sheet is not None:
        require_picture(sheet)
    if folders is not None:
        require_option(
            "--folders", not os.path.lexists(folders), "name a folder that is not there yet", folders
        )
        require_writable(folders.parent)
    table = list_images(images)
    embedder = Embedder(checkpoint, overrides, trust)
    reranked = KReciprocalRerank(weight=0.0) if rerank else None
    if reranked is not None:
        reranked.check_size(len(table))
    elif threshold is None and embedder.model.calibration is None:
        raise InputError(f"Clustering needs --threshold: {UNCALIBRATED}.")
    vectors = embedder(table["path"].tolist())
    if threshold is None:
        threshold = RERANKED if rerank else _calibrated(vectors, embedder.model, false_accepts)
    found = cluster(
        vectors,
        threshold,
        distance=embedder.protocol.distance,
        method=method,
        rerank=reranked,
    )
    sizes = np.bincount(found)
    names = table["person_id"] if "person_id" in table.columns else None
    answers = [
        {
            "image": path,
            "cluster": int(group),
            "images": int(sizes[group]),
            **({} if names is None else {"person_id": None if pd.isna(names.iloc[row]) else names.iloc[row]}),
        }
        for row, (path, group) in enumerate(zip(table["path"], found, strict=True))
    ]
    write_answers(answers, output)
    if folders is not None:
        _copy(table["path"].tolist(), found, folders)
    if sheet is not None:
        _draw(table["path"].tolist(), found, sheet)
    say(
        f"{counted(len(found), 'image')} in {counted(len(sizes), 'group')}, {int((sizes == 1).sum()):,} of them a single "
        f"image; joined within {threshold:.4g}"
    )
    if names is not None and names.notna().any():
        known = names.notna().to_numpy(bool)
        scores = cluster_scores(found[known], names[known].to_numpy(str))
        share = {name: f"{100 * scores[name]:.1f}" for name in ("f", "precision", "recall", "nmi")}
        say(
            f"judged by {int(known.sum()):,} images of {scores['people']:,.0f} known people: pairwise F {share['f']} "
            f"(precision {share['precision']}, recall {share['recall']}), NMI {share['nmi']}"
        )
    return found


def _calibrated(vectors: Tensor, model: Model, false_accepts: float | None) -> float:
    """Return the threshold that the model's calibration gives, and say what it rests on."""
    assert model.calibration is not None
    if false_accepts is not None:
        return model.calibration.threshold(false_accepts)
    if len(vectors) < 2:
        return 0.0
    curve = model.calibration.logistic
    prior = estimated_prior(curve, drawn_distances(vectors, model.protocol.distance))
    say(
        f"{100 * prior:.2g} % of all pairs of images are estimated to show one person; images are joined where this is more "
        "likely than not",
        "dim",
    )
    return even_distance(curve, prior)


def _copy(paths: Sequence[str], groups: NDArray[np.int64], folder: Path) -> None:
    """Copy images into a folder for each group; of equal names the later ones get their row in front."""
    digits = len(str(int(groups.max())))
    for row, (path, group) in enumerate(zip(paths, groups, strict=True)):
        place = folder / f"{group:0{digits}}"
        place.mkdir(parents=True, exist_ok=True)
        target = place / Path(path).name
        with writing(target):
            shutil.copyfile(path, place / f"{row}_{target.name}" if target.exists() else target)


def _draw(paths: Sequence[str], groups: NDArray[np.int64], sheet: Path) -> None:
    digits = len(str(int(groups.max())))
    table = pd.DataFrame(
        {
            "path": pd.Series(list(paths), dtype=object),
            "person_id": [f"{group:0{digits}}" for group in groups],
            "camera_id": pd.Series([None] * len(paths), dtype=object),
            "distractor": False,
        }
    )
    contact_sheet(table, sheet, people=GROUPS_SHOWN, cameras=IMAGES_SHOWN, shots=1)
