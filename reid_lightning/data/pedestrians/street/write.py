"""A scene on disk, a sequence per camera, laid out as MOTChallenge does."""

from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from reid_lightning.data.generated import describe, generated_tree
from reid_lightning.data.mot_text import write_boxes
from reid_lightning.data.pedestrians.street.detector import Detection, Detector
from reid_lightning.data.pedestrians.street.plan import RATE, SceneSettings, Visit, plan_visits
from reid_lightning.data.pedestrians.street.view import HEIGHT, WIDTH, Sighting, StreetCamera, Wardrobe
from reid_lightning.data.sequences import DETECTIONS, FRAMES, INFO, TRUTH

KIND = "scene"
_QUALITY = 92  # of the JPEG


def write_scene(folder: str | Path, settings: SceneSettings) -> Path:
    """Draw a scene into a folder, unless it is there already as it was drawn.

    Below the folder each camera has a sequence, `camera1`, `camera2`, ...: `img1` (JPEG, 640 x 360 pixels), `gt/gt.txt` with
    visibility, `det/det.txt` and `seqinfo.ini`. An id is the same person in all cameras. The same settings give the same
    bytes.

    Args:
        folder: A new or empty folder, or one that holds the same scene.
        settings: Of the scene.

    Returns:
        The folder.

    Raises:
        InputError: The folder holds something else, or a scene that was changed.
    """
    return generated_tree(KIND, folder, settings.described(), lambda new: _draw(new, settings))


def _draw(folder: Path, settings: SceneSettings) -> None:
    """Draw all cameras into a new folder."""
    visits, wardrobe = plan_visits(settings), Wardrobe(settings.seed)
    console = Console(stderr=True)
    bar = Progress(
        *Progress.get_default_columns(), MofNCompleteColumn(), console=console, transient=True,
        disable=not console.is_terminal,
    )  # fmt: skip
    with bar as progress:
        shown = progress.add_task("Drawing frames", total=settings.cameras * settings.frames)
        for index in range(settings.cameras):
            own = [visit for visit in visits if visit.camera == index]
            sequence = folder / f"camera{index + 1}"
            (sequence / FRAMES).mkdir(parents=True)
            camera, detector = StreetCamera(settings, index, wardrobe), Detector(settings, index)
            truth: list[list[Sighting]] = []
            detections: list[list[Detection]] = []
            for frame in range(settings.frames):
                picture, sightings = camera.film(frame, own)
                _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
                (sequence / FRAMES / f"{frame + 1:06d}.jpg").write_bytes(data.tobytes())
                truth.append(sightings)
                detections.append(detector.detect(sightings))
                _free(camera, own, frame)
                progress.advance(shown)
            _annotate(sequence, truth, detections)
    describe(KIND, folder, settings.described())


def _free(camera: StreetCamera, visits: list[Visit], frame: int) -> None:
    for visit in visits:
        if frame == visit.start + len(visit.path):
            camera.forget(visit)


def _annotate(sequence: Path, truth: list[list[Sighting]], detections: list[list[Detection]]) -> None:
    """Write what is known of a sequence beside its frames."""
    info = {
        "name": sequence.name, "imDir": FRAMES, "frameRate": RATE, "seqLength": len(truth), "imWidth": WIDTH,
        "imHeight": HEIGHT, "imExt": ".jpg",
    }  # fmt: skip
    lines = ["[Sequence]", *(f"{key}={value}" for key, value in info.items())]
    (sequence / INFO).write_text("\n".join(lines) + "\n")
    seen = [(frame, one) for frame, sightings in enumerate(truth, start=1) for one in sightings]
    seen.sort(key=lambda pair: (pair[1].person, pair[0]))
    write_boxes(
        sequence / TRUTH,
        [frame for frame, _ in seen],
        [one.person for _, one in seen],
        np.asarray([one.box for _, one in seen]),
        np.ones(len(seen)),
        np.asarray([one.visibility for _, one in seen]),
    )
    found = [(frame, one) for frame, boxes in enumerate(detections, start=1) for one in boxes]
    write_boxes(
        sequence / DETECTIONS,
        [frame for frame, _ in found],
        [-1] * len(found),
        np.asarray([one.box for _, one in found]),
        np.asarray([one.confidence for _, one in found]),
    )
