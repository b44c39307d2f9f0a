"""What re-ID gives a tracker: IDF1, identity switches, HOTA and MOTA on generated scenes, by TrackEval.

`python benchmarks/tracking.py --model CHECKPOINT [--seeds 0 1 2] [--json FILE]`. Scenes of two cameras are drawn, with
people of no generated training set. `reid track` follows them from the same noisy detections by motion alone and with the
model, and TrackEval judges the files that it writes. TrackEval pulls an OpenCV of its own, so that it runs in an environment
made by `uv venv` in a temporary folder. "across" counts a camera after the other as one sequence: an id is right only if it
is the same in both.
"""

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import arguments

from reid_lightning.data.mot_text import read_boxes, write_boxes
from reid_lightning.data.pedestrians.street.plan import SceneSettings
from reid_lightning.data.pedestrians.street.write import write_scene
from reid_lightning.inference.tracking.command import track

TRACKEVAL = "trackeval==1.3"
NUMBERS = {
    "IDF1": ("Identity", "IDF1", 100),
    "IDs": ("CLEAR", "IDSW", 1),
    "HOTA": ("HOTA", "HOTA", 100),
    "AssA": ("HOTA", "AssA", 100),
    "MOTA": ("CLEAR", "MOTA", 100),
}
# Run by the other environment: folder of truths, folder of trackers, names and lengths of sequences.
JUDGE = """
import json, sys, contextlib, io, numpy as np, trackeval
truth, trackers, sequences = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
quiet = {"PRINT_CONFIG": False, "PRINT_RESULTS": False, "OUTPUT_SUMMARY": False, "OUTPUT_DETAILED": False,
         "PLOT_CURVES": False, "TIME_PROGRESS": False, "BREAK_ON_ERROR": True}
data = trackeval.datasets.MotChallenge2DBox({
    "GT_FOLDER": truth, "TRACKERS_FOLDER": trackers, "SEQ_INFO": sequences, "SKIP_SPLIT_FOL": True,
    "TRACKER_SUB_FOLDER": "", "PRINT_CONFIG": False})
metrics = [trackeval.metrics.HOTA({"PRINT_CONFIG": False}), trackeval.metrics.CLEAR({"PRINT_CONFIG": False}),
           trackeval.metrics.Identity({"PRINT_CONFIG": False})]
with contextlib.redirect_stdout(io.StringIO()):
    results, _ = trackeval.Evaluator(quiet).evaluate([data], metrics)
found = {}
for tracker, of_sequences in results["MotChallenge2DBox"].items():
    found[tracker] = {
        sequence: {metric: {key: float(np.mean(value)) for key, value in values.items() if np.ndim(value) < 2}
                   for metric, values in of_class["pedestrian"].items()}
        for sequence, of_class in of_sequences.items()}
print(json.dumps(found))
"""


def environment(folder: Path) -> Path:
    """Make an environment with TrackEval; return its Python."""
    subprocess.run(["uv", "venv", "--quiet", "--clear", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run(["uv", "pip", "install", "--quiet", "--python", str(python), TRACKEVAL], check=True)
    return python


def one_after_the_other(files: list[Path], target: Path, frames: int, truth: bool) -> None:
    """Write the boxes of cameras as if they were one sequence."""
    parts = [read_boxes(file, tracks=True) for file in files]
    target.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for camera, part in enumerate(parts):
        boxes = target.with_name(f"part{camera}.txt")
        write_boxes(
            boxes, part.frames + camera * frames, part.ids, part.boxes, part.confidence,
            part.visibility if truth else None,
        )  # fmt: skip
        lines.append(boxes.read_text())
        boxes.unlink()
    target.write_text("".join(lines))


def run(
    model: Path, seeds: list[int], frames: int, people: int, python: Path, work: Path
) -> list[dict[str, Any]]:
    """Track all scenes both ways; return a row of numbers for each way, alone and across cameras."""
    truth, trackers = work / "truth", work / "trackers"
    sequences: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for seed in seeds:
        scene = write_scene(work / f"scene{seed}", SceneSettings(frames=frames, people=people, seed=seed))
        cameras = sorted(path.name for path in scene.iterdir() if path.is_dir())
        for camera in cameras:
            place = truth / f"{seed}-{camera}" / "gt" / "gt.txt"
            place.parent.mkdir(parents=True)
            place.write_text((scene / camera / "gt" / "gt.txt").read_text())
            sequences[f"{seed}-{camera}"] = frames
        one_after_the_other(
            [scene / camera / "gt" / "gt.txt" for camera in cameras],
            truth / f"{seed}-across" / "gt" / "gt.txt", frames, truth=True,
        )  # fmt: skip
        sequences[f"{seed}-across"] = frames * len(cameras)
        for name, given in (("motion", None), ("reid", model)):
            start = time.perf_counter()
            track([scene], None if given is None else str(given), work / name / str(seed), video=False)
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
            (trackers / name).mkdir(parents=True, exist_ok=True)
            written = [work / name / str(seed) / f"{camera}.txt" for camera in cameras]
            for file in written:
                (trackers / name / f"{seed}-{file.name}").write_text(file.read_text())
            one_after_the_other(written, trackers / name / f"{seed}-across.txt", frames, truth=False)
    judged = subprocess.run(
        [python, "-c", JUDGE, str(truth), str(trackers), json.dumps(sequences)],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return summary(json.loads(judged.stdout), seconds, 2 * frames * len(seeds))


def summary(found: dict[str, Any], seconds: dict[str, float], frames: int) -> list[dict[str, Any]]:
    """Return the means over sequences of each way; switches are sums."""
    rows = []
    for name in ("motion", "reid"):
        for kind in ("camera", "across"):
            chosen = [one for key, one in found[name].items() if key.split("-", 1)[-1].startswith(kind)]
            row: dict[str, Any] = {
                "tracker": name,
                "ids": "in a camera" if kind == "camera" else "across cameras",
            }
            for number, (metric, key, factor) in NUMBERS.items():
                values = [factor * one[metric][key] for one in chosen]
                row[number] = sum(values) if number == "IDs" else sum(values) / len(values)
            row["frames/s"] = frames / seconds[name]
            rows.append(row)
    return rows


def main() -> None:
    """Print the table, and write the rows to a file where one is named."""
    parser = arguments(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint, as of `python train.py`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="scenes")
    parser.add_argument("--frames", type=int, default=300, help="of each camera")
    parser.add_argument("--people", type=int, default=24, help="of each scene")
    parser.add_argument(
        "--python", type=Path, help="of an environment that has TrackEval; default: a new one"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        python = options.python or environment(work / "environment")
        rows = run(options.model, options.seeds, options.frames, options.people, python, work)
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        cells = [value if isinstance(value, str) else f"{value:.0f}" if key in ("IDs", "frames/s") else f"{value:.1f}"
                 for key, value in row.items()]  # fmt: skip
        print("| " + " | ".join(cells) + " |")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
