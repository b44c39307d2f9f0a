"""A test set ranked by body and face together, from two files of embeddings: what `reid fuse` does."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, require_output
from reid_lightning.inference.options import require_choice, require_option
from reid_lightning.inference.quality import measured, require_quality, say_left_out
from reid_lightning.reporting.terminal import say
from reid_lightning.retrieval.embeddings import Embeddings
from reid_lightning.retrieval.fusion import FusedSimilarities, Normalisation, Rule, check_choices
from reid_lightning.retrieval.matches import CameraPolicy, Matches, Side
from reid_lightning.retrieval.ranking import rank_pairs
from reid_lightning.retrieval.similarities import PairSimilarities, Similarities

Key = Literal["stem", "name", "path"]


@dataclass(frozen=True)
class Fused:
    """Scores of a test set by body, by face and by both together, as fractions.

    Attributes:
        body: By the body alone.
        face: By the face alone, of the queries that have one, among the gallery images that have one.
        body_with_faces: By the body, of these same queries and images.
        fused_with_faces: By both, of these same.
        fused: By both.
        queries_with_faces: Fraction of the queries that have a face.
        gallery_with_faces: Fraction of the gallery images.
        faces_left_out: Faces of too little quality.
    """

    body: dict[str, float]
    face: dict[str, float]
    body_with_faces: dict[str, float]
    fused_with_faces: dict[str, float]
    fused: dict[str, float]
    queries_with_faces: float
    gallery_with_faces: float
    faces_left_out: int = 0


def fuse_files(
    body_file: Path,
    face_file: Path,
    *,
    weight: float = 0.5,
    normalisation: Normalisation = "z_score",
    rule: Rule = "sum",
    key: Key = "stem",
    camera_policy: CameraPolicy = "exclude_same_camera",
    min_quality: float | None = None,
    output: Path | None = None,
) -> Fused:
    """Rank a test set by body and face together.

    Args:
        body_file: Embeddings of the test set, as `reid evaluate --embeddings` writes them. It says who is who, from which
            camera, and what is a query.
        face_file: Embeddings of faces; an image of the body's file that it lacks has no face.
        weight: Weight of the face, from 0 to 1.
        normalisation: "z_score" or "min_max".
        rule: "sum" or "product".
        key: What an image of one file has in common with its face in the other: the "stem" of its name (without
            folder and ending), its "name" (without folder), or its "path".
        camera_policy: As in an evaluation.
        min_quality: Least quality of a face's image, from 0 to 1, see `data.quality`; without its face, an image is compared
            by the body. Bodies are never left out: that would be another test set. None measures nothing, and needs no
            images.
        output: JSON file for the scores.

    Raises:
        InputError: A file or choice cannot be used, no image of one file is in the other, no face is good enough, or the
            image of one cannot be read.
    """
    require_option("--weight", 0 <= weight <= 1, "be between 0 and 1", weight)
    require_quality(min_quality)
    for option, value, known in (
        ("--normalization", normalisation, Normalisation),
        ("--rule", rule, Rule),
        ("--key", key, Key),
        ("--camera-policy", camera_policy, CameraPolicy),
    ):
        require_choice(option, value, get_args(known))
    check_choices(weight, normalisation, rule)
    if output is not None:
        require_output(output)
    body, face = Embeddings.load(body_file), Embeddings.load(face_file)
    if not body.is_query.any() or body.is_query.all():
        raise InputError(
            f"{body_file} does not hold both queries and a gallery; write it with `reid evaluate --embeddings`."
        )
    faces = len(face.paths)
    if min_quality is not None:
        face = _good(face, min_quality, face_file)
    places = _places(_keys(body, key, body_file), _keys(face, key, face_file))
    has_face = places >= 0
    if not has_face.any():
        raise InputError(
            f"No image of {body_file} has a face in {face_file} (their first are {body.paths[0]} and {face.paths[0]}); name "
            "them alike, or choose another --key."
        )
    for side, images in ((body.is_query, "query"), (~body.is_query, "gallery image")):
        if not has_face[side].any():
            raise InputError(
                f"No {images} of {body_file} has a face in {face_file}, so faces cannot be compared; embed the faces of "
                "queries and gallery."
            )
    vectors = torch.zeros(len(body.paths), face.vectors.shape[1])
    vectors[torch.from_numpy(has_face)] = face.vectors[torch.from_numpy(places[has_face])]
    everybody = Side(body.vectors, *body.codes())
    everyone = np.ones(len(has_face), bool)

    def scores(kind: str, among: NDArray[np.bool_]) -> dict[str, float]:
        query, gallery = (
            torch.from_numpy(np.flatnonzero(among & side)) for side in (body.is_query, ~body.is_query)
        )
        asked, ranked = everybody.select(query), everybody.select(gallery)
        by_body = Similarities.of(asked.vectors, ranked.vectors, body.distance)
        by_face = Similarities.of(vectors[query], vectors[gallery], face.distance)
        present = torch.from_numpy(has_face)
        compared: PairSimilarities = by_face if kind == "face" else by_body
        if kind == "fused":
            compared = FusedSimilarities.of(
                by_body,
                by_face,
                present[query],
                present[gallery],
                weight=weight,
                normalisation=normalisation,
                rule=rule,
            )
        return rank_pairs(compared, Matches.of(asked, ranked, camera_policy)).summary()

    result = Fused(
        body=scores("body", everyone),
        face=scores("face", has_face),
        body_with_faces=scores("body", has_face),
        fused_with_faces=scores("fused", has_face),
        fused=scores("fused", everyone),
        queries_with_faces=float(has_face[body.is_query].mean()),
        gallery_with_faces=float(has_face[~body.is_query].mean()),
        faces_left_out=faces - len(face.paths),
    )
    if output is not None:
        settings = {
            "weight": weight,
            "normalisation": normalisation,
            "rule": rule,
            "camera_policy": camera_policy,
            "min_quality": min_quality,
        }
        with atomic_path(output) as temporary:
            temporary.write_text(json.dumps(settings | asdict(result), indent=2) + "\n")
    _print(result)
    return result


def _good(faces: Embeddings, minimum: float, file: Path) -> Embeddings:
    """Return the faces of enough quality, and say which are left out.

    Raises:
        InputError: None is good enough, or an image cannot be read.
    """
    found = measured(faces.paths.tolist(), minimum, "face")
    if not found.enough.any():
        raise InputError(
            f"No face of {file} has a quality of {minimum:g} or more, the best has {found.scores.max():.2f}; give a smaller "
            "--min-quality."
        )
    say_left_out(found.left_out, len(faces.paths), minimum, "faces")
    return faces.select(found.enough)


def _keys(embeddings: Embeddings, key: Key, file: Path) -> list[str]:
    """Return what each image is joined by; none may stand for two."""
    keys = [str(path) if key == "path" else str(getattr(Path(path), key)) for path in embeddings.paths]
    if len(set(keys)) < len(keys):
        seen: set[str] = set()
        twice = next(name for name in keys if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InputError(
            f"{file} holds two images with the {key} {twice}; choose another --key, or leave one out."
        )
    return keys


def _places(wanted: Sequence[str], present: Sequence[str]) -> NDArray[np.int64]:
    """Return where each wanted key stands among those present, -1 where it does not."""
    place = {name: row for row, name in enumerate(present)}
    return np.array([place.get(name, -1) for name in wanted])


def _print(result: Fused) -> None:
    page = Table(show_edge=False, pad_edge=False)
    names = {"mAP": "mAP", "rank1": "Rank-1", "rank5": "Rank-5", "queries": "queries"}
    page.add_column("")
    for title in names.values():
        page.add_column(title, justify="right")
    lines = {
        "body": result.body,
        "fused": result.fused,
        "images with faces: body": result.body_with_faces,
        "images with faces: face": result.face,
        "images with faces: fused": result.fused_with_faces,
    }
    for title, scores in lines.items():
        values = (f"{scores[n]:.0f}" if n == "queries" else f"{100 * scores[n]:.1f}" for n in names)
        page.add_row(title, *values)
    console = Console()
    console.print(page)
    say(
        f"{100 * result.queries_with_faces:.0f} % of the queries and {100 * result.gallery_with_faces:.0f} % of the gallery "
        "have a face",
        "dim",
        console,
    )
