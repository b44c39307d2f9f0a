"""Within which distance a query is known: few strangers may come so near to the enrolled people."""

from reid_lightning.arguments import as_number
from reid_lightning.errors import InputError
from reid_lightning.retrieval.calibration import FALSE_ACCEPTS, Calibration
from reid_lightning.retrieval.enrolled import PerPerson


def known_within(
    calibration: Calibration | None,
    people: int,
    images: float,
    false_accepts: float | None = None,
    per_person: PerPerson = "all",
) -> tuple[float | None, bool]:
    """Return the largest distance at which a query is known.

    Args:
        calibration: What distances mean; None where that is not known.
        people: Enrolled.
        images: Enrolled of a person, on average.
        false_accepts: Share of strangers who may be taken for somebody; 1 lets every query be known. None: `FALSE_ACCEPTS`
            where there is a calibration, and 1 otherwise.
        per_person: Whether "all" vectors of a person are compared, or their "mean".

    Returns:
        The distance, None where every query is known; and whether so small a rate was measured: otherwise it is the distance
        of the smallest that was.

    Raises:
        InputError: The rate is out of range, or needs a calibration that is not there, or that is of an earlier version and
            knows no means.
    """
    if false_accepts is not None and not 0 < as_number(false_accepts, "A false accept rate") <= 1:
        raise InputError(f"A false accept rate must be above 0 and up to 1, got {false_accepts}.")
    strangers = None if calibration is None else calibration.strangers
    if false_accepts == 1 or (false_accepts is None and strangers is None):
        return None, True
    if calibration is None or strangers is None:
        raise InputError(
            "A false accept rate needs a calibration, and these people were enrolled with a model that has none; give a "
            "threshold."
        )
    if per_person == "mean":
        strangers = calibration.strangers_to_means
        if strangers is None:
            raise InputError(
                "The calibration of these people is of an earlier version and has no thresholds for means; compare all "
                "vectors of a person, give a threshold, or a false accept rate of 1."
            )
    return strangers.threshold(false_accepts or FALSE_ACCEPTS, people, images)
