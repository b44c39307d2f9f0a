"""Images that grow while a network is trained."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from reid_lightning.engine.callbacks.progressive_size import ProgressiveSize


def start(callback, images, epoch, epochs=10):
    """What a batch holds once the callback has seen it."""
    batch = {"images": images, "labels": torch.arange(len(images))}
    callback.on_train_batch_start(SimpleNamespace(current_epoch=epoch, max_epochs=epochs), None, batch, 0)
    return batch["images"]


def test_every_epoch_has_the_size_of_its_stage():
    callback = ProgressiveSize(scales=[0.5, 0.7, 1.0], starts=[0.0, 0.25, 0.6])
    sizes = [callback.size_at(epoch, 10, (256, 128)) for epoch in range(10)]
    assert sizes == [(128, 64)] * 2 + [(176, 88)] * 4 + [(256, 128)] * 4  # 179.2 and 89.6, in eights
    assert callback.size_at(0, 1, (9, 9)) == (8, 8)
    assert ProgressiveSize([1.0], [0.0]).size_at(0, 1, (250, 125)) == (250, 125)


def test_images_are_reduced_as_pillow_reduces_them_and_stay_uint8():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3), np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    callback = ProgressiveSize([0.5, 1.0], [0.0, 0.5])
    reduced = start(callback, images, epoch=4)
    assert reduced.dtype == torch.uint8
    assert reduced.is_contiguous(memory_format=torch.channels_last)
    for image, original in zip(reduced, pixels, strict=True):
        expected = np.asarray(Image.fromarray(original).resize((16, 32), Image.Resampling.BILINEAR))
        assert np.abs(image.permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1
    assert start(callback, images, epoch=5) is images


@pytest.mark.parametrize(
    ("scales", "starts", "message"),
    [
        ([], [], r"^scales must be > 0 and <= 1, got \[\]"),
        ([0.0, 1.0], [0.0, 0.5], r"^scales must be"),
        ([0.5, 1.2], [0.0, 0.5], r"^scales must be"),
        ([0.5, 1.0], [0.0], r"^starts must be 2 numbers"),
        ([0.5, 1.0], [0.1, 0.5], r"^starts must be increasing from 0"),
        ([0.5, 1.0], [0.0, 1.0], r"^starts must be increasing"),
        ([0.5, 0.7, 1.0], [0.0, 0.6, 0.6], r"^starts must be increasing"),
    ],
)
def test_numbers_that_say_nothing_are_refused(scales, starts, message):
    with pytest.raises(ValueError, match=message):
        ProgressiveSize(scales, starts)


def test_a_backbone_of_one_size_is_refused():
    patches = nn.Identity()
    patches.strict_img_size = True
    module = SimpleNamespace(network=SimpleNamespace(backbone=nn.Sequential(patches)))
    with pytest.raises(ValueError, match="takes images of one size"):
        ProgressiveSize().on_fit_start(SimpleNamespace(), module)


@pytest.mark.slow
def test_a_resumed_run_continues_with_the_same_sizes(tmp_path, compose, brief):
    from reid_lightning.experiments.run import run_job

    options = [*brief, "callbacks=progressive", "trainer.max_epochs=4"]
    whole = run_job(compose(*options, output_dir=tmp_path / "whole"))
    stop = "+callbacks.stop={_target_: reid_lightning.engine.callbacks.time_limit.StopAfter, epochs: 2}"
    run_job(compose(*options, stop, output_dir=tmp_path / "parts"))
    resumed = run_job(compose(*options, "resume=last", output_dir=tmp_path / "parts"))
    plain = run_job(compose(*brief, "trainer.max_epochs=4", output_dir=tmp_path / "plain"))
    assert resumed.test == whole.test != plain.test
