"""A gallery in Milvus answers as one in a folder does; Milvus Lite stands in for a server."""

import socket
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from reid_lightning import Gallery, InputError
from reid_lightning.data.attributes import Attribute, AttributeSchema
from reid_lightning.inference.gallery import milvus_client
from reid_lightning.inference.gallery.address import as_address
from reid_lightning.inference.gallery.conditions import Comparison, Not, Older
from reid_lightning.inference.gallery.milvus_filters import expression
from reid_lightning.inference.gallery.milvus_ledger import Ledger

pytest.importorskip("pymilvus", reason="needs the extra milvus")
pytest.importorskip("milvus_lite", reason="needs the extra milvus")

COUNT, WIDTH = 120, 8
SCHEMA = AttributeSchema(
    "looks", (Attribute("hat", "hat", ("no", "yes")), Attribute("top", "top", ("red", "blue", "green")))
)
CONDITIONS = (
    None,
    "camera != c3",
    "camera = c3 and not frame < 50",
    "person is empty or height > 0.6",
    "not (height > 0.6 or indoors)",
    "not not (height > 0.6 and not indoors)",
    "time >= 2026-11-10",
    "not time >= 2026-11-10",
    '"upper color" = \'dark \\"red\\" ä\'',
    '"upper color" is not empty and indoors',
    "camera not in (c1, c2)",
    "frame < 3.5 or frame >= 110.5",
    "frame = 3.5 or frame != 4.5",
    "not frame != 3",
    "indoors != true",
    "person < p3",
    "id in (3, 4, 5000)",
    "not height in (0.01, 0.02)",
)


def known(count=COUNT):
    rows = range(count)
    return pd.DataFrame(
        {
            "path": [f"/a/{row}.jpg" for row in rows],
            "person_id": [None if row % 7 == 0 else f"p{row % 9}" for row in rows],
            "camera_id": [f"c{row % 4}" if row % 5 else None for row in rows],
            "frame_id": rows,
            "time": [None if row % 3 else f"2026-11-{row % 28 + 1:02}" for row in rows],
            "height": [None if row % 4 == 0 else row / 100 for row in rows],
            "upper color": ['dark "red" ä' if row % 2 else None for row in rows],
            "indoors": [bool(row % 2) if row % 6 else None for row in rows],
        }
    )


def looks(count=COUNT):
    random = np.random.default_rng(1)
    parts = [random.dirichlet(np.ones(len(attribute.classes)), count) for attribute in SCHEMA]
    shares = np.concatenate(parts, axis=1).astype(np.float32)
    return [None if row % 11 == 0 else shares[row] for row in range(count)]


@pytest.fixture(scope="module", params=["cosine", "euclidean", "sqeuclidean"])
def pair(request, tmp_path_factory):
    """The same images in a folder and in Milvus."""
    place = tmp_path_factory.mktemp("pair")
    vectors = np.random.default_rng(0).normal(size=(COUNT, WIDTH)).astype(np.float32)
    vectors[60] = vectors[10]  # a tie
    table = known().assign(attribute_probabilities=looks())
    galleries = []
    for name in ("people", "people.db"):
        gallery = Gallery.create(
            place / name,
            WIDTH,
            distance=request.param,
            fingerprint="f" * 64,
            preprocessing="p",
            attributes=SCHEMA,
        )
        first = gallery.add(vectors[:80], table[:80])
        assert first.tolist() == [*range(80)]
        assert gallery.add(vectors[80:], table[80:]).tolist() == [*range(80, COUNT)]
        galleries.append(gallery)
    return *galleries, vectors


def assert_same(one, other):
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_allclose(one.distances, other.distances, atol=5e-6)


@pytest.mark.parametrize("where", CONDITIONS)
def test_conditions_and_searches_as_in_a_folder(pair, where):
    folder, milvus, vectors = pair
    pd.testing.assert_frame_equal(
        folder.table(where).drop(columns="added"), milvus.table(where).drop(columns="added")
    )
    queries = vectors[5:12] + 0.1
    for rerank in (False, True):
        assert_same(
            folder.search(queries, 10, where, rerank=rerank), milvus.search(queries, 10, where, rerank=rerank)
        )


@pytest.mark.parametrize("words", ["hat", "no hat, top blue", "green"])
def test_words_rank_and_filter_as_in_a_folder(pair, words):
    folder, milvus, vectors = pair
    queries = vectors[5:8] + 0.1
    for least in (None, 0.4):
        wishes = [gallery.wish(words, 0.7, least) for gallery in (folder, milvus)]
        for rerank in (False, True):
            assert_same(
                *(
                    g.search(queries, 15, rerank=rerank, like=wish)
                    for g, wish in zip((folder, milvus), wishes, strict=True)
                )
            )
        one, other = (
            g.search(None, 15, "camera != c3", like=w) for g, w in zip((folder, milvus), wishes, strict=True)
        )
        np.testing.assert_allclose(one.distances, other.distances, atol=1e-6)
        assert one.how == other.how == "attributes"
        # Images that were never asked are equally far; the others are in one order.
        asked = one.distances < 0.999
        np.testing.assert_array_equal(one.ids[asked], other.ids[asked])


def test_vectors_rows_ids_and_model_are_the_gallerys(pair):
    folder, milvus, vectors = pair
    np.testing.assert_array_equal(milvus.vectors([7, 3, 7]), vectors[[7, 3, 7]])
    assert milvus.rows([9, 2])["path"].tolist() == ["/a/9.jpg", "/a/2.jpg"]
    found = milvus.looks([1, 11])["attribute_probabilities"].to_pylist()
    np.testing.assert_allclose(found[0], looks()[1], rtol=1e-6)
    assert found[1] is None
    assert len(milvus) == len(folder) == COUNT
    again = Gallery(milvus.address)
    assert (again.manifest.distance, again.manifest.asked) == (
        folder.manifest.distance,
        folder.manifest.asked,
    )
    again.require_model("f" * 64, "p")
    with pytest.raises(InputError, match=r"people\.db holds vectors of another model"):
        again.require_model("a" * 64, "p")
    with pytest.raises(InputError, match="no image with the id 5000"):
        milvus.rows([5000])
    info = milvus.info
    assert info["images"] == COUNT
    assert info["people"] == folder.info["people"]
    assert info["search"] == "exact, in Milvus"
    with pytest.raises(InputError, match="has no folder on this machine"):
        _ = milvus.folder
    for call, said in (
        (lambda: milvus.search(vectors[:1], 20_000), "up to 16,384 images"),
        (lambda: milvus.search(vectors[:1], search="index"), "has no index"),
        (lambda: milvus.index("ivf_pq"), "Milvus has no index ivf_pq"),
        (lambda: Gallery.create(milvus.address, 8), "is a gallery already"),
        (lambda: folder.index("ivf_flat"), "ivf_flat is unknown"),
    ):
        with pytest.raises(InputError, match=said):
            call()


def test_removals_take_the_same_images_and_are_logged(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(COUNT, WIDTH)).astype(np.float32)
    folder, milvus = (Gallery.create(tmp_path / name, WIDTH) for name in ("people", "people.db"))
    for gallery in (folder, milvus):
        gallery.add(vectors, known())
    for rule in (
        {"person": "p3"}, {"ids": [1, 2]}, {"paths": ["/a/5.jpg"]}, {"older_than_days": 3.0}, {"where": "frame > 100"},
    ):  # fmt: skip
        assert folder.remove(**rule) == milvus.remove(**rule) > 0
        assert folder.table()["id"].tolist() == milvus.table()["id"].tolist()
    assert not set(milvus.search(vectors, 5).ids.ravel()) & {1, 2, 5}
    of_milvus = [(e["rule"], sorted(e["ids"]), sorted(e["paths"])) for e in milvus.removals]
    assert of_milvus == [(e["rule"], sorted(e["ids"]), sorted(e["paths"])) for e in folder.removals]
    for rule, said in (
        ({"person": "Nobody"}, "person_id Nobody"),
        ({"ids": [4, 999]}, "id 999"),
        ({"ids": [1]}, "id 1"),
    ):
        with pytest.raises(InputError, match=said):
            milvus.remove(**rule)
    assert milvus.add(vectors[:1]).tolist() == [COUNT]  # no id is given twice


def test_an_addition_that_fails_leaves_nothing(tmp_path, monkeypatch):
    gallery = Gallery.create(tmp_path / "people.db", WIDTH)
    vectors = np.ones((6, WIDTH), np.float32)
    monkeypatch.setattr("reid_lightning.inference.gallery.milvus_store.SENT", 4 * 4 * WIDTH)  # four at a time
    sent, insert = [], gallery.store._client.insert

    def failing(name, rows, **options):
        sent.append(name)
        if len(sent) == 2:
            raise OSError("the line is cut")
        return insert(name, rows, **options)

    with monkeypatch.context() as patch:
        patch.setattr(gallery.store._ledger, "claimed", lambda count: np.arange(count))
        patch.setattr(gallery.store._client, "insert", failing)
        with pytest.raises(InputError, match="the line is cut"):
            gallery.add(vectors)
    assert len(gallery) == 0
    gallery.add(vectors[:1], pd.DataFrame({"height": [1.5]}))
    with pytest.raises(InputError, match="holds numbers"):
        gallery.add(vectors[:1], pd.DataFrame({"height": ["tall"]}))
    assert len(gallery) == 1


def test_two_writers_never_get_one_id(tmp_path, monkeypatch):
    gallery = Gallery.create(tmp_path / "people.db", WIDTH)
    store = gallery.store
    other = Ledger(store._client, store._place)
    add = Ledger._add
    taken = []

    def raced(self, kind, number, count, content):
        if self is not other and not taken:  # the other writer comes in between reading and claiming
            taken.append(other.claimed(5))
        return add(self, kind, number, count, content)

    monkeypatch.setattr(Ledger, "_add", raced)
    own = store._ledger.claimed(5)
    assert not set(own) & set(taken[0])
    assert store._ledger.end() == 10


@pytest.mark.slow
def test_an_index_finds_what_exact_search_finds(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(600, WIDTH)).astype(np.float32)
    gallery = Gallery.create(tmp_path / "people.db", WIDTH)
    gallery.add(vectors)
    exact = gallery.search(vectors[:20] + 0.05, 5)
    assert gallery.index("ivf_flat") == "ivf_flat"
    found = gallery.search(vectors[:20] + 0.05, 5, search="exact")
    np.testing.assert_array_equal(found.ids, exact.ids)
    assert (found.how, gallery.search(vectors[:1]).how) == ("exact", "IVF-FLAT")
    assert gallery.index("hnsw") == "hnsw"
    found = gallery.search(vectors[:20] + 0.05, 5, search="index")
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found.ids, exact.ids, strict=True)]) > 0.9
    with pytest.raises(InputError, match="build --kind ivf_flat or none"):
        gallery.search(vectors[:1], search="exact")
    assert gallery.index("none") is None
    assert gallery.search(vectors[:1]).how == "exact"


@pytest.mark.slow
def test_processes_share_a_server(tmp_path):
    """A real port: what a cluster does but for its size."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "milvus_lite",
        "server",
        "--data-dir",
        str(tmp_path),
        "--port",
        str(port),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            address = f"milvus://127.0.0.1:{port}/people"
            for _ in range(100):
                with socket.socket() as tried:
                    if not tried.connect_ex(("127.0.0.1", port)):
                        break
                time.sleep(0.2)
            Gallery.create(address, WIDTH)
            script = (
                "import sys, numpy as np; from reid_lightning import Gallery\n"
                f"g = Gallery({address!r})\n"
                f"for _ in range(5): g.add(np.ones((3, {WIDTH}), np.float32))\n"
            )
            writers = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
            assert [writer.wait(120) for writer in writers] == [0, 0]
            assert sorted(Gallery(address).table()["id"]) == [*range(30)]
        finally:
            server.terminate()


@pytest.mark.parametrize(
    "address",
    [
        "milvus://host",
        "milvus://host:99999/people",
        "milvus://host:19530/a b",
        "milvus://me:secret@host:1/p",
        "milvus://",
    ],
)
def test_an_address_that_cannot_be_read_is_refused(address):
    with pytest.raises(InputError, match=r"milvus://HOST:PORT/NAME") as refused:
        as_address(address)
    assert "secret" not in str(refused.value)


def test_a_missing_gallery_or_package_is_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(
        InputError, match=r"There is no gallery .*none\.db; make one with `reid gallery build`"
    ):
        Gallery(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
    monkeypatch.setattr(milvus_client.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"install it with `pip install reid-lightning\[milvus\]`"):
        Gallery("milvus://127.0.0.1:1/people")


def test_nothing_of_a_condition_is_run_by_milvus():
    evil = 'x" or id >= 0 or "" == "'
    assert expression(Comparison(evil, "==", evil)) == (
        '$meta["x_' + evil.encode().hex() + '"] == "x\\" or id >= 0 or \\"\\" == \\""'
    )
    time = pd.Timestamp("2026-11-01", tz="UTC").to_pydatetime()
    assert expression(Not(Older(time))) == (
        "(((time is null) or time >= 1793491200000000) and ((time is not null) or ((added is null) or "
        "added >= 1793491200000000)))"
    )
