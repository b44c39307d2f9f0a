"""People keep their ids: through crossings and absences, in a camera and across cameras."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from identity_f1 import identity_f1, iou

from reid_lightning.cli.main import app
from reid_lightning.data.mot_text import read_boxes, write_boxes
from reid_lightning.data.pedestrians.street.plan import SceneSettings
from reid_lightning.data.pedestrians.street.write import write_scene
from reid_lightning.data.sequences import open_sequence
from reid_lightning.errors import InputError
from reid_lightning.inference.tracking import command
from reid_lightning.inference.tracking.across import join_tracks
from reid_lightning.inference.tracking.associate import Association, Settings, Track, overlaps
from reid_lightning.inference.tracking.draw import color_of, draw_frame, write_video
from reid_lightning.inference.tracking.source import open_sources

ANNA, BEN = torch.eye(4)[0], torch.eye(4)[1]


def box(x, y=50.0, wide=20.0, high=50.0):
    return np.array([x, y, x + wide, y + high])


def follow(frames, vectors=True, **settings):
    """Track frames, which are lists of (x, vector), at ten a second; return the tracks."""
    association = Association(10, Settings(**settings), appearance=vectors)
    for number, people in enumerate(frames, start=1):
        boxes = np.array([box(x) for x, _ in people]).reshape(-1, 4)
        found = torch.stack([who for _, who in people]) if people else torch.empty(0, 4)
        association.update(number, boxes, np.ones(len(people)), found if vectors else None)
    return association.finish()


def test_two_who_meet_and_turn_back_are_told_apart_by_their_vectors():
    way = [*range(0, 60, 3), *range(60, 0, -3)]
    frames = [[(x, ANNA), (125 - x, BEN)] for x in way]
    by_vectors, by_motion = follow(frames), follow(frames, vectors=False)
    assert [len(track.frames) for track in by_vectors] == [40, 40]
    assert all(bool((torch.stack(track.vectors) == track.vectors[0]).all()) for track in by_vectors)
    last = [track.boxes[-1][0] for track in by_vectors if track.frames[-1] == 40]
    assert last == [3, 122]
    assert [track.boxes[-1][0] for track in by_motion] != last  # motion walks on, through the other


def test_somebody_lost_is_the_same_person_afterwards_and_a_stranger_is_not():
    def absence(then):
        return [[(2 * k, ANNA)] for k in range(12)] + [[]] * 40 + [[(200 + 2 * k, then)] for k in range(12)]

    (same,) = follow(absence(ANNA))
    assert same.frames == [*range(1, 13), *range(53, 65)]  # the frames before the decision, too
    assert same.boxes[12][0] == 200
    assert [track.frames[0] for track in follow(absence(BEN))] == [1, 53]
    assert [track.frames[0] for track in follow(absence(ANNA), vectors=False)] == [1, 53]
    assert [track.frames[0] for track in follow(absence(ANNA), memory=1.0)] == [1, 53]


def test_one_who_was_still_seen_is_not_taken_for_a_new_person_who_looks_alike():
    frames = [[(2 * k, ANNA), *([(300 - 2 * k, ANNA)] if k > 8 else [])] for k in range(30)]
    tracks = follow(frames)
    assert [track.frames[0] for track in tracks] == [1, 10]
    assert all(len(track.frames) == len(set(track.frames)) for track in tracks)


def test_false_boxes_are_nobody_and_unknown_vectors_leave_it_to_motion():
    blank = torch.full((4,), torch.nan)
    frames = [[(2 * k, blank if k % 3 else ANNA), *([(400, BEN)] if k == 5 else [])] for k in range(20)]
    (only,) = follow(frames)
    assert len(only.frames) == 20
    assert torch.equal(only.mean_vector(), ANNA)


def test_overlaps_equal_a_count_of_pixels(tmp_path):
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 20, (12, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1) + 1], axis=1).astype(float)
    masks = np.zeros((12, 22, 22), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
        mask[y1:y2, x1:x2] = True
    expected = [[(a & b).sum() / (a | b).sum() for b in masks] for a in masks]
    assert overlaps(boxes, boxes) == pytest.approx(np.array(expected))


def of(vector, *frames):
    return Track(list(frames), [box(0)] * len(frames), [1.0] * len(frames), [vector] * len(frames))


def test_cameras_share_ids_but_one_person_is_not_twice_in_a_frame():
    near = torch.nn.functional.normalize(ANNA + 0.1 * BEN, dim=0)
    ids = join_tracks([[of(ANNA, 1, 2), of(BEN, 2, 3)], [of(near, 1, 2), of(ANNA, 1, 3), of(ANNA, 9)]], 0.2)
    assert ids[0] == [1, 2]
    assert (
        ids[1][1] == ids[1][2] == 1
    )  # exactly alike comes first, and the other one is in sight at the same time
    assert ids[1][0] not in (1, 2)
    assert join_tracks([[of(ANNA, 1)], [of(near, 1)]], 0.001) == [[1], [2]]
    assert join_tracks([[], [of(torch.full((4,), torch.nan), 1)]], 1.0) == [[], [1]]
    assert join_tracks([[]], 1.0) == [[]]


class Knowing:
    """The stand-in for a good model: the vector of a box is its person's, with noise; nobody's is random."""

    calibration, protocol = None, SimpleNamespace(distance="cosine")

    def __init__(self, scene):
        self._known, self._rng = {}, np.random.default_rng(0)
        for folder in sorted(scene.glob("camera*")):
            truth = read_boxes(folder / "gt" / "gt.txt")
            for number, path in open_sequence(folder).frames.items():
                here = truth.frames == number
                frame = cv2.imread(str(path), cv2.IMREAD_COLOR_BGR)
                self._known[frame.tobytes()] = truth.boxes[here], truth.ids[here]

    def embed(self, frame, boxes, channels):
        assert channels == "bgr"
        places, people = self._known[np.ascontiguousarray(frame).tobytes()]
        vectors = self._rng.normal(0, 0.06, (len(boxes), 64))
        for row, place in enumerate(boxes):
            best = max(zip((iou(place, other) for other in places), people, strict=True), default=(0, 0))
            if best[0] > 0.3:
                vectors[row, best[1]] += 1
        return torch.nn.functional.normalize(torch.tensor(vectors, dtype=torch.float32), dim=1)


@pytest.fixture
def stub(monkeypatch):
    def load(path, trust, overrides):
        return Knowing(Path(path))

    monkeypatch.setattr(command, "load", load)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    settings = SceneSettings(cameras=2, frames=14, people=10, seed=2)
    return write_scene(tmp_path_factory.mktemp("tracked") / "scene", settings)


@pytest.mark.slow
def test_ids_on_a_scene_are_right_far_more_often_with_vectors(stub, tmp_path):
    scene = write_scene(tmp_path / "scene", SceneSettings(cameras=2, frames=200, people=20, seed=5))
    truth, scores = {}, {}
    for offset, camera in enumerate(("camera1", "camera2")):
        known = read_boxes(scene / camera / "gt" / "gt.txt")
        for frame, who, place in zip(known.frames, known.ids, known.boxes, strict=True):
            truth[int(frame) + 1000 * offset, int(who)] = place
    for name, model in (("motion", None), ("vectors", str(scene))):
        found = command.track([scene], model, tmp_path / name, threshold=0.4, video=False)
        assert list(found) == ["camera1", "camera2"]
        placed = {
            (frame + 1000 * offset, who): place
            for offset, people in enumerate(found.values())
            for who, rows in people.items()
            for frame, place in rows
        }
        assert len(placed) == sum(len(rows) for people in found.values() for rows in people.values())
        scores[name] = identity_f1(truth, placed)
    assert scores["motion"] > 0.4
    assert scores["vectors"] > max(scores["motion"] + 0.15, 0.8), scores


def test_files_that_are_written(scene, stub, tmp_path, capsys):
    found = command.track([scene / "camera2"], str(scene), tmp_path, threshold=0.4)
    written = read_boxes(tmp_path / "camera2.txt", tracks=True)
    assert len(written.frames) == sum(map(len, found["camera2"].values()))
    assert (np.diff(written.frames) >= 0).all()
    video = cv2.VideoCapture(str(tmp_path / "camera2.mp4"))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 14
    assert video.get(cv2.CAP_PROP_FPS) == 10
    assert video.read()[1].shape == (360, 640, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["camera2.mp4", "camera2.txt"]
    said = capsys.readouterr().err
    assert "camera2: 14 frames" in said
    assert "people in 1 video:" in said


def test_a_video_with_detections_of_its_own_by_the_command_line(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "door.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 12.5, (64, 48))
    for _ in range(10):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    boxes = np.array([[10 + k, 5, 22 + k, 40] for k in range(10)], float)
    write_boxes(tmp_path / "boxes.txt", range(1, 11), [-1] * 10, boxes, np.full(10, 0.9))
    video = [str(tmp_path / "door.avi"), "--output", str(tmp_path / "out")]
    given = ["--detections", str(tmp_path / "boxes.txt"), "--no-reid"]
    app(["track", *video, *given], standalone_mode=False)
    found = read_boxes(tmp_path / "out" / "door.txt", tracks=True)
    assert found.frames.tolist() == list(range(1, 11))
    assert found.boxes == pytest.approx(boxes, abs=0.01)
    assert cv2.VideoCapture(str(tmp_path / "out" / "door.mp4")).get(cv2.CAP_PROP_FPS) == 12.5
    with pytest.raises(InputError, match=r"door\.avi has no det/det\.txt"):
        app(["track", *video, "--no-reid"], standalone_mode=False)
    with pytest.raises(InputError, match="--model, or --no-reid"):
        app(["track", *video], standalone_mode=False)
    write_boxes(tmp_path / "boxes.txt", [11], [-1], boxes[:1], np.ones(1))
    with pytest.raises(InputError, match=r"go on to frame 11, and .* ends with frame 10"):
        app(["track", *video, *given], standalone_mode=False)


def test_sources_that_cannot_be_used(scene, stub, tmp_path):
    with pytest.raises(InputError, match="There is no video or folder"):
        open_sources([tmp_path / "gone.mp4"], [])
    with pytest.raises(InputError, match="given 1 times for 2 videos"):
        open_sources([scene], [scene / "camera1" / "det" / "det.txt"])
    with pytest.raises(InputError, match="Two videos are named camera1"):
        open_sources([scene / "camera1", scene / "camera1"], [])
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match="cannot be opened as a video"):
        open_sources([tmp_path / "text.mp4"], [scene / "camera1" / "det" / "det.txt"])
    with pytest.raises(InputError, match="Give --threshold"):
        command.track([scene], str(scene), tmp_path / "out")
    with pytest.raises(InputError, match="--threshold must be above 0"):
        command.track([scene], str(scene), tmp_path / "out", threshold=0)
    assert not (tmp_path / "out" / "camera1.txt").exists()


def test_no_output_replaces_what_is_read(scene, stub, tmp_path):
    boxes = tmp_path / "camera1.txt"
    boxes.write_bytes((scene / "camera1" / "det" / "det.txt").read_bytes())
    before = boxes.read_bytes()
    with pytest.raises(InputError, match=r"camera1\.txt would be replaced, and the command reads it"):
        command.track([scene / "camera1"], None, tmp_path, detections=[boxes])
    assert boxes.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["camera1.txt"]
    (video := tmp_path / "door.mp4").write_bytes(b"")
    os.link(video, tmp_path / "camera1.mp4")
    source = replace(open_sources([scene / "camera1"], [])[0], path=video)
    with pytest.raises(InputError, match=r"camera1\.mp4 would be replaced"):
        command._keep_inputs([source], tmp_path, [".mp4"])
    command._keep_inputs([source], tmp_path, [])


@pytest.mark.parametrize(
    "option", [{"memory": float("inf")}, {"memory": -1}, {"min_confidence": float("nan")}]
)
def test_options_that_are_out_of_range(scene, tmp_path, option):
    with pytest.raises(InputError, match=r"--memory must be|--min-confidence must be a finite number"):
        command.track([scene], None, tmp_path / "out", **option)
    assert not (tmp_path / "out").exists()


def test_nobody_detected_is_an_empty_result(scene, tmp_path):
    (tmp_path / "none.txt").touch()
    found = command.track(
        [scene / "camera1"], None, tmp_path / "out", detections=[tmp_path / "none.txt"], video=False
    )
    assert found == {"camera1": {}}
    assert len(read_boxes(tmp_path / "out" / "camera1.txt", tracks=True).frames) == 0


def test_a_pipe_is_not_a_video(scene, tmp_path):
    os.mkfifo(pipe := tmp_path / "live.mp4")
    with pytest.raises(InputError, match=r"live\.mp4 cannot be opened as a video: it is a pipe"):
        open_sources([pipe], [scene / "camera1" / "det" / "det.txt"])


def test_norfair_that_is_not_installed_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "norfair", None)
    with pytest.raises(InputError, match='pip install --no-deps norfair "filterpy<2"'):
        Association(10, Settings(), appearance=False)


def test_a_drawn_frame_has_boxes_in_the_colors_of_the_ids():
    frame = np.zeros((360, 640, 3), np.uint8)
    drawn = draw_frame(frame, {3: np.array([100, 100, 160, 260]), 4: np.array([-50, 300, 5000, 900])})
    assert not frame.any()
    assert drawn[200, 100].tolist() == pytest.approx(list(color_of(3)), abs=25)  # the line is smoothed
    assert drawn[300, 300].tolist() == pytest.approx(list(color_of(4)), abs=25)  # the line is smoothed
    assert np.argmax(drawn[200, 100]) == np.argmax(color_of(3))
    assert not drawn[120:250, 110:150].any()
    assert len({color_of(k) for k in range(200)}) > 190


def test_a_video_that_is_not_whole_is_refused(scene, tmp_path, monkeypatch):
    (source,) = open_sources([scene / "camera1"], [])
    monkeypatch.setattr("reid_lightning.inference.tracking.draw.cv2.VideoWriter", _Full)
    with pytest.raises(InputError, match=r"camera1\.mp4 cannot be written whole"):
        write_video(tmp_path / "camera1.mp4", source, {})
    assert list(tmp_path.iterdir()) == []


class _Full:
    """OpenCV's writer on a full disk: it writes nothing and says nothing."""

    fourcc = staticmethod(lambda *letters: 0)

    def __init__(self, path, *settings):
        Path(path).write_bytes(b"ftyp")

    def isOpened(self):
        return True

    def write(self, frame):
        pass

    def release(self):
        pass


def test_a_thin_box_is_read_again(tmp_path):
    boxes = np.array([[10.0, 10.0, 10.004, 50.0], [0.0, 5.0, 20.0, 5.0001]])
    write_boxes(tmp_path / "boxes.txt", [1, 2], [-1, -1], boxes, np.ones(2))
    np.testing.assert_allclose(read_boxes(tmp_path / "boxes.txt").boxes, boxes, atol=0.02)
