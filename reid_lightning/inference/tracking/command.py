"""What `reid track` does: follow the people of videos, and write who is where."""

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from reid_lightning.data.mot_text import write_boxes
from reid_lightning.errors import InputError
from reid_lightning.experiments.quiet import quiet
from reid_lightning.files import require_writable
from reid_lightning.inference.compare import UNCALIBRATED
from reid_lightning.inference.load import load
from reid_lightning.inference.model import Model
from reid_lightning.inference.options import require_option
from reid_lightning.inference.tracking.across import join_tracks
from reid_lightning.inference.tracking.associate import Association, Settings, Track
from reid_lightning.inference.tracking.draw import write_video
from reid_lightning.inference.tracking.source import Source, open_sources
from reid_lightning.reporting.terminal import say

_QUIET = 10.0  # seconds between two lines where there is no bar
_LONGEST = 1e6  # seconds that somebody is remembered
FALSE_ACCEPTS = 0.001  # of pairs of people; a track is compared with many others


def track(
    paths: Sequence[Path],
    model: str | None,
    output: Path,
    detections: Sequence[Path] = (),
    threshold: float | None = None,
    min_confidence: float = 0.4,
    memory: float = 60.0,
    video: bool = True,
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
) -> dict[str, dict[int, list[tuple[int, np.ndarray]]]]:
    """Follow the people of one camera or several, and write `NAME.txt` and `NAME.mp4` for each.

    Args:
        paths: Videos, folders of frames, or a folder of sequences; several are cameras that share identities.
        model: A checkpoint, the folder of a saved model, or what else `load` takes; None: motion alone.
        output: Folder for the files; those of an earlier run are replaced.
        detections: A file of boxes for each, in their order; empty: `det/det.txt` in each sequence.
        threshold: Largest distance of the vectors of one person; None: from the model's calibration.
        min_confidence: Minimum confidence of a detection.
        memory: Seconds for which a lost person is remembered.
        video: Whether videos are written as well.
        overrides: Hydra overrides of the model's config.
        trust: Packages of your own that its config may name; their code is run.

    Returns:
        By name of the camera and id: frame and corners of every box.

    Raises:
        InputError: A video, its detections or the model cannot be used, or an option is out of range.
    """
    require_option("--threshold", threshold is None or threshold > 0, "be above 0", threshold)
    require_option("--memory", 0 <= memory <= _LONGEST, f"be between 0 and {_LONGEST:.0f} seconds", memory)
    require_option("--min-confidence", math.isfinite(min_confidence), "be a finite number", min_confidence)
    quiet()
    sources = open_sources([Path(path) for path in paths], [Path(path) for path in detections])
    _keep_inputs(sources, output, [".txt", ".mp4"] if video else [".txt"])
    require_writable(output)
    loaded = None if model is None else load(model, trust=trust, overrides=overrides)
    settings = Settings(memory=memory) if loaded is None else _settings(loaded, threshold, memory)
    cameras = [_follow(source, loaded, settings, min_confidence) for source in sources]
    ids = _name(cameras, settings, joined=loaded is not None and len(cameras) > 1)
    found = {}
    for source, tracks, names in zip(sources, cameras, ids, strict=True):
        _write_tracks(output / f"{source.name}.txt", tracks, names)
        found[source.name] = _by_person(tracks, names)
        if video:
            _write_video(output / f"{source.name}.mp4", source, tracks, names)
    people = {name for names in ids for name in names}
    videos = "1 video" if len(sources) == 1 else f"{len(sources)} videos"
    say(f"{len(people)} people in {videos}: {output}")
    return found


def _keep_inputs(sources: Sequence[Source], output: Path, endings: Sequence[str]) -> None:
    """Refuse outputs that would replace a video, a frame or a file of boxes which the command reads.

    Raises:
        InputError: One would.
    """
    read = [file for source in sources for file in (source.path, source.boxes_from)]
    for source in sources:
        for ending in endings:
            written = output / f"{source.name}{ending}"
            if any(written.exists() and file.exists() and written.samefile(file) for file in read):
                raise InputError(
                    f"{written} would be replaced, and the command reads it: choose another folder for --output."
                )


def _settings(model: Model, threshold: float | None, memory: float) -> Settings:
    """Return how vectors of a model are compared, and within which distance.

    Raises:
        InputError: No threshold is given and none is known.
    """
    if threshold is None:
        if model.calibration is None:
            raise InputError(f"Give --threshold, the largest distance of one person: {UNCALIBRATED}.")
        rate = max(FALSE_ACCEPTS, min(model.calibration.rates, default=1.0))
        threshold = model.calibration.threshold(rate)
        say(
            f"Tracks within a distance of {threshold:.4g} are one person; {100 * rate:.2g} % of the pairs of "
            "different people are as near.",
            "dim",
        )
    return Settings(threshold=max(threshold, 1e-6), distance=model.protocol.distance, memory=memory)


def _follow(source: Source, model: Model | None, settings: Settings, min_confidence: float) -> list[Track]:
    """Return the tracks of one camera, and say how it went."""
    association = Association(source.rate, settings, model is not None)
    boxes = source.detections.select(source.detections.confidence >= min_confidence)
    order = np.argsort(boxes.frames, kind="stable")
    boxes = boxes.select(order)
    console = Console(stderr=True)
    started, last = time.perf_counter(), 0
    said = started
    bar = Progress(
        *Progress.get_default_columns(), MofNCompleteColumn(), console=console, transient=True,
        disable=not console.is_terminal,
    )  # fmt: skip
    with bar as progress:
        shown = progress.add_task(f"Tracking {source.name}", total=source.count or None)
        for number, frame in source.frames():
            start, end = np.searchsorted(boxes.frames, [number, number + 1])
            corners = boxes.boxes[start:end]
            vectors = None if model is None else model.embed(frame, corners, channels="bgr")
            association.update(number, corners, boxes.confidence[start:end], vectors)
            last = number
            progress.advance(shown)
            if not console.is_terminal and time.perf_counter() - said >= _QUIET:
                said = time.perf_counter()
                say(f"{source.name}: frame {number} of {source.count or '?'}", "dim")
    beyond = int((source.detections.frames > last).sum())
    if beyond:
        raise InputError(
            f"The detections of {source.name} go on to frame {source.detections.frames.max()}, and {source.path} ends with "
            f"frame {last}: these are not its detections, or a part of the video is missing."
        )
    tracks, seconds = association.finish(), time.perf_counter() - started
    say(
        f"{source.name}: {last} frames, {len(order):,} detections, {len(tracks)} people, {last / seconds:.1f} frames/s"
    )
    return tracks


def _name(cameras: Sequence[Sequence[Track]], settings: Settings, joined: bool) -> list[list[int]]:
    """Return the ids of all tracks: shared by all cameras, or each camera its own, counted on from camera to camera."""
    if joined:
        return join_tracks(cameras, settings.threshold, settings.distance)
    ids, first = [], 1
    for tracks in cameras:
        ids.append(list(range(first, first + len(tracks))))
        first += len(tracks)
    return ids


def _write_tracks(path: Path, tracks: Sequence[Track], ids: Sequence[int]) -> None:
    rows = sorted(
        (frame, name, track.boxes[k], track.confidence[k])
        for track, name in zip(tracks, ids, strict=True)
        for k, frame in enumerate(track.frames)
    )
    frames, names, boxes, confidence = zip(*rows, strict=True) if rows else ((), (), (), ())
    write_boxes(path, frames, names, np.asarray(boxes), np.asarray(confidence))


def _by_person(tracks: Sequence[Track], ids: Sequence[int]) -> dict[int, list[tuple[int, np.ndarray]]]:
    found: dict[int, list[tuple[int, np.ndarray]]] = defaultdict(list)
    for track, name in zip(tracks, ids, strict=True):
        found[name] += zip(track.frames, track.boxes, strict=True)
    return dict(found)


def _write_video(path: Path, source: Source, tracks: Sequence[Track], ids: Sequence[int]) -> None:
    people: dict[int, dict[int, np.ndarray]] = defaultdict(dict)
    for track, name in zip(tracks, ids, strict=True):
        for frame, box in zip(track.frames, track.boxes, strict=True):
            people[frame][name] = box
    write_video(path, source, people)
