import sys

import pytest
import torch
from torch.nn.functional import normalize

from reid_lightning.errors import InputError
from reid_lightning.mining.offline import OfflineHardMiner, wrong_neighbours
from reid_lightning.retrieval.identification import Enrolment
from reid_lightning.retrieval.neighbour_index import build_index
from reid_lightning.retrieval.neighbours import nearest

METRICS = ["cosine", "euclidean", "sqeuclidean"]


def embeddings(count, width=32, people=150, noise=0.7, seed=0):
    """Vectors in groups, as those of people are."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(people, width, generator=generator)
    labels = torch.arange(count) % people
    return centres[labels] + noise * torch.randn(count, width, generator=generator), labels


@pytest.mark.parametrize("distance", METRICS)
@pytest.mark.parametrize("search", ["exact", "faiss"])
def test_exact_indices_equal_an_exact_search(distance, search):
    vectors, _ = embeddings(700)
    query, _ = embeddings(90, seed=1)
    expected = nearest(query, vectors, 20, distance=distance)
    found = build_index(vectors, distance, search).nearest(query, 20)
    assert torch.equal(found.indices, expected.indices)
    torch.testing.assert_close(found.distances, expected.distances, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("distance", METRICS)
@pytest.mark.parametrize("search", ["faiss_hnsw", "faiss_ivf"])
def test_approximate_indices_find_nearly_all(distance, search):
    vectors, _ = embeddings(4000)
    query = vectors[:300] + 0.5 * torch.randn(300, 32, generator=torch.Generator().manual_seed(1))
    expected = nearest(query, vectors, 10, distance=distance)
    found = build_index(vectors, distance, search).nearest(query, 10)
    hits = (found.indices[:, :, None] == expected.indices[:, None, :]).any(dim=1)
    assert hits.float().mean() > 0.95
    assert (found.distances.diff(dim=1) >= 0).all()
    rows = torch.arange(300)[:, None]
    left, right = (normalize(x) if distance == "cosine" else x for x in (query, vectors))
    squared = (left[rows] - right[found.indices]).square().sum(dim=2)
    named = {"cosine": squared / 2, "euclidean": squared.sqrt(), "sqeuclidean": squared}[distance]
    torch.testing.assert_close(found.distances, named, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("search", ["exact", "faiss", "faiss_hnsw", "faiss_ivf"])
def test_few_vectors_are_all_found(search):
    vectors, _ = embeddings(7)
    indices, distances = build_index(vectors, "cosine", search).nearest(vectors[:2], 50)
    assert indices.sort(dim=1).values.tolist() == [list(range(7))] * 2
    assert indices[:, 0].tolist() == [0, 1]
    assert distances.isfinite().all()


def test_offline_mining_finds_the_same_wrong_neighbours():
    vectors, labels = embeddings(400, people=20, noise=1.5)
    exact = wrong_neighbours(vectors, labels, 10)
    flat = wrong_neighbours(vectors, labels, 10, search="faiss")
    assert exact.starts.tolist() == flat.starts.tolist()
    assert exact.members.tolist() == flat.members.tolist()
    pairs = [
        {
            (label, member)
            for label in range(20)
            for member in pools.members[pools.starts[label] : pools.starts[label + 1]]
        }
        for pools in (exact, wrong_neighbours(vectors, labels, 10, search="faiss_hnsw"))
    ]
    assert len(pairs[0] & pairs[1]) > 0.95 * len(pairs[0] | pairs[1])


@pytest.mark.parametrize("search", ["faiss", "faiss_hnsw", "faiss_ivf"])
def test_people_are_identified_alike(search):
    vectors, labels = embeddings(600, people=30)
    query, _ = embeddings(60, people=30, seed=0)
    names = [f"p{label}" for label in labels.tolist()]
    enrolments = [Enrolment("euclidean"), Enrolment("euclidean", search=search)]
    for enrolment in enrolments:
        enrolment.add(vectors, names)
    known = [each.identify(query + 0.1, k=5, threshold=3.0).names for each in enrolments]
    assert sum(a == b for a, b in zip(*known, strict=True)) > 57
    for enrolment in enrolments:
        enrolment.add(query[:1] + 100, ["new"])  # the index is made anew
        assert enrolment.identify(query[:1] + 100.1, k=1).names == ["new"]
        enrolment.remove("new")
        assert enrolment.identify(query[:1] + 100.1, k=1).names != ["new"]


def test_without_faiss_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    vectors, _ = embeddings(5)
    install = r"needs FAISS: install it with `pip install reid-lightning\[faiss\]`"
    with pytest.raises(InputError, match=r"^search=faiss_hnsw " + install):
        OfflineHardMiner(search="faiss_hnsw")
    with pytest.raises(InputError, match=r"^search=faiss " + install):
        Enrolment(search="faiss")
    assert len(build_index(vectors).nearest(vectors, 2).indices) == 5


def test_bad_input_is_named():
    vectors, _ = embeddings(5)
    with pytest.raises(InputError, match="search annoy is unknown; choose one of exact, faiss"):
        build_index(vectors, "cosine", "annoy")
    index = build_index(vectors, "cosine", "faiss")
    with pytest.raises(ValueError, match="k must be >= 1, got 0"):
        index.nearest(vectors, 0)
    with pytest.raises(ValueError, match="equally many columns"):
        index.nearest(vectors[:, :3], 1)
    with pytest.raises(InputError, match="no gallery images"):
        build_index(vectors[:0], "cosine", "faiss")
    with pytest.raises(InputError, match="not finite"):
        build_index(vectors / 0, "cosine", "faiss")
