"""A drawn scene is reproducible, its annotation is true, and readers take it."""

from collections import Counter

import cv2
import numpy as np
import pytest

from reid_lightning.data.mot_text import read_boxes
from reid_lightning.data.pedestrians.street.detector import Detector, overlap
from reid_lightning.data.pedestrians.street.plan import SceneSettings, Visit, plan_visits
from reid_lightning.data.pedestrians.street.view import (
    HEIGHT,
    WIDTH,
    Sighting,
    StreetCamera,
    Wardrobe,
    foot_of,
)
from reid_lightning.data.pedestrians.street.write import write_scene
from reid_lightning.data.readers.mot import read_mot
from reid_lightning.data.sequences import open_sequence
from reid_lightning.errors import InputError

SETTINGS = SceneSettings(cameras=2, frames=24, people=8, seed=3)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_scene(tmp_path_factory.mktemp("scene") / "street", SETTINGS)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_settings_give_the_same_bytes_and_another_seed_does_not(scene, tmp_path):
    again = contents(write_scene(tmp_path / "again", SETTINGS))
    first = contents(scene)
    assert again.keys() == first.keys()
    assert all(again[name] == first[name] for name in first)
    other = contents(write_scene(tmp_path / "other", SceneSettings(1, 2, 8, seed=4)))
    assert other["camera1/img1/000001.jpg"] != first["camera1/img1/000001.jpg"]


def test_a_scene_that_is_there_is_kept_and_another_is_refused(scene):
    before = {path: path.stat().st_mtime_ns for path in scene.rglob("*.jpg")}
    write_scene(scene, SETTINGS)
    assert {path: path.stat().st_mtime_ns for path in scene.rglob("*.jpg")} == before
    with pytest.raises(InputError, match="other parameters"):
        write_scene(scene, SceneSettings(seed=4))


def test_layout_and_annotation(scene):
    for camera in (1, 2):
        sequence = open_sequence(scene / f"camera{camera}")
        assert (list(sequence.frames), sequence.rate) == (list(range(1, 25)), 10)
        assert cv2.imread(str(sequence.frames[1])).shape == (HEIGHT, WIDTH, 3)
        truth = read_boxes(sequence.folder / "gt" / "gt.txt", tracks=True)
        assert set(truth.ids) <= set(range(1, 9))
        assert set(truth.classes) == {1}
        assert ((truth.visibility >= 0) & (truth.visibility <= 1)).all()
        found = read_boxes(sequence.folder / "det" / "det.txt")
        assert set(found.ids) <= {-1}
        assert ((found.confidence > 0) & (found.confidence < 1)).all()


def test_the_scene_is_a_data_set_of_two_cameras(scene, tmp_path, monkeypatch):
    monkeypatch.setenv("REID_LIGHTNING_CACHE", str(tmp_path))
    table = read_mot(scene, every=6, shared_ids=True, min_visibility=0.7)
    assert set(table["camera_id"]) == {"camera1", "camera2"}
    assert set(table["split"]) >= {"train", "gallery"}


@pytest.mark.parametrize("place", [(0.0, 8.0), (-1.5, 7.0)])
def test_box_and_visibility_are_those_of_the_pixels(place):
    """A frame with the person is compared with the empty one, without things in the street and with a thing in front."""
    settings = SceneSettings(1, 10, 1)
    visit = Visit(1, 0, 0, np.asarray([place]), np.zeros(1), np.pi / 2)
    camera = StreetCamera(settings, 0, Wardrobe(0))
    camera._things = []
    empty = camera._street.copy()
    drawn = empty.copy()
    box, area = camera._place(drawn, np.zeros((HEIGHT, WIDTH), np.int32), visit, 0, 1)
    column, row, _ = foot_of(np.asarray(place))
    changed = np.abs(drawn - empty).max(axis=2) > 0.25
    ys, xs = np.nonzero(changed)
    assert abs(box[3] - row) < 9
    assert box[0] < column < box[2]
    assert abs(box[1] - ys.min()) <= 8
    assert (box[0] - 4 <= xs.min()) & (xs.max() <= box[2] + 4)
    assert 0.25 < area / ((box[2] - box[0]) * (box[3] - box[1])) < 0.75
    (alone,) = camera.film(0, [visit])[1]
    assert (alone.box, alone.visibility) == (box, 1.0)
    near = Visit(2, 0, 0, np.asarray([(place[0], place[1] - 0.4)]), np.zeros(1), np.pi / 2)
    far, close = camera.film(0, [visit, near])[1]
    assert (far.person, close.person) == (1, 2)
    assert far.visibility < 0.6 < close.visibility == 1.0


def test_people_come_back_and_change_cameras():
    visits = plan_visits(SceneSettings(frames=600, people=30))
    seen = [(visit.person, visit.camera) for visit in visits]
    assert max(Counter(seen).values()) >= 2
    assert sum(len({camera for person, camera in seen if person == one}) == 2 for one in range(1, 31)) > 10
    starts = [visit for visit in visits if visit.start >= 0]
    columns = [foot_of(visit.path[0])[0] for visit in starts]
    assert all(not 0 < column < WIDTH for column in columns)  # nobody appears in the middle of the street


def test_the_detector_misses_shifts_and_invents_as_told():
    seen = [Sighting(1, (100, 100, 140, 200), 1.0), Sighting(2, (300, 100, 340, 200), 0.1)]
    detector = Detector(SceneSettings(missed=0.2, jitter=0.05, false_boxes=0.5), 0)
    frames = [detector.detect(seen) for _ in range(3000)]
    right = [
        one
        for frame in frames
        for one in frame
        if overlap(one.box, seen[0].box) > 0.5 and one.confidence > 0.6
    ]
    hidden = sum(overlap(one.box, seen[1].box) > 0.5 for frame in frames for one in frame)
    assert len(right) / 3000 == pytest.approx(0.8, abs=0.03)
    assert hidden / 3000 < 0.08
    assert np.std([one.box[0] for one in right]) == pytest.approx(0.05 * 40, rel=0.1)
    assert np.std([one.box[3] for one in right]) == pytest.approx(0.05 * 100, rel=0.1)
    assert (sum(map(len, frames)) - len(right) - hidden) / 3000 == pytest.approx(0.5, abs=0.06)
    exact = Detector(SceneSettings(missed=0, jitter=0, false_boxes=0), 0).detect(seen[:1])
    assert [one.box for one in exact] == [seen[0].box]


def test_settings_out_of_range():
    for name, value in (
        ("cameras", 0),
        ("frames", 0),
        ("people", 0),
        ("missed", 1.5),
        ("jitter", -1),
        ("false_boxes", 99),
    ):
        with pytest.raises(ValueError, match=f"{name} must be within"):
            SceneSettings(**{name: value})
