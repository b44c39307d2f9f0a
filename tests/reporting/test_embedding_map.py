import numpy as np
import pytest
from helpers import write_plain_image
from PIL import Image
from scipy.spatial.distance import cdist

from reid_lightning.errors import InputError
from reid_lightning.reporting.embedding_map import OTHERS, choose_points, embedding_map, tsne
from reid_lightning.reporting.figures import COLORS


def groups(people=8, images=20, seed=0):
    random = np.random.default_rng(seed)
    who = np.repeat([f"s/{person:02d}" for person in range(people)], images)
    centres = np.repeat(random.normal(size=(people, 64)), images, axis=0)
    return (centres + 0.3 * random.normal(size=centres.shape)).astype(np.float32), who


def test_neighbours_stay_neighbours_and_the_seed_decides():
    vectors, who = groups()
    positions = tsne(vectors, seed=1)
    assert positions.shape == (160, 2)
    distances = cdist(positions, positions)
    np.fill_diagonal(distances, np.inf)
    assert (who[distances.argmin(axis=1)] == who).all()
    assert np.array_equal(positions, tsne(vectors, seed=1))


@pytest.mark.parametrize("shape", [(5, 3), (9, 1), (60, 60)])
def test_few_images_and_few_dimensions_have_a_map(shape):
    positions = tsne(np.random.default_rng(0).normal(size=shape), perplexity=30)
    assert positions.shape == (shape[0], 2)
    assert np.isfinite(positions).all()


def test_people_with_the_most_images_are_named_and_nobody_never_is():
    people = np.array([*["a"] * 3, *["b"] * 5, *["c"] * 5, *["0000"] * 40])
    rows, named = choose_points(people, people == "0000", shown=2, limit=20)
    assert named == ["b", "c"]
    assert set(range(3, 13)) <= set(rows)
    assert len(rows) == len(set(rows)) == 20
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(rows, choose_points(people, people == "0000", 2, 20)[0])
    assert not np.array_equal(rows, choose_points(people, people == "0000", 2, 20, seed=1)[0])
    assert len(choose_points(people, people == "0000", 2, 5)[0]) == 10  # those named in any case


def pixels_of(path):
    return np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)


def count(pixels, color):
    return int((pixels == [int(color[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=1).sum())


def test_the_colours_are_those_of_the_people_named(tmp_path):
    vectors, who = groups(people=5)
    named = ["s/00", "s/03"]
    embedding_map(vectors[:, :2], who, named, tmp_path / "map.png", title="a_b $x")
    pixels = pixels_of(tmp_path / "map.png")
    assert min(count(pixels, color) for color in (*COLORS[:2], OTHERS)) > 500
    assert count(pixels, COLORS[2]) == 0
    assert count(pixels, "#ffffff") > len(pixels) / 2  # its own background on a page of any color


def test_pictures_lie_on_the_map(tmp_path):
    write_plain_image(tmp_path / "a.png", (255, 0, 255), (48, 24))
    vectors, who = groups(people=2)
    images = [tmp_path / "a.png"] * len(who)
    embedding_map(vectors[:, :2], who, ["s/00"], tmp_path / "map.png", images)
    pixels = pixels_of(tmp_path / "map.png")
    assert count(pixels, "#ff00ff") > 5000
    assert count(pixels, COLORS[0]) > 300
    embedding_map(vectors[:, :2], who, [], tmp_path / "gone.png", [tmp_path / "nowhere.png"] * len(who))
    assert count(pixels_of(tmp_path / "gone.png"), "#c8c8c8") > 5000  # gray tiles


def test_bad_input_is_named():
    with pytest.raises(InputError, match="at least 5 images, and there are 4"):
        tsne(np.zeros((4, 3)))
    with pytest.raises(InputError, match="perplexity 0"):
        tsne(np.eye(9), perplexity=0)
    with pytest.raises(InputError, match="All vectors are equal"):
        tsne(np.ones((9, 3)))
