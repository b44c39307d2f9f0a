import numpy as np
from PIL import Image

from reid_lightning.systems.multi_depth import filter_maps as module
from reid_lightning.systems.multi_depth.filter_maps import (
    MappedImage,
    filter_maps,
    third_histograms,
    third_shares,
)

TITLES = ["layer 0, filter 3", "layer 4, filter 11"]


def images(*levels):
    picture = np.full((30, 12, 3), 128, np.uint8)
    maps = [(np.full((30, 12), level), np.tile(np.linspace(0, 1, 12), (30, 1))) for level in levels]
    return [MappedImage(f"image {i}", picture, pair) for i, pair in enumerate(maps)]


def drawn(monkeypatch, draw, *arguments):
    caught = []
    monkeypatch.setattr(module, "save", lambda figure, path: caught.append(figure))
    draw(*arguments, "unused")
    return caught[0]


def test_maps_of_a_layer_share_their_colours(monkeypatch):
    figure = drawn(monkeypatch, filter_maps, images(0.0, 2.0, 5.0), TITLES)
    shown = [axes.images[0] for axes in figure.axes]
    assert len(shown) == 3 * (1 + 2)
    assert [image.get_clim() for image in shown[1::3]] == [(0.0, 5.0)] * 3
    assert [image.get_clim() for image in shown[2::3]] == [(0.0, 1.0)] * 3


def test_thirds_are_apart():
    values = np.concatenate([np.zeros((10, 4)), np.full((10, 4), 0.5), np.ones((10, 4))])
    shares = third_shares(values, np.array([0.0, 0.25, 0.75, 1.0]))
    np.testing.assert_array_equal(shares, np.eye(3))


def test_histograms_have_a_line_an_image_on_one_axis(monkeypatch):
    figure = drawn(monkeypatch, third_histograms, images(0.0, 2.0, 5.0), TITLES)
    assert len(figure.axes) == 3 * 2
    for axes in figure.axes:
        lines = [patch.get_data() for patch in axes.patches]
        assert len(lines) == 3
        assert all(np.isclose(values.sum(), 1) for values, _, _ in lines)
        assert len({tuple(edges) for _, edges, _ in lines}) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["image 0", "image 1", "image 2"]


def test_pictures_are_written_even_of_dead_filters(tmp_path):
    for draw in (filter_maps, third_histograms):
        draw(images(0.0, 0.0, 0.0), TITLES, tmp_path / "picture.png")
        with Image.open(tmp_path / "picture.png") as picture:
            assert picture.width > 300
