"""Images and boxes that are none, or not what they seem: one sentence, and never a wrong vector without a word."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from untrained import write_small_checkpoint

import reid_lightning
from reid_lightning.data.decoding import read_regular
from reid_lightning.errors import InputError
from reid_lightning.inference.compare import compare_vectors
from reid_lightning.inference.images import as_array, as_corners, crops

HEIGHT, WIDTH = 32, 16
FRAME = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return reid_lightning.load(write_small_checkpoint(tmp_path_factory.mktemp("model") / "model.ckpt"))


@pytest.mark.parametrize(
    "boxes",
    [
        [[0, 0, 10**400, 5]],
        [["0", "0", "10", "20"]],
        np.array([[0, 0, 10 + 1j, 20]]),
        torch.tensor([[0, 0, 10 + 1j, 20]]),
        torch.eye(4).to_sparse(),
        torch.empty(1, 4, device="meta"),
        np.array([[False, False, True, True]]),
        np.array([[1, 2, 3, 4]], dtype="datetime64[s]"),
        np.ma.array([[0.0, 0, 10, 20]], mask=[[0, 0, 1, 0]]),
        np.float64(3),
        [0, 0, 5, 5],
        np.zeros((3, 5)),
        {"a": 1},
    ],
)
def test_what_are_no_boxes_is_said_in_a_sentence(boxes):
    with pytest.raises(ValueError, match=r"box(es)? (must be|0 is not finite)"):
        as_corners(boxes)


def test_boxes_of_tensors_that_require_gradients_are_boxes():
    box = torch.tensor([0.0, 1, 10, 20], requires_grad=True)
    assert (
        as_corners([box, box]).tolist()
        == as_corners(torch.stack([box, box])).tolist()
        == [[0, 1, 10, 20]] * 2
    )


def test_many_large_boxes_take_no_more_memory_than_the_frame():
    found, _, count = crops(FRAME, [[0, 0, 80, 60]] * 1000)
    assert count == len(found) == 1000
    assert all(np.shares_memory(crop, FRAME) for crop in found)


@pytest.mark.parametrize("number", [255.0, float("nan"), -2.1])
def test_float_images_out_of_range_are_refused(model, number):
    image = torch.rand(3, HEIGHT, WIDTH)
    image[0, 3, 4] = number
    with pytest.raises(
        ValueError, match=r"an image in \[0, 1\], got numbers from .*: give uint8, or divide by 255"
    ):
        model.embed(image)
    assert torch.isfinite(
        model.embed(torch.rand(3, HEIGHT, WIDTH) * 1.2 - 0.1)
    ).all()  # as bicubic resizing gives


def test_an_image_of_pillow_whose_file_is_cut_off_is_refused(model):
    buffer = io.BytesIO()
    Image.fromarray(FRAME).save(buffer, "PNG")
    half = Image.open(io.BytesIO(buffer.getvalue()[: len(buffer.getvalue()) // 2]))
    with pytest.raises(InputError, match="an image of Pillow is corrupt or ends too early"):
        model.embed(half)
    with pytest.raises(ValueError, match=r"got uint8 of \(5, 0, 3\)"):
        model.embed(Image.new("RGB", (0, 5)))


def test_sixteen_bits_become_eight_as_of_a_file():
    deep = Image.fromarray(np.linspace(0, 65535, 100).astype(np.uint16).reshape(10, 10))
    buffer = io.BytesIO()
    deep.save(buffer, "PNG")
    seen, read = as_array(deep).astype(int), as_array(buffer.getvalue()).astype(int)
    assert np.abs(seen - read).max() <= 1
    assert len(np.unique(seen)) > 90


@pytest.mark.parametrize("size", [0, -1, 1.5, "a"])
def test_a_batch_size_is_a_whole_number(model, size):
    with pytest.raises(ValueError, match="batch_size must be a whole number, 1 or more"):
        next(model.stream([FRAME], size))


def test_what_a_generator_raises_is_raised(model):
    def images():
        yield FRAME
        raise RuntimeError("the camera is gone")

    with pytest.raises(RuntimeError, match="the camera is gone"):
        list(model.stream(images(), 1))


def test_a_folder_or_device_in_place_of_an_image_is_named_as_such(tmp_path):
    for path, said in (
        (tmp_path, "is a folder and not a file"),
        ("/dev/zero", "is a pipe, socket or device"),
    ):
        with pytest.raises(InputError, match=said):
            read_regular(str(path))


def test_numbers_of_a_comparison_are_in_range_whether_calibrated_or_not():
    vectors = torch.eye(2)
    for options, said in (({"prior": float("nan")}, "prior"), ({"threshold": float("nan")}, "threshold")):
        with pytest.raises(InputError, match=said):
            compare_vectors(vectors, vectors, "cosine", None, **options)
