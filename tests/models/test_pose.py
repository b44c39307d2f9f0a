import itertools

import pytest
import torch

from reid_lightning.errors import InputError
from reid_lightning.systems.pose.bilinear import PartBranch, PoseBilinear, bilinear_pooling, signed_root


def test_bilinear_pooling_is_the_sum_of_outer_products():
    torch.manual_seed(0)
    appearance, parts = (
        torch.randn(3, 4, 5, 2, dtype=torch.float64),
        torch.randn(3, 7, 5, 2, dtype=torch.float64),
    )
    ours = bilinear_pooling(appearance, parts)
    for image in range(3):
        total = torch.zeros(4, 7, dtype=torch.float64)
        for row, column in itertools.product(range(5), range(2)):
            total += torch.outer(appearance[image, :, row, column], parts[image, :, row, column])
        torch.testing.assert_close(ours[image], total.flatten())


def test_a_finer_part_map_is_averaged_over_the_cells_of_the_appearance():
    torch.manual_seed(0)
    appearance, parts = torch.randn(2, 4, 3, 2), torch.randn(2, 7, 12, 4)
    cells = parts.unflatten(2, (3, 4)).unflatten(4, (2, 2)).mean((3, 5))
    torch.testing.assert_close(bilinear_pooling(appearance, parts), bilinear_pooling(appearance, cells))


def test_a_part_is_described_by_what_lies_under_it_wherever_it_lies():
    """The vector does not change when the person moves with the parts; it does when the parts alone move."""
    appearance, parts = torch.zeros(1, 2, 6, 3), torch.zeros(1, 1, 6, 3)
    appearance[0, :, 2, 1], parts[0, 0, 2, 1] = torch.tensor([5.0, 7.0]), 1.0
    assert bilinear_pooling(appearance, parts).tolist() == [[5, 7]]
    assert bilinear_pooling(appearance.roll(2, 2), parts.roll(2, 2)).tolist() == [[5, 7]]
    assert bilinear_pooling(appearance, parts.roll(2, 2)).tolist() == [[0, 0]]


def test_half_types_are_summed_in_float32():
    appearance, parts = torch.rand(1, 4, 16, 8).bfloat16(), torch.rand(1, 3, 16, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = bilinear_pooling(appearance, parts)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, bilinear_pooling(appearance.float(), parts.float()))


def test_the_signed_root_has_a_gradient_everywhere():
    vectors = torch.tensor([-4.0, 0.0, 9.0], requires_grad=True)
    signed_root(vectors).sum().backward()
    torch.testing.assert_close(vectors.grad, torch.tensor([1 / 4, 0.0, 1 / 6]))


@pytest.mark.parametrize("root", [False, True])
def test_the_vector_is_normalised_and_takes_the_poolings_place(root):
    torch.manual_seed(0)
    images, maps = torch.randn(2, 3, 32, 16), torch.randn(2, 12, 2, 1)
    pose = PoseBilinear(12, channels=5, joints=4, width=2, signed_root=root)
    pooled, local = pose(images, maps)
    assert local is None
    assert pooled.shape == (2, pose.pooled_features) == (2, 20)
    torch.testing.assert_close(torch.linalg.vector_norm(pooled, dim=1), torch.ones(2))
    plain = PoseBilinear(12, channels=5, joints=4, width=2, normalize=False, signed_root=root)
    plain.load_state_dict(pose.state_dict())
    raw = plain(images, maps)[0]
    torch.testing.assert_close(torch.nn.functional.normalize(raw), pooled, rtol=1e-4, atol=1e-4)


def test_the_branch_sees_an_eighth_of_the_image():
    for height, width, rows, columns in [(96, 48, 12, 6), (256, 128, 32, 16), (30, 14, 4, 2)]:
        assert PartBranch(5, width=2)(torch.zeros(1, 3, height, width)).shape == (1, 5, rows, columns)


def test_the_branch_starts_from_a_file(tmp_path):
    branch = PartBranch(4, width=2)
    torch.save(branch.state_dict(), tmp_path / "part_branch.pt")
    pose = PoseBilinear(12, joints=4, width=2, weights=tmp_path / "part_branch.pt")
    for ours, theirs in zip(pose.branch.parameters(), branch.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save(torch.nn.Linear(3, 3).state_dict(), tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"parts\.weights=.*other\.pt does not fit"):
        PoseBilinear(12, joints=4, width=2, weights=tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"parts\.weights=nowhere\.pt is not a file"):
        PoseBilinear(12, weights="nowhere.pt")


@pytest.mark.parametrize("key", ["channels", "joints", "width"])
def test_senseless_settings_are_refused(key):
    with pytest.raises(ValueError, match=f"^{key} must be >= 1, got 0"):
        PoseBilinear(12, **{key: 0})
