import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from reid_lightning.systems.pose.skeletons import LIMBS, TRUNK, PosedImage, joint_colors, overlaid, skeletons


def test_every_joint_belongs_to_one_limb_and_limbs_join_their_own():
    places = [place for _, joints, _ in LIMBS.values() for place in joints]
    assert sorted(places) == list(range(17))
    for _, joints, pairs in LIMBS.values():
        assert {place for pair in pairs for place in pair} == set(joints)
    assert {place for pair in TRUNK for place in pair} == {5, 6, 11, 12}


def test_the_strongest_joint_colours_a_pixel():
    image, maps = np.full((4, 2, 3), 100, np.uint8), np.zeros((17, 4, 2))
    maps[9, 1, 0], maps[15, 1, 0] = 1.0, 0.4  # left wrist before left ankle
    maps[16, 2, 1] = 0.5
    seen = overlaid(image, maps)
    grey = 0.75 * 100 / 255
    assert seen[0, 0].tolist() == pytest.approx([grey] * 3)
    assert seen[1, 0].tolist() == pytest.approx(to_rgb(LIMBS["left arm"][0]))
    half = [(grey + value) / 2 for value in to_rgb(LIMBS["right leg"][0])]
    assert seen[2, 1].tolist() == pytest.approx(half)


@pytest.mark.parametrize("joints", [17, 5])
def test_the_picture_has_a_column_per_image(tmp_path, joints):
    generator = np.random.default_rng(0)
    image = generator.integers(0, 255, (32, 16, 3), np.uint8)
    maps = generator.random((joints, 32, 16))
    shown = PosedImage(image, (maps, maps), (generator.random((joints, 2)) * 16,) * 2)
    skeletons([shown] * 2, ["pre-trained", "fine-tuned"], tmp_path / "two.png")
    skeletons([shown] * 4, ["pre-trained", "fine-tuned"], tmp_path / "four.png")
    with Image.open(tmp_path / "two.png") as two, Image.open(tmp_path / "four.png") as four:
        assert two.height == four.height
        assert four.width > two.width
    assert len(np.unique(joint_colors(joints), axis=0)) == 5
