"""Name the people of images by those who are enrolled: what `reid identify` does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from reid_lightning.errors import InputError
from reid_lightning.experiments.quiet import quiet
from reid_lightning.inference.answers import is_csv, require_answers, write_answers
from reid_lightning.inference.compare import UNCALIBRATED, check_rates
from reid_lightning.inference.embed import Embedder, list_images
from reid_lightning.inference.enrol import check_model, counted
from reid_lightning.inference.options import require_choice, require_option
from reid_lightning.reporting.ranked_lists import RankedImage, RankedList, ranked_lists
from reid_lightning.reporting.sheet import require_sheet
from reid_lightning.reporting.terminal import say
from reid_lightning.retrieval.calibration import FALSE_ACCEPTS
from reid_lightning.retrieval.enrolled import PerPerson
from reid_lightning.retrieval.identification import Enrolment
from reid_lightning.retrieval.identified import Identification
from reid_lightning.retrieval.neighbour_index import IndexKind
from reid_lightning.retrieval.strangers import StrangerTable

QUERIES_SHOWN, CANDIDATES_SHOWN = 20, 5
UNKNOWN = "unknown"


def identify(
    checkpoint: Path,
    people: Path,
    images: Path,
    overrides: Sequence[str] = (),
    k: int = 5,
    threshold: float | None = None,
    search: IndexKind = "exact",
    output: Path | None = None,
    sheet: Path | None = None,
    trust: Sequence[str] = (),
    false_accepts: float | None = None,
    per_person: PerPerson = "all",
) -> Identification:
    """Name the people of images, a line each, and draw them beside their candidates.

    Args:
        checkpoint: The checkpoint that the people were enrolled with.
        people: The `.npz` file of enrolled people.
        images: An image, a folder, or a table with a column `path`.
        overrides: Hydra overrides of the checkpoint's config.
        k: Nearest enrolled images that vote.
        threshold: Largest distance at which a person is known; None takes that of `false_accepts`.
        search: How neighbors are found, see `neighbour_index.build_index`.
        output: A `.csv` file, or any other for JSON lines; None prints JSON lines.
        sheet: Picture of the first queries with their candidates.
        trust: Packages of your own that the checkpoint's config may name; their code is run.
        false_accepts: Share of strangers who may be taken for somebody, which the calibration of the checkpoint, or of the
            file of people, turns into a threshold; None: 0.01 where there is one, and otherwise everybody is named. 1 names
            everybody.
        per_person: "all": every vector of a person is compared. "mean": their mean alone.

    Raises:
        InputError: The file holds vectors of another model, there are no images, an option is out of range, or an output
            cannot be written.
    """
    require_option("--k", k >= 1, "be 1 or more", k)
    check_rates(false_accepts, threshold)
    require_choice("--search", search, get_args(IndexKind))
    require_choice("--per-person", per_person, get_args(PerPerson))
    quiet()
    if output is not None:
        require_answers(output)
    if sheet is not None:
        require_sheet(sheet)
    paths = list_images(images)["path"].tolist()
    enrolment = Enrolment.load(people, search)
    embedder = Embedder(checkpoint, overrides, trust)
    check_model(enrolment, embedder, people)
    enrolment.calibration = embedder.model.calibration or enrolment.calibration
    if false_accepts not in (None, 1) and _strangers(enrolment) is None:
        raise InputError(f"--false-accepts needs a calibration, and {UNCALIBRATED}; give --threshold.")
    found = enrolment.identify(
        embedder(paths), k, threshold, false_accepts=false_accepts, per_person=per_person
    )
    if threshold is None and false_accepts != 1:
        _say_threshold(enrolment, found, false_accepts or FALSE_ACCEPTS)
    answers = _answers(paths, found)
    write_answers(_flat(answers) if is_csv(output) else answers, output)
    if sheet is not None:
        ranked_lists(_lists(answers[:QUERIES_SHOWN]), sheet)
    return found


def _strangers(enrolment: Enrolment) -> StrangerTable | None:
    return None if enrolment.calibration is None else enrolment.calibration.strangers


def _say_threshold(enrolment: Enrolment, found: Identification, rate: float) -> None:
    """Say within which distance somebody is known, and why."""
    if found.threshold is None:
        say(f"everybody is named: {UNCALIBRATED}; --threshold tells strangers apart", "dim")
        return
    share = f"{100 * rate:g} % of strangers come within"
    how = f"which {share}" if found.measured else f"the smallest that was measured; more than {share}"
    among = counted(len(enrolment), len(enrolment.people))
    say(f"known within {found.threshold:.4g}, {how} among {among}", "dim")


def _answers(paths: Sequence[str], found: Identification) -> list[dict[str, Any]]:
    """Return, for each image, its name (None: unknown) and the candidates, best first."""
    candidates = found.candidates
    stated = found.pair_probabilities
    answers = []
    for row, (path, name) in enumerate(zip(paths, found.names, strict=True)):
        columns = (candidates.people, candidates.shares, candidates.distances, found.nearest_images)
        lines = zip(*(column[row].tolist() for column in columns), strict=True)
        several = [
            {
                "name": found.people[person],
                "share_of_votes": round(share, 4),
                "distance": round(distance, 6),
                "pair_probability": None if stated is None else round(float(stated[row, place]), 4),
                "image": found.images[nearest],
            }
            for place, (person, share, distance, nearest) in enumerate(lines)
            if person >= 0
        ]
        same = bool(found.same_image[row])
        answers.append({"image": path, "name": name, "same_image": same, "candidates": several})
    return answers


def _flat(answers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return answers with their best candidate alone, as a row of CSV holds them."""
    rows = []
    for answer in answers:
        best = answer["candidates"][0] if answer["candidates"] else {}
        rows.append(
            {
                "image": answer["image"],
                "name": answer["name"],
                "same_image": answer["same_image"],
                "candidate": best.get("name"),
                "share_of_votes": best.get("share_of_votes"),
                "distance": best.get("distance"),
                "pair_probability": best.get("pair_probability"),
                "nearest": best.get("image"),
            }
        )
    return rows


def _lists(answers: Sequence[dict[str, Any]]) -> list[RankedList]:
    """Return the sheet's lines: the chosen candidate is green, the others are gray."""
    lists = []
    for answer in answers:
        images = [
            RankedImage(
                Path(candidate["image"]),
                True if place == 0 and answer["name"] is not None else None,
                candidate["distance"],
                _caption(candidate),
            )
            for place, candidate in enumerate(answer["candidates"][:CANDIDATES_SHOWN])
        ]
        label = answer["name"] or UNKNOWN
        lists.append(
            RankedList(Path(answer["image"]), Path(answer["image"]).stem, None, tuple(images), label)
        )
    return lists


def _caption(candidate: dict[str, Any]) -> str:
    """Return the name, with the probability that the two images show one person where the model states it.

    The share of the votes is left out: beside a name it would be taken for a probability.
    """
    probability = candidate["pair_probability"]
    return candidate["name"] + ("" if probability is None else f" {100 * probability:.0f} %")
