"""The time of a model: what is timed, and in which unit."""

import time

import pytest
import torch
from torch import nn

from reid_lightning.experiments.latency import BATCH, Latency, measure_latency


class Sleepy(nn.Module):
    """Takes a few milliseconds for each image."""

    def __init__(self, milliseconds):
        super().__init__()
        self.milliseconds, self.shapes = milliseconds, set()

    def embed(self, images):
        assert images.dtype == torch.uint8
        self.shapes.add(tuple(images.shape))
        time.sleep(len(images) * self.milliseconds / 1000)
        return images


def test_one_image_and_a_batch_are_timed():
    module = Sleepy(3)
    found = measure_latency(module, (8, 4), "cpu", seconds=0)
    assert isinstance(found, Latency)
    assert module.shapes == {(1, 3, 8, 4), (BATCH, 3, 8, 4)}
    assert found.milliseconds >= 3  # never faster than it sleeps
    assert 0 < found.images_per_second <= 1000 / 3
    assert found.device.startswith("CPU, ")
    assert not module.training


@pytest.mark.parametrize("accelerator", ["auto", "cpu"])
def test_the_device_is_named(accelerator):
    assert measure_latency(Sleepy(0), (2, 2), accelerator, seconds=0).device
