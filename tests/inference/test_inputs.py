"""What a model takes as images: files, bytes, arrays, tensors, generators of them, and frames with boxes."""

import io
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from untrained import write_small_checkpoint

import reid_lightning
from reid_lightning.errors import InputError
from reid_lightning.inference.images import as_array, as_corners, crops
from reid_lightning.inference.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return reid_lightning.load(write_small_checkpoint(tmp_path_factory.mktemp("model") / "model.ckpt"))


@pytest.fixture
def frame():
    """A frame of smooth noise, (90, 120, 3), red first."""
    coarse = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(coarse, (120, 90))


BOXES = [[3, 5, 33, 80], [0, 0, 120, 90], [60.4, 10.6, 88.5, 71.5], [100, 40, 101, 41]]


def encoded(image, form):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, form)
    return stream.getvalue()


def test_bytes_of_a_file_give_what_the_file_gives(model, frame, tmp_path):
    for form in ("png", "jpeg", "bmp"):
        data = encoded(frame, form)
        (tmp_path / form).write_bytes(data)
        assert torch.equal(model.embed(data), model.embed(tmp_path / form))
    assert torch.equal(model.embed([data, bytearray(data)]), model.embed([tmp_path / form] * 2))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "an image of 0 bytes is corrupt"),
        (b"no image", "an image of 8 bytes is corrupt"),
    ],
)
def test_bytes_of_no_image_are_refused(model, data, said):
    with pytest.raises(InputError, match=said):
        model.embed(data)


def test_a_part_of_zeros_in_the_bytes_of_a_jpeg_is_found(model):
    noise = np.random.default_rng(1).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    data = encoded(noise, "jpeg")
    half = len(data) // 2
    with pytest.raises(InputError, match="holds only zeros"):
        model.embed(data[:half] + bytes(len(data) - half - 2) + data[-2:])


def test_generators_are_streamed_in_batches_of_any_size(model, frame):
    images = [np.roll(frame, 11 * turn, axis=1) for turn in range(7)]
    expected = model.embed(images)
    assert torch.equal(model.embed(image for image in images), expected)
    assert torch.equal(model.embed(iter([np.stack(images[:3]), images[3], np.stack(images[4:])])), expected)
    for size in (1, 3, 7, 100):
        vectors = list(model.stream(iter(images), batch_size=size))
        assert [len(each) for each in vectors] == [min(size, 7 - start) for start in range(0, 7, size)]
        torch.testing.assert_close(torch.cat(vectors), expected, rtol=0, atol=1e-6)
    assert list(model.stream([])) == []
    with pytest.raises(ValueError, match="batch_size must be a whole number, 1 or more, got 0"):
        next(model.stream(images, batch_size=0))
    with pytest.raises(ValueError, match="got int"):
        model.embed(3)


def test_a_stream_reads_no_more_than_two_batches_ahead(model, frame):
    asked = []

    def endless():
        while True:
            asked.append(len(asked))
            yield frame

    stream = model.stream(endless(), batch_size=2)
    for turn in range(1, 4):
        assert next(stream).shape == (2, model.vector_size)
        assert len(asked) <= 2 * (turn + 2)
    stream.close()
    assert torch.is_grad_enabled()


def test_boxes_give_what_their_crops_give(model, frame):
    expected = model.embed([frame[5:80, 3:33], frame, frame[11:72, 60:88], frame[40:41, 100:101]])
    forms = (
        BOXES,
        np.array(BOXES),
        np.array(BOXES, np.float32),
        torch.tensor(BOXES),
        SimpleNamespace(xyxy=np.array(BOXES)),
        SimpleNamespace(xyxy=torch.tensor(BOXES)),
    )
    for boxes in forms:
        assert torch.equal(model.embed(frame, boxes), expected)
    for form in (Image.fromarray(frame), torch.from_numpy(frame).permute(2, 0, 1), encoded(frame, "png")):
        assert torch.equal(model.embed(form, BOXES), expected)
    one = model.embed(frame, BOXES[:1])
    assert torch.equal(one, model.embed(frame[5:80, 3:33]))


def test_boxes_are_clipped_and_those_outside_have_a_row_of_their_own(model, frame):
    boxes = [[-20, -9, 30, 40], [200, 0, 260, 50], [90, 70, 500, 500], [10, 10, 10, 50], [-50, 3, -1, 20]]
    vectors = model.embed(frame, boxes)
    assert vectors.shape == (5, model.vector_size)
    assert vectors.isnan().all(dim=1).tolist() == [False, True, False, True, True]
    assert torch.equal(vectors[[0, 2]], model.embed([frame[:40, :30], frame[70:, 90:]]))
    assert model.embed(frame, boxes[3:]).isnan().all()
    assert model.embed(frame, np.zeros((0, 4))).shape == (0, model.vector_size)
    assert model.embed(frame, []).shape == (0, model.vector_size)


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        ([1, 2, 3, 4], r"must be \(N, 4\) corners"),
        (np.zeros((2, 5)), r"must be \(N, 4\) corners"),
        (np.zeros((0, 5)), r"must be \(N, 4\) corners"),
        ([[0, 0, 5, 5], [40, 50, 20, 60]], "box 1 ends before it begins.* not a corner with width"),
        ([[0, 0, np.nan, 5]], "box 0 is not finite"),
        ("boxes", r"must be \(N, 4\) numbers, got str"),
    ],
)
def test_what_are_no_boxes_is_refused(boxes, said):
    with pytest.raises(ValueError, match=said):
        as_corners(boxes)


def test_boxes_belong_to_one_frame(frame):
    with pytest.raises(ValueError, match="boxes belong to one frame"):
        crops([frame, frame], BOXES)


def test_frames_of_opencv_are_turned_around(model, frame, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), frame[..., ::-1])
    of_opencv = cv2.imread(str(tmp_path / "a.png"))
    expected = model.embed(tmp_path / "a.png")
    assert torch.equal(model.embed(of_opencv, channels="bgr"), expected)
    assert not torch.equal(model.embed(of_opencv), expected)
    assert torch.equal(model.embed(of_opencv, BOXES, channels="bgr"), model.embed(frame, BOXES))
    tensor = torch.from_numpy(of_opencv).permute(2, 0, 1)
    assert torch.equal(model.embed(tensor, channels="bgr"), expected)
    assert torch.equal(model.embed(tmp_path / "a.png", channels="bgr"), expected)
    floats = (
        torch.from_numpy(cv2.resize(frame, (16, 32), interpolation=cv2.INTER_AREA)).permute(2, 0, 1) / 255
    )
    assert torch.equal(model.embed(floats.flip(0), channels="bgr"), model.embed(floats))
    with pytest.raises(ValueError, match='channels must be "rgb" or "bgr"'):
        as_array(frame, "gbr")


def test_compare_takes_boxes(model, frame):
    other = frame[::-1].copy()
    found = model.compare(frame, other, boxes_a=BOXES, boxes_b=[*BOXES[:2], [300, 0, 310, 9]])
    expected = model.compare([frame[5:80, 3:33], frame], [other[5:80, 3:33], other])
    assert found.distance.shape == (4, 3)
    np.testing.assert_allclose(found.distance[:2, :2], expected.distance, rtol=0, atol=1e-6)
    assert np.isnan(found.distance[:, 2]).all()
    assert model.compare(frame, other, boxes_a=BOXES[:1]).distance.shape == (1, 1)
    assert np.ndim(model.compare(frame, other).distance) == 0


def test_describe_takes_boxes(tmp_path, frame):
    model = reid_lightning.load(write_small_checkpoint(tmp_path / "model.ckpt", "attributes=market12"))
    outside = [300, 0, 310, 9]
    found = model.describe(frame, [BOXES[0], outside, BOXES[1]])
    expected = model.describe([frame[5:80, 3:33], frame])
    assert torch.equal(found.classes[[0, 2]], expected.classes)
    assert torch.equal(found.confidence[[0, 2]], expected.confidence)
    assert (found.classes[1] == -1).all()
    assert found.rows()[1]["attributes"]["hat"] == {"class": None, "confidence": None}
    assert found.rows()[0] == expected.rows()[0]
    assert found.annotations().iloc[1].isna().all()
    assert len(model.describe(frame, [outside]).rows()) == 1
    assert model.describe(frame, []).rows() == []


def test_preprocessing_says_itself_in_one_line_and_as_json(model):
    preprocessing = model.preprocessing
    assert str(preprocessing).startswith("RGB; 32x16 pixels; mean 0.485 0.456 0.406, std 0.229 0.224 0.225; ")
    plain = json.loads(json.dumps(model.info))["preprocessing"]
    assert Preprocessing.from_dict(plain) == preprocessing
    assert model.info["distance"] == "cosine"
    assert model.info["data"] == []


def test_a_device_that_is_not_here_is_refused_and_the_best_one_is_taken(monkeypatch):
    from reid_lightning.inference.load import usable_device

    assert usable_device(None, "cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert usable_device(None).type == "cpu"
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *size, device: zeros(*size))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert usable_device(None).type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert usable_device(None).type == "cuda"

    def missing(*size, device):
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr(torch, "zeros", missing)
    with pytest.raises(InputError, match="device=cuda:7 cannot be used on this machine"):
        usable_device("cuda:7")
