"""The tree of generated people: written once atomically, and read as a Market-1501."""

import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from reid_lightning.data.generated import describe, generated_tree
from reid_lightning.data.pedestrians.annotation import (
    read_traits,
    write_attributes,
    write_keypoints,
    write_traits,
)
from reid_lightning.data.pedestrians.plan import Settings
from reid_lightning.data.pedestrians.worker import Task, draw_task, start_process
from reid_lightning.data.readers.market1501 import FOLDERS, read_market1501

logger = logging.getLogger("reid_lightning")

KIND, KEYPOINT_FILE, ATTRIBUTE_FILE = "pedestrians", "keypoints.npz", "market_attribute.mat"
TRAITS_FILE = "people.csv"
_IDENTITIES_PER_TASK, _OTHERS_PER_TASK = 8, 64
_IMAGES_PER_PROCESS = 1500  # fewer are drawn before another process has started


def read_pedestrians(
    root: str | Path | None = None,
    train_identities: int = 300,
    test_identities: int = 100,
    cameras: int = 6,
    images_per_camera: float = 2.5,
    occlusion: float = 0.12,
    misalignment: float = 0.035,
    seed: int = 0,
    processes: int | None = None,
) -> pd.DataFrame:
    """Draw the people, unless a tree of the same parameters exists, and read it.

    The tree has the form of Market-1501 (`bounding_box_train`, `query`, `bounding_box_test` with junk and
    distractors, JPEG of 64 x 128 pixels) with Lin et al.'s `market_attribute.mat`, a `people.csv` with each person's
    height and age, and a `keypoints.npz`: `names` (N,) file names relative to the tree, `points` (N, 17, 3) column,
    row and 2 in sight, 1 hidden, 0 outside the image, `joints` (17,) their names. A tree that was drawn before there
    was a `people.csv` gets one; its images stay. The same parameters give the same bytes, whatever the number of processes.

    Args:
        root: Folder of the tree; None puts it into the cache, in a folder named after the parameters.
        train_identities: People to train on.
        test_identities: People to test on.
        cameras: Number of cameras.
        images_per_camera: Mean number of training images of a person in one camera.
        occlusion: Probability that something stands in front of the person.
        misalignment: Standard deviation of the box' shift and size, as a fraction of its size.
        seed: Seed of people, cameras and shots.
        processes: Processes that draw; None takes one per CPU where the set is large enough.

    Returns:
        The table of `read_market1501`, with the columns `keypoints`, `height` (centimeters) and `age_years`; the last
        two are NaN for distractors.

    Raises:
        InputError: A parameter is out of range, or `root` holds something else.
    """
    settings = Settings(
        train_identities, test_identities, cameras, images_per_camera, occlusion, misalignment, seed
    )
    folder = generated_tree(
        KIND, root, settings.described(), lambda new: write_pedestrians(new, settings, processes)
    )
    if not (folder / TRAITS_FILE).is_file():
        write_traits(folder / TRAITS_FILE, settings)
    table = read_market1501(folder)
    keypoints = pd.Series(str(folder / KEYPOINT_FILE), table.index, dtype="string")
    traits = read_traits(folder / TRAITS_FILE, table["person_id"])
    return table.assign(source="pedestrians", keypoints=keypoints).join(traits)


def write_pedestrians(folder: Path, settings: Settings, processes: int | None = None) -> None:
    """Draw all images of a set into a new folder and write the annotations beside them."""
    for name in FOLDERS.values():
        (folder / name).mkdir(parents=True)
    count = settings.train_identities + settings.test_identities
    others = sum(settings.others)
    tasks = [
        Task(True, k, min(k + _IDENTITIES_PER_TASK, count + 1))
        for k in range(1, count + 1, _IDENTITIES_PER_TASK)
    ]
    tasks += [Task(False, k, min(k + _OTHERS_PER_TASK, others)) for k in range(0, others, _OTHERS_PER_TASK)]
    names: list[str] = []
    points: list[np.ndarray] = []
    console = Console()
    logger.info("Drawing %d people into %s.", count, folder.parent)
    bar = Progress(
        *Progress.get_default_columns(), MofNCompleteColumn(), console=console, transient=True,
        disable=not console.is_terminal,
    )  # fmt: skip
    # Closed at once when interrupted: no process may write while the unfinished folder is removed.
    with bar as progress, closing(_draw_all(folder, settings, tasks, processes)) as results:
        shown = progress.add_task("Drawing pedestrians", total=count + others)
        for task, (drawn, keypoints) in zip(tasks, results, strict=True):
            names += drawn
            points.append(keypoints)
            progress.advance(shown, task.stop - task.start)
    write_keypoints(folder / KEYPOINT_FILE, names, np.concatenate(points))
    write_attributes(folder / ATTRIBUTE_FILE, settings)
    write_traits(folder / TRAITS_FILE, settings)
    describe(KIND, folder, settings.described())


def _draw_all(
    folder: Path, settings: Settings, tasks: list[Task], processes: int | None
) -> Generator[tuple[list[str], np.ndarray], None, None]:
    """Yield names and key points of every task, in order."""
    if processes is None:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        images = (settings.train_identities + settings.test_identities) * settings.images_per_camera * 4
        processes = max(1, min(cpus, int(images / _IMAGES_PER_PROCESS)))
    processes = min(
        processes, len(tasks), 4 * (os.cpu_count() or 1)
    )  # a checkpoint's config may ask for thousands
    if processes <= 1:
        start_process(folder, settings)
        yield from map(draw_task, tasks)
        return
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker_process()) for _ in range(processes)]
        for k, process in enumerate(workers):
            assert process.stdin is not None
            with process.stdin as pipe:
                pickle.dump((folder, settings, tasks[k::processes]), pipe)
        for k in range(len(tasks)):
            results = workers[k % processes].stdout
            assert results is not None
            try:
                yield pickle.load(results)
            except EOFError:
                raise RuntimeError("A process that draws pedestrians died; its error stands above.") from None


@contextmanager
def _worker_process() -> Iterator[subprocess.Popen[bytes]]:
    """Start a drawing process; it ends with the block.

    A fork would copy the threads' locks of PyTorch and OpenCV, and `multiprocessing` would run a script that lacks
    a main guard once more.
    """
    command = [sys.executable, "-m", "reid_lightning.data.pedestrians.worker"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        with process:
            pass
