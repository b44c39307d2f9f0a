import itertools
import math

import pytest
import torch

from reid_lightning.systems.pose.heat_maps import correct_key_points, heat_maps, peaks


def test_a_bell_stands_at_each_joint_that_is_shown():
    torch.manual_seed(0)
    positions, shown = torch.rand(2, 3, 2), torch.tensor([[True, False, True], [True, True, False]])
    maps = heat_maps(positions, shown, (6, 4), sigma=0.7)
    assert maps.shape == (2, 3, 6, 4)
    for image, joint, row, column in itertools.product(range(2), range(3), range(6), range(4)):
        x, y = positions[image, joint].tolist()
        distance = math.hypot(column + 0.5 - 4 * x, row + 0.5 - 6 * y)
        wanted = math.exp(-(distance**2) / (2 * 0.7**2)) if shown[image, joint] else 0.0
        assert maps[image, joint, row, column].item() == pytest.approx(wanted, abs=1e-6)


def test_peaks_of_bells_are_the_joints_more_finely_than_a_cell():
    torch.manual_seed(0)
    positions = 0.15 + 0.7 * torch.rand(8, 5, 2)
    maps = heat_maps(positions, torch.ones(8, 5, dtype=torch.bool), (12, 6), sigma=1.0)
    error = (peaks(maps, (96, 48)) - positions) * torch.tensor([6, 12])  # in cells
    assert error.abs().max() < 0.25


def test_the_peak_of_a_map_of_the_images_own_size_is_its_largest_pixel():
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 7, 5)
    found = peaks(maps, (7, 5))
    for image, joint in itertools.product(range(2), range(3)):
        row, column = divmod(int(maps[image, joint].argmax()), 5)
        assert found[image, joint].tolist() == pytest.approx([(column + 0.5) / 5, (row + 0.5) / 7])


def test_pck_counts_joints_in_sight_within_a_share_of_the_height():
    torch.manual_seed(0)
    found, positions = torch.rand(20, 5, 2), torch.rand(20, 5, 2)
    in_sight = torch.rand(20, 5) < 0.6
    height, width = 96, 48
    right = total = 0
    for image, joint in itertools.product(range(20), range(5)):
        if in_sight[image, joint]:
            x, y = (found[image, joint] - positions[image, joint]).tolist()
            total += 1
            right += math.hypot(x * width, y * height) <= 0.3 * height
    ours = correct_key_points(found, positions, in_sight, width / height, within=0.3)
    assert 0 < right < total
    assert ours == pytest.approx(right / total)
    assert math.isnan(correct_key_points(found, positions, in_sight & False, 0.5, 0.3))
