"""People enrolled by their images, and removed again: what `reid enrol` and `reid forget` do."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from reid_lightning.errors import InputError
from reid_lightning.experiments.quiet import quiet
from reid_lightning.files import require_output
from reid_lightning.inference.embed import VECTORS, Embedder, list_images
from reid_lightning.inference.options import require_option
from reid_lightning.inference.quality import measured, require_quality, say_left_out
from reid_lightning.reporting.terminal import say
from reid_lightning.retrieval.identification import Enrolment


def enrol(
    checkpoint: Path,
    images: Path,
    people: Path,
    overrides: Sequence[str] = (),
    name: str | None = None,
    trust: Sequence[str] = (),
    min_quality: float | None = None,
) -> Enrolment:
    """Add people to a file of enrolled people, which is made if it is not there.

    Other commands may change the file meanwhile: the people are added to what it holds when their images have been
    embedded, so that of a person who is removed in the meantime only the images of this command are enrolled.

    Args:
        checkpoint: A checkpoint file written by a run, or the folder of a saved model.
        images: A folder with a folder per person, or a table with columns `path` and `person_id`.
        people: The `.npz` file.
        overrides: Hydra overrides of the checkpoint's config.
        name: Whom all images show; then `images` may be any folder or a single image.
        trust: Packages of your own that the checkpoint's config may name; their code is run.
        min_quality: Least quality of an image, from 0 to 1, see `data.quality`; the others are left out and named. None
            measures nothing.

    Raises:
        InputError: An image is enrolled already, the name is empty, no image is good enough, or the file holds vectors of
            another model or cannot be written.
    """
    require_option("--name", name is None or bool(name.strip()), "not be empty", repr(name))
    require_quality(min_quality)
    quiet()
    table = list_images(images, name, people=True)
    before = Enrolment.load(people) if os.path.exists(people) else None
    require_output(people, [] if before else VECTORS)
    embedder = Embedder(checkpoint, overrides, trust)
    if before is not None:
        check_model(before, embedder, people)
    if min_quality is not None:
        table = _good(table, min_quality, images)
    paths = [str(Path(path).absolute()) for path in table["path"]]
    vectors = embedder(paths)
    with Enrolment.changing(people, Enrolment(embedder.protocol.distance, embedder.mark)) as enrolment:
        check_model(enrolment, embedder, people)
        enrolment.calibration = embedder.model.calibration or enrolment.calibration
        enrolment.add(vectors, table["person_id"].tolist(), paths)
    say(
        f"enrolled {counted(len(paths), table['person_id'].nunique())}; "
        f"{people} holds {counted(len(enrolment), len(enrolment.people))}"
    )
    return enrolment


def forget(people: Path, name: str) -> None:
    """Remove a person from a file of enrolled people, whatever other commands do with it at the same time.

    Raises:
        InputError: Nobody of this name is enrolled, or the file cannot be written.
    """
    with Enrolment.changing(people) as enrolment:
        gone = enrolment.remove(name)
    say(
        f"removed {gone} image{'s' * (gone > 1)} of {name}; "
        f"{people} holds {counted(len(enrolment), len(enrolment.people))}"
    )


def _good(table: pd.DataFrame, minimum: float, images: Path) -> pd.DataFrame:
    """Return the images of enough quality, and say which are left out, and who has none left.

    Raises:
        InputError: None is good enough.
    """
    found = measured(table["path"].tolist(), minimum)
    good = table[found.enough].reset_index(drop=True)
    if good.empty:
        raise InputError(
            f"No image of {images} has a quality of {minimum:g} or more, the best has {found.scores.max():.2f}; give a "
            "smaller --min-quality."
        )
    say_left_out(found.left_out, len(table), minimum)
    if gone := sorted(set(table["person_id"]) - set(good["person_id"])):
        more = f" and {len(gone) - 5} more" if len(gone) > 5 else ""
        say(
            f"no image is left of {', '.join(gone[:5])}{more}, who stay unknown unless they are enrolled already"
        )
    return good


def check_model(enrolment: Enrolment, embedder: Embedder, people: Path) -> None:
    """Refuse people whose vectors cannot be compared with those of a model.

    Raises:
        InputError: They cannot.
    """
    if enrolment.model != embedder.mark:
        raise InputError(
            f"{people} was written with another checkpoint, or with vectors computed with other settings "
            "(evaluation.feature, flip, data.image_size); use the same, or enrol the people again into a new file."
        )
    if enrolment.distance != embedder.protocol.distance:
        raise InputError(
            f"{people} compares by evaluation.distance={enrolment.distance}, not {embedder.protocol.distance}; choose "
            "that, or enrol the people again into a new file."
        )


def counted(images: int, people: int) -> str:
    """Return how many images of how many people there are, in words."""
    return f"{images} image{'s' * (images != 1)} of {people} {'person' if people == 1 else 'people'}"
