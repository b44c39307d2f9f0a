"""What one drawing process does; imports stay few, because every process repeats them."""

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from reid_lightning.data.pedestrians.camera import make_camera
from reid_lightning.data.pedestrians.clothes import dress
from reid_lightning.data.pedestrians.person import sample_person
from reid_lightning.data.pedestrians.plan import PERSON, Settings, Shot
from reid_lightning.data.pedestrians.shot import Box, Studio


class Task(NamedTuple):
    """A range of identities, or of other shots (distractors, junk)."""

    people: bool
    start: int
    stop: int


class _Worker(NamedTuple):
    folder: Path
    settings: Settings
    studio: Studio


_worker: _Worker | None = None


def start_process(folder: Path, settings: Settings) -> None:
    """Make cameras and strangers for the tasks of this process."""
    global _worker
    cv2.setNumThreads(0)
    cameras = [make_camera(settings.seed, k, settings.cameras) for k in range(settings.cameras)]
    _worker = _Worker(folder, settings, Studio(settings.seed, cameras))


def draw_task(task: Task) -> tuple[list[str], np.ndarray]:
    """Write the images of a task; return their names and (N, 17, 3) key points."""
    assert _worker is not None
    names, points = [], []
    settings = _worker.settings
    for number in range(task.start, task.stop):
        shots = settings.shots_of(number) if task.people else [settings.other_shot(number)]
        stream = (0 if task.people else 1, number)
        for name, jpeg, keypoints in _draw_shots(_worker.studio, settings, shots, stream):
            (_worker.folder / name).write_bytes(jpeg)
            names.append(name)
            points.append(keypoints)
    return names, np.asarray(points, np.float32).reshape(-1, 17, 3)


def _draw_shots(
    studio: Studio, settings: Settings, shots: list[Shot], stream: tuple[int, int]
) -> Iterator[tuple[str, bytes, np.ndarray]]:
    """Draw pictures of one person; strangers and junk get boxes that miss them."""
    strangers = stream[0] == 1
    rng = np.random.default_rng([settings.seed, 7, *stream])
    box = Box(settings.misalignment, settings.occlusion)
    person, outfit, identity = None, None, 0
    for shot in shots:
        if shot.identity != identity:  # clothes take as long as a picture
            person = sample_person(np.random.default_rng([settings.seed, PERSON, shot.identity]))
            outfit, identity = dress(person), shot.identity
        if strangers:
            box = Box(0.22 if shot.identity else 0.12, 0.3)
            if not shot.identity and rng.random() < 0.6:  # otherwise a false alarm: street alone
                person = sample_person(rng)
                outfit = dress(person)
        yield shot.name, *studio.photograph(shot.camera - 1, person, outfit, box, rng)


def serve() -> None:
    """Read folder, settings and tasks from the standard input; write every task's result to the output."""
    folder, settings, tasks = pickle.load(sys.stdin.buffer)
    start_process(folder, settings)
    for task in tasks:
        pickle.dump(draw_task(task), sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    # By the module's own name, so that its classes are those that the parent pickled.
    from reid_lightning.data.pedestrians import worker

    worker.serve()
