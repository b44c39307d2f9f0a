import pytest
import torch
from scipy.spatial.distance import cdist
from sides import sides

from reid_lightning.errors import InputError
from reid_lightning.retrieval.matches import Matches
from reid_lightning.retrieval.neighbours import nearest


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "sqeuclidean"])
def test_equals_a_full_sort(distance):
    torch.manual_seed(0)
    query, gallery = torch.randn(13, 6, dtype=torch.float64), torch.randn(40, 6, dtype=torch.float64)
    expected = torch.from_numpy(cdist(query.numpy(), gallery.numpy(), distance)).sort(dim=1)
    indices, distances = nearest(query, gallery, 7, distance=distance, chunk_size=5)
    assert torch.equal(indices, expected.indices[:, :7])
    torch.testing.assert_close(distances, expected.values[:, :7], rtol=0, atol=1e-12)


def test_equal_distances_keep_the_order_of_the_gallery():
    torch.manual_seed(0)
    query, gallery = torch.zeros(3, 1), torch.randint(0, 4, (50, 1)).float()
    expected = gallery[:, 0].square().sort(stable=True).indices
    for k in (1, 5, 17, 50, 80):
        indices, distances = nearest(query, gallery, k, distance="sqeuclidean")
        assert torch.equal(indices, expected[:k].expand(3, -1))
        assert torch.equal(distances[0], gallery[indices[0], 0].square())


def test_same_camera_is_removed_and_short_lists_are_filled_up():
    query, gallery = torch.zeros(2, 1), torch.tensor([[1.0], [2.0], [3.0]])
    ids = torch.tensor([1, 2]), torch.tensor([1, 1, 2])
    cameras = torch.tensor([0, -1]), torch.tensor([0, 1, -1])
    matches = Matches.of(*sides(query, gallery, *ids, *cameras))
    indices, distances = nearest(query, gallery, 3, matches, distance="euclidean")
    assert indices.tolist() == [[1, 2, -1], [0, 1, 2]]
    assert distances.tolist() == [[2, 3, torch.inf], [1, 2, 3]]
    allowed = Matches.of(*sides(query, gallery, *ids, *cameras), "allow")
    indices, _ = nearest(query, gallery, 3, allowed, distance="euclidean")
    assert indices.tolist() == [[0, 1, 2], [0, 1, 2]]


def test_bad_input_is_named():
    x = torch.randn(3, 2)
    with pytest.raises(ValueError, match="k must be >= 1, got 0"):
        nearest(x, x, 0)
    with pytest.raises(InputError, match="no gallery images"):
        nearest(x, x[:0], 1)
    with pytest.raises(ValueError, match="person_ids of the query must have one value per vector"):
        Matches.of(*sides(x, x, torch.arange(2), torch.arange(3)))
