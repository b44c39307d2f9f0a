"""Whether two versions of the source train the same digits: `python benchmarks/same_digits.py --before COMMIT`.

A change that must not change results is checked against what it changed. Each version is checked out into a temporary
worktree and trains the same small runs there, with its own package. Compared are all numbers of `metrics.json` and
`metrics.csv` except times, and the weights of the last checkpoint. Names may differ: a number is looked for under its
whole name, then under the last two parts of it, then by value; weights are compared by value alone. A number that is new
in the later version counts as no difference; one that it lacks does. The exit code is 1 if anything differs.

Both versions share the cache of generated people and images, so a change of these needs a test of its own.
"""

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

HERE = Path(__file__).resolve().parents[1]
RUNS = {
    "default": (),
    "kiel": ("experiment=small/kiel_mildnet",),
    "trento": ("experiment=small/trento", "data.validation_queries=20"),
    "pose": ("experiment=small/megvii_pose",),
    "multi_depth": ("experiment=small/birjand",),
}
SMALL = (
    "trainer.accelerator=cpu", "trainer.devices=1", "trainer.max_epochs=3", "trainer.log_every_n_steps=1",
    "data.image_size=[96,48]", "data.num_workers=0", "data.validation=0.2",
    "data.sources.pedestrians.train_identities=40", "data.sources.pedestrians.test_identities=20",
)  # fmt: skip
NOT_COMPARED = ("seconds", "images_per_second", "version")

Name = tuple[str, ...]
Numbers = dict[Name, tuple[float, ...]]


@dataclass
class Comparison:
    """What a comparison found.

    Attributes:
        values: How many values were compared.
        largest: The largest difference; infinite where only one of two values is a number, or shapes differ.
        differing: Names of what differs.
        missing: Names that only the version before has.
    """

    values: int = 0
    largest: float = 0.0
    differing: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether every digit is the same."""
        return not (self.differing or self.missing)

    def note(self, name: str, before: tuple[float, ...], after: tuple[float, ...]) -> None:
        """Compare the values of one name."""
        self.values += len(before)
        if same_values(before, after):
            return
        self.differing.append(name)
        self.largest = max(self.largest, largest_difference(before, after))


def same_values(before: tuple[float, ...], after: tuple[float, ...]) -> bool:
    """Whether both hold the same numbers; nan is nan."""
    return len(before) == len(after) and all(
        a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(before, after, strict=True)
    )


def largest_difference(before: tuple[float, ...], after: tuple[float, ...]) -> float:
    """Largest absolute difference; infinite where the lengths differ, or a number stands against none."""
    if len(before) != len(after):
        return math.inf
    differences = (
        0.0 if a == b or (math.isnan(a) and math.isnan(b)) else abs(a - b)
        for a, b in zip(before, after, strict=True)
    )
    return max((math.inf if math.isnan(d) else d for d in differences), default=0.0)


def json_numbers(data: Any, path: Name = ()) -> Numbers:
    """Return every number of nested mappings by its path, except times; a key `a/b` is two parts of a path."""
    if isinstance(data, Mapping):
        numbers: Numbers = {}
        for key, value in data.items():
            numbers |= json_numbers(value, (*path, *str(key).split("/")))
        return numbers
    counts = isinstance(data, int | float) and not isinstance(data, bool) and not _is_time(path)
    return {path: (float(data),)} if counts else {}


def csv_numbers(file: Path) -> Numbers:
    """Return the values of every column in their order, except times; empty cells are left out."""
    numbers: dict[Name, list[float]] = defaultdict(list)
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            for name, cell in row.items():
                path = tuple(name.split("/"))
                if cell and not _is_time(path):
                    numbers[path].append(float(cell))
    return {path: tuple(values) for path, values in numbers.items()}


def compare_numbers(before: Numbers, after: Numbers) -> Comparison:
    """Compare what has the same name, then what ends in the same two parts, then what has the same values."""
    found, left, other = Comparison(), dict(before), dict(after)
    names: tuple[Callable[[Name], Name], ...] = (lambda path: path, lambda path: path[-2:])
    for name in names:
        candidates = _by_name(other, name)
        for key, paths in _by_name(left, name).items():
            if len(paths) == 1 and len(candidates.get(key, ())) == 1:
                found.note("/".join(paths[0]), left.pop(paths[0]), other.pop(candidates[key][0]))
    for path, values in left.items():
        twin = next((name for name, others in other.items() if same_values(values, others)), None)
        if twin is None:
            found.missing.append("/".join(path))
        else:
            found.note("/".join(path), values, other.pop(twin))
    return found


def compare_weights(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> Comparison:
    """Compare two state dicts by value: every tensor needs its equal, whatever the names.

    Those without one are paired by name, and the others with the nearest of the same shape.
    """
    found = Comparison(values=len(before))
    equals: dict[bytes, list[str]] = defaultdict(list)
    for name, tensor in after.items():
        equals[_content(tensor)].append(name)
    left = {}
    for name, tensor in before.items():
        twins = equals[_content(tensor)]
        if twins:
            twins.remove(name if name in twins else twins[0])
        else:
            left[name] = tensor
    other = {name: after[name] for names in equals.values() for name in names}
    for name in sorted(left, key=lambda name: name not in other):
        tensor = left[name]
        alike = [twin for twin, others in other.items() if others.shape == tensor.shape]
        if not alike:
            found.missing.append(name)
            continue
        twin = name if name in alike else min(alike, key=lambda twin: _distance(tensor, other[twin]))
        found.differing.append(name)
        found.largest = max(found.largest, _distance(tensor, other.pop(twin)))
    return found


def compare_folders(before: Path, after: Path) -> dict[str, Comparison]:
    """Compare the folders of two runs: numbers, the log of the steps, weights."""
    metrics = [json_numbers(json.loads((folder / "metrics.json").read_text())) for folder in (before, after)]
    steps = [csv_numbers(folder / "metrics.csv") for folder in (before, after)]
    weights = [
        torch.load(folder / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)["state_dict"]
        for folder in (before, after)
    ]
    return {
        "results": compare_numbers(*metrics),
        "steps": compare_numbers(*steps),
        "weights": compare_weights(*weights),
    }


@contextmanager
def source_tree(commit: str, folder: Path) -> Iterator[Path]:
    """Check a commit out into a new folder and remove it afterwards; `.` is the tree that this script is in."""
    if commit == ".":
        yield HERE
        return
    git = ["git", "-C", str(HERE), "worktree"]
    subprocess.run([*git, "add", "--detach", str(folder), commit], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True, capture_output=True)


def train(tree: Path, overrides: tuple[str, ...], folder: Path, threads: int) -> None:
    """Train one run with a tree's own package; the run's output goes to a file beside the folder."""
    environment = os.environ | {
        "PYTHONPATH": str(tree),
        "WANDB_MODE": "offline",
        "OMP_NUM_THREADS": str(threads),
    }
    ask = [sys.executable, "-c", "import reid_lightning; print(reid_lightning.__file__)"]
    package = subprocess.run(
        ask, cwd=tree, env=environment, check=True, capture_output=True, text=True
    ).stdout
    if not Path(package.strip()).is_relative_to(tree):
        sys.exit(f"The package {package.strip()} would be trained instead of that in {tree}.")
    command = [sys.executable, "train.py", *overrides, *SMALL, f"hydra.run.dir={folder}"]
    log = folder.with_suffix(".txt")
    with log.open("w") as output:
        ended = subprocess.run(command, cwd=tree, env=environment, stdout=output, stderr=subprocess.STDOUT)
    if ended.returncode:
        sys.exit(f"{' '.join(command)} failed in {tree}:\n{log.read_text()[-3000:]}")


def show(run: str, part: str, found: Comparison) -> None:
    """Print a line of the table, and names of what differs."""
    verdict = "same digits" if found.same else "NOT the same"
    print(f"{run:12} {part:8} {found.values:7} {found.largest:12.3g}   {verdict}", flush=True)
    for title, names in (("differs", found.differing), ("only before", found.missing)):
        if names:
            print(f"    {title}: {', '.join(names[:8])}{f' and {len(names) - 8} more' * (len(names) > 8)}")


def _is_time(path: Name) -> bool:
    return any(part in NOT_COMPARED or part.startswith("peak") or part.endswith("_seconds") for part in path)


def _by_name(numbers: Numbers, name: Callable[[Name], Name]) -> dict[Name, list[Name]]:
    groups: dict[Name, list[Name]] = defaultdict(list)
    for path in numbers:
        groups[name(path)].append(path)
    return groups


def _content(tensor: Tensor) -> bytes:
    described = f"{tensor.dtype} {tuple(tensor.shape)} ".encode()
    return described + tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _distance(before: Tensor, after: Tensor) -> float:
    difference = (before.double() - after.double()).abs()
    return float(difference.nan_to_num(math.inf).max()) if difference.numel() else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", required=True, help="commit whose digits are right")
    parser.add_argument("--after", default=".", help="commit to compare with it; .: this tree as it stands")
    parser.add_argument("--runs", default=",".join(RUNS), help=f"some of {','.join(RUNS)}")
    parser.add_argument("--threads", type=int, default=1, help="threads of a run")
    parser.add_argument("--keep", type=Path, help="new folder to keep the runs and their logs in")
    options = parser.parse_args()
    runs = options.runs.split(",")
    if unknown := [run for run in runs if run not in RUNS]:
        parser.error(f"no run {', '.join(unknown)}: choose from {', '.join(RUNS)}")
    if options.keep and options.keep.exists():
        parser.error(f"{options.keep} exists: choose a new folder.")
    same = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or Path(temporary)).resolve()
        print(f"{'run':12} {'part':8} {'values':>7} {'difference':>12}")
        with (
            source_tree(options.before, Path(temporary) / "tree_before") as before,
            source_tree(options.after, Path(temporary) / "tree_after") as after,
        ):
            for run in runs:
                for side, tree in (("before", before), ("after", after)):
                    (folder / side).mkdir(parents=True, exist_ok=True)
                    train(tree, RUNS[run], folder / side / run, options.threads)
                found = compare_folders(folder / "before" / run, folder / "after" / run)
                for part, comparison in found.items():
                    show(run, part, comparison)
                    same &= comparison.same
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
