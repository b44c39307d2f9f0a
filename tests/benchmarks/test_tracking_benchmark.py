"""The tracking benchmark puts cameras after each other, and sums up what TrackEval says."""

import sys
from pathlib import Path

import numpy as np

from reid_lightning.data.mot_text import read_boxes, write_boxes

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import tracking


def test_cameras_follow_each_other(tmp_path):
    box = np.array([[1, 2, 11, 22.0]])
    for name, person in (("a", 3), ("b", 4)):
        write_boxes(tmp_path / f"{name}.txt", [5], [person], box, np.ones(1), np.array([0.5]))
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    tracking.one_after_the_other(files, tmp_path / "new" / "all.txt", 10, truth=True)
    found = read_boxes(tmp_path / "new" / "all.txt", tracks=True)
    assert (found.frames.tolist(), found.ids.tolist()) == ([5, 15], [3, 4])
    assert found.visibility.tolist() == [0.5, 0.5]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["all.txt"]


def test_scores_are_means_and_switches_are_sums():
    def scores(value):
        names = {"Identity": ["IDF1"], "CLEAR": ["IDSW", "MOTA"], "HOTA": ["HOTA", "AssA"]}
        return {metric: dict.fromkeys(keys, value) for metric, keys in names.items()}

    one = {
        "0-camera1": scores(0.5),
        "0-camera2": scores(1),
        "0-across": scores(0.25),
        "COMBINED_SEQ": scores(9),
    }
    rows = tracking.summary({"motion": one, "reid": one}, {"motion": 10.0, "reid": 20.0}, 600)
    assert [(row["ids"], row["IDF1"], row["IDs"], row["frames/s"]) for row in rows] == [
        ("in a camera", 75, 1.5, 60), ("across cameras", 25, 0.25, 60),
        ("in a camera", 75, 1.5, 30), ("across cameras", 25, 0.25, 30),
    ]  # fmt: skip
