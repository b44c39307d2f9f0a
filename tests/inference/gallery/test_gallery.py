"""A gallery against arrays in memory."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from scipy.spatial.distance import cdist

from reid_lightning import Gallery
from reid_lightning.errors import InputError
from reid_lightning.inference.gallery import compact as compact_module
from reid_lightning.inference.gallery import index as index_module
from reid_lightning.inference.gallery.manifest import MANIFEST


def rows(count, first=0):
    number = np.arange(first, first + count)
    return pd.DataFrame(
        {
            "path": [f"/images/{n}.jpg" for n in number],
            "person_id": [f"p{n % 7}" if n % 5 else None for n in number],
            "camera_id": [f"c{n % 3}" for n in number],
        }
    )


def vectors(count, seed=0, width=8):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


@pytest.fixture
def gallery(tmp_path):
    """Sixty images in three segments."""
    gallery = Gallery.create(tmp_path / "gallery", dimension=8)
    for part in range(3):
        gallery.add(vectors(20, part), rows(20, 20 * part))
    return gallery


EVERY = np.concatenate([vectors(20, part) for part in range(3)])


def brute_force(queries, allowed, k, distance="cosine", among=EVERY):
    distances = cdist(queries.astype(np.float64), among.astype(np.float64), distance)
    distances[:, ~allowed] = np.inf
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, 1)


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "sqeuclidean"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("queries", [1, 12])
def test_search_equals_brute_force(tmp_path, distance, dtype, queries):
    gallery = Gallery.create(tmp_path / "g", 8, distance=distance, dtype=dtype)
    for part in range(3):
        gallery.add(torch.from_numpy(vectors(20, part)), rows(20, 20 * part))
    asked = vectors(queries, 9)
    cameras = np.arange(60) % 3
    for where, allowed in (
        (None, cameras >= 0),
        ("camera != c1", cameras != 1),
        ("camera = c9", cameras == 9),
    ):
        hits = gallery.search(asked, 25, where)
        order, distances = brute_force(asked, allowed, 25, distance, EVERY.astype(dtype))
        assert np.array_equal(hits.ids, np.where(np.isinf(distances), -1, order))
        np.testing.assert_allclose(hits.distances, distances, rtol=1e-5, atol=1e-5)
        assert hits.how == "exact"
    assert np.array_equal(Gallery(gallery.folder).search(asked, 5).ids, gallery.search(asked, 5).ids)


def test_rows_vectors_and_info(gallery):
    found = gallery.rows([41, 3])
    assert found["path"].tolist() == ["/images/41.jpg", "/images/3.jpg"]
    assert found["id"].tolist() == [41, 3]
    assert np.array_equal(gallery.vectors([41, 3]), EVERY[[41, 3]])
    assert len(gallery.table("person is empty")) == 12
    info = gallery.info
    assert (info["images"], info["people"], info["images_without_person"], info["segments"]) == (60, 7, 12, 3)
    assert json.dumps(info)
    assert len(gallery.table()) == len(gallery) == 60


def test_images_of_nobody_and_of_no_table(tmp_path):
    gallery = Gallery.create(tmp_path / "g", 8)
    assert gallery.search(vectors(1), 3).ids.tolist() == [[-1, -1, -1]]
    assert gallery.add(vectors(0)).tolist() == []
    assert gallery.add(vectors(2)).tolist() == [0, 1]
    assert gallery.search(vectors(1), 3).ids.tolist() == [[0, 1, -1]]
    assert gallery.rows([0])["person_id"].isna().all()
    gallery.add(vectors(1, 1), pd.DataFrame({"height": [1.5]}))
    assert gallery.table("height is empty")["id"].tolist() == [0, 1]
    assert gallery.table("height > 1")["id"].tolist() == [2]
    with pytest.raises(InputError, match="height holds numbers in this gallery but 'tall'"):
        gallery.add(vectors(1, 1), pd.DataFrame({"height": ["tall"]}))


@pytest.mark.parametrize("compact", [True, False])
def test_removal_by_person_id_file_condition_and_age(gallery, compact):
    before = EVERY
    kept, counts = np.ones(60, bool), []
    person = np.array([n % 7 == 2 and n % 5 != 0 for n in range(60)])
    for rule, gone in (
        ({"person": "p2"}, person),
        ({"ids": [0, np.int64(59)]}, np.isin(np.arange(60), [0, 59])),
        ({"paths": ["/images/30.jpg"]}, np.arange(60) == 30),
        (
            {"where": "camera = c1 and person is not empty"},
            (np.arange(60) % 3 == 1) & (np.arange(60) % 5 != 0),
        ),
    ):
        assert gallery.remove(**rule, compact=compact) == (kept & gone).sum()
        counts.append(int((kept & gone).sum()))
        kept &= ~gone
        assert gallery.table()["id"].tolist() == np.flatnonzero(kept).tolist()
        order, _ = brute_force(vectors(3, 9), kept, int(kept.sum()))
        assert np.array_equal(gallery.search(vectors(3, 9), int(kept.sum())).ids, order)
    assert gallery.info["removed_on_disk"] == (0 if compact else (~kept).sum())
    gallery.compact()
    opened = Gallery(gallery.folder)
    assert opened.info["removed_on_disk"] == 0
    assert opened.info["segments"] == 1
    assert np.array_equal(opened.vectors(np.flatnonzero(kept)), before[kept])
    log = opened.removals
    assert [entry["images"] for entry in log] == counts
    assert opened.info["removed_in_all"] == sum(counts)
    assert log[0]["rule"] == {"person_id": "p2"}
    assert log[1]["paths"] == ["/images/0.jpg", "/images/59.jpg"]
    with pytest.raises(InputError, match="holds no image with the person_id p2"):
        gallery.remove(person="p2")
    with pytest.raises(InputError, match=r"holds no image with the id 0 \(and 1 more\)"):
        gallery.remove(ids=[0, 999])
    with pytest.raises(InputError, match="Nothing says what to remove"):
        gallery.remove()
    assert gallery.remove(where="camera = c7") == 0
    assert gallery.add(vectors(1)).tolist() == [60]  # no id is given twice


def test_the_content_of_removed_images_is_gone_from_the_files(gallery):
    secret = EVERY[13].tobytes()
    held = lambda: [path for path in gallery.folder.rglob("*.npy") if secret in path.read_bytes()]  # noqa: E731
    gallery.remove(ids=[13], compact=False)
    assert len(held()) == 1
    gallery.compact()
    assert not held()
    assert all(
        "/images/13.jpg" not in str(pq.read_table(path).to_pydict())
        for path in gallery.folder.rglob("*.parquet")
    )


def test_removal_by_age_takes_the_time_of_an_image_or_else_of_its_adding(tmp_path):
    gallery = Gallery.create(tmp_path / "g", 8)
    now = datetime.now(UTC)
    gallery.add(
        vectors(3), pd.DataFrame({"time": [now - timedelta(days=40), now - timedelta(days=20), None]})
    )
    assert gallery.remove(older_than_days=30) == 1
    assert gallery.table()["id"].tolist() == [1, 2]
    assert gallery.remove(older_than_days=0) == 2
    assert len(gallery) == 0
    assert gallery.info["segments"] == 0
    with pytest.raises(InputError, match="An age must be a number of days"):
        gallery.remove(older_than_days=float("nan"))


def test_compact_joins_small_segments_only(gallery, monkeypatch):
    monkeypatch.setattr(compact_module, "LARGEST", 45)
    gallery.compact()
    assert [entry.rows for entry in gallery.manifest.segments] == [40, 20]
    change = gallery.manifest.change
    gallery.compact()
    assert gallery.manifest.change == change
    assert np.array_equal(gallery.vectors(range(60)), EVERY)


def test_a_reader_keeps_its_state_while_others_change_the_gallery(gallery):
    reader = Gallery(gallery.folder)
    gallery.remove(person="p1")
    gallery.add(vectors(5, 8), rows(5, 100))
    order, _ = brute_force(vectors(2, 9), np.ones(60, bool), 9)
    assert np.array_equal(reader.search(vectors(2, 9), 9).ids, order)
    assert len(reader) == 60
    assert len(reader.table()) == 60
    reader.refresh()
    assert len(reader) == len(gallery) == len(Gallery(gallery.folder))
    assert np.array_equal(reader.search(vectors(2, 9), 9).ids, gallery.search(vectors(2, 9), 9).ids)


def test_another_model_is_refused(tmp_path):
    gallery = Gallery.create(tmp_path / "g", 8, fingerprint="abc", preprocessing="256x128 pixels")
    gallery.require_model("abc", "256x128 pixels")
    with pytest.raises(InputError, match=r"another model \(abc, not xyz\).*`reid gallery rebuild`"):
        gallery.require_model("xyz", "256x128 pixels")
    with pytest.raises(
        InputError, match=r"another preprocessing \(256x128 pixels, not 64x32 pixels\).*rebuild"
    ):
        gallery.require_model("abc", "64x32 pixels")


def test_bad_input_is_named(gallery, tmp_path):
    for arguments, message in (
        ((vectors(2, width=7), None), r"shape \(2, 7\); .* holds vectors of 8 numbers"),
        ((np.full((1, 8), np.nan), None), "Vector 0 is not finite"),
        ((vectors(2), rows(3)), "2 vectors come with 3 rows"),
    ):
        with pytest.raises(InputError, match=message):
            gallery.add(*arguments)
    with pytest.raises(InputError, match="too large for float16"):
        Gallery.create(tmp_path / "half", 1, dtype="float16", distance="euclidean").add([[1e5]])
    with pytest.raises(InputError, match="is a gallery already"):
        Gallery.create(gallery.folder, 8)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo.jpg").touch()
    with pytest.raises(InputError, match=r"is not empty \(it holds photo.jpg\)"):
        Gallery.create(tmp_path / "full", 8)
    with pytest.raises(InputError, match=r"distance manhattan is unknown"):
        Gallery.create(tmp_path / "x", 8, distance="manhattan")
    with pytest.raises(InputError, match=r"There is no .*nowhere; make a gallery with"):
        Gallery(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"is not a gallery: it has no gallery\.json"):
        Gallery(tmp_path / "full")
    with pytest.raises(InputError, match="top must be a whole number, 1 or more, got 0"):
        gallery.search(vectors(1), 0)
    with pytest.raises(InputError, match="has no index"):
        gallery.search(vectors(1), search="index")
    with pytest.raises(InputError, match="holds no image with the id 77"):
        gallery.rows([77])


def replaced(text):
    return lambda path: path.write_text(text)


DAMAGE = {
    "not JSON": (MANIFEST, replaced("{"), "gallery.json is damaged"),
    "a list": (MANIFEST, replaced("[]"), "is not the manifest of a gallery"),
    "deep": (MANIFEST, replaced("[" * 100_000), "gallery.json is damaged"),
    "newer": (MANIFEST, replaced('{"format": 2}'), "written by a newer version"),
    "foreign": (MANIFEST, replaced('{"format": 1}'), "is not the manifest"),
    "cut vectors": ("segments/000001.npy", lambda path: os.truncate(path, 300), "000001.npy is damaged or foreign"),
    "empty vectors": ("segments/000001.npy", lambda path: os.truncate(path, 0), "000001.npy is damaged or foreign"),
    "other vectors": ("segments/000001.npy", lambda path: np.save(path, np.zeros((3, 8), "f4")), "another array"),
    "objects": ("segments/000001.npy", lambda path: np.save(path, np.array([{}]), allow_pickle=True), "damaged"),
    "missing": ("segments/000002.npy", lambda path: path.unlink(), "000002.npy is missing"),
    "cut rows": ("segments/000000.parquet", lambda path: os.truncate(path, 100), "000000.parquet is damaged"),
    "other rows": ("segments/000000.parquet", lambda path: pd.DataFrame({"id": [1]}).to_parquet(path), "1 rows in place"),
    "no ids": ("segments/000000.parquet", lambda path: pd.DataFrame({"x": range(20)}).to_parquet(path), "no column of ids"),
    "no order": ("segments/000000.parquet", lambda path: pd.DataFrame({"id": [5] * 20}).to_parquet(path), "not in order"),
    "squares": ("segments/000000.squares.npy", lambda path: path.write_bytes(b"PK"), "squares.npy is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_and_foreign_files_give_one_sentence(gallery, damage):
    name, harm, message = DAMAGE[damage]
    harm(gallery.folder / name)
    with pytest.raises(InputError, match=message) as refused:
        Gallery(gallery.folder).table()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        {"dimension": "8"}, {"dimension": 0}, {"dtype": "object"}, {"distance": "x"}, {"segments": {}}, {"segments": [1]},
        {"segments": [{"number": "../../x", "rows": 1, "removed": 0, "removed_in": 0, "digests": {}}]},
        {"segments": [{"number": 1, "rows": -1, "removed": 0, "removed_in": 0, "digests": {}}]},
        {"columns": {"x": "code"}}, {"columns": {"id": "text"}}, {"index": {"kind": 1}}, {"next_id": True}, {"change": 1e3},
    ],
)  # fmt: skip
def test_a_manifest_of_wrong_values_is_refused(gallery, change):
    file = gallery.folder / MANIFEST
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match="is not the manifest of a gallery"):
        Gallery(gallery.folder)


def test_check_finds_a_changed_byte(gallery):
    gallery.remove(ids=[1], compact=False)
    gallery.check()
    path = gallery.folder / "segments" / "000001.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"000001.npy is damaged: its content is not what was written"):
        gallery.check()


@pytest.mark.parametrize("kind", ["ivf_pq", "hnsw"])
def test_an_index_finds_the_same_and_follows_changes(tmp_path, kind):
    pytest.importorskip("faiss")
    gallery = Gallery.create(tmp_path / "g", 8)
    every = vectors(600)
    gallery.add(every, rows(600))
    assert gallery.index(kind) == kind
    asked = vectors(9, 5)
    exact = gallery.search(asked, 10, search="exact")
    found = gallery.search(asked, 10)
    assert found.how == {"ivf_pq": "IVF-PQ", "hnsw": "HNSW"}[kind]
    assert np.mean([len(set(a) & set(b)) for a, b in zip(found.ids, exact.ids, strict=True)]) > 9.5
    assert gallery.search(asked, 3, "camera = c1").how == "exact"
    filtered = gallery.search(asked, 3, "camera = c1", search="index")
    assert all(gallery.rows(ids[ids >= 0])["camera_id"].eq("c1").all() for ids in filtered.ids)

    late = gallery.add(asked, rows(9, 600))  # not in the index, found all the same
    assert gallery.search(asked, 1).ids[:, 0].tolist() == late.tolist()
    first = gallery.search(asked, 2).ids[:, 1]
    gallery.remove(ids=first.tolist()[:1])
    assert (gallery.manifest.index is None) == (kind == "hnsw")
    assert first[0] not in gallery.search(asked, 20).ids
    opened = Gallery(gallery.folder)
    assert np.array_equal(opened.search(asked, 5).ids, gallery.search(asked, 5).ids)
    assert gallery.index("none") is None
    assert not list(gallery.folder.rglob("*.faiss"))


def test_an_index_is_built_where_the_gallery_is_large(gallery, monkeypatch, caplog):
    pytest.importorskip("faiss")
    assert gallery.index() is None
    monkeypatch.setattr(index_module, "EXACT_UP_TO", 50)
    assert "`reid gallery index` builds" in gallery.info["search"]
    assert gallery.index() == "ivf_pq"
    assert gallery.info["search"].startswith("approximate by IVF-PQ")
    change = gallery.manifest.change
    gallery.add(vectors(2, 7))
    assert gallery.index() == "ivf_pq"
    assert gallery.manifest.change == change + 1  # it holds most of the vectors still
    path = gallery.manifest.index.path(gallery.folder)
    path.write_bytes(b"foreign")
    with pytest.raises(InputError, match=r"cannot be used .its content is not what was written"):
        Gallery(gallery.folder).search(vectors(1), search="index")
    assert Gallery(gallery.folder).search(vectors(1)).how == "exact"
    assert "searching exactly" in caplog.text


def test_rerank_orders_the_nearest_by_their_neighbours(gallery):
    plain, found = gallery.search(vectors(2, 9), 60), gallery.search(vectors(2, 9), 60, rerank=True)
    assert found.how == "exact, re-ranked"
    assert np.array_equal(np.sort(plain.ids), np.sort(found.ids))
    assert (np.diff(found.distances) >= 0).all()
    few = gallery.search(vectors(1, 9), 5, "id in (3, 4)", rerank=True)
    assert sorted(few.ids[0].tolist()) == [-1, -1, -1, 3, 4]


READER = """
import sys, time, numpy as np
from reid_lightning import Gallery
end = time.time() + float(sys.argv[2])
seen = 0
while time.time() < end:
    gallery = Gallery(sys.argv[1])
    table = gallery.table()
    assert len(table) == len(gallery) and len(gallery) % 4 == 0, (len(table), len(gallery))
    hits = gallery.search(np.ones((1, 8)), len(gallery) or 1)
    assert sorted(hits.ids[0]) == table["id"].tolist() or not len(gallery)
    seen += 1
print(seen)
"""


@pytest.mark.slow
def test_readers_see_whole_changes_while_a_writer_works(tmp_path):
    gallery = Gallery.create(tmp_path / "g", 8)
    gallery.add(vectors(4), rows(4))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(gallery.folder), "20"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(2)
    ]
    changes = 0
    while any(reader.poll() is None for reader in readers):
        ids = gallery.add(vectors(4, changes), rows(4, 4 * changes))
        if changes % 3 == 2:
            gallery.remove(ids=ids.tolist())
        changes += 1
    outputs = [reader.communicate()[0] for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0]
    assert all(int(output) > 3 for output in outputs)
    assert changes > 5


def test_many_single_additions_leave_few_segments_and_every_row(tmp_path, monkeypatch):
    monkeypatch.setattr(compact_module, "MOST_SMALL", 8)
    gallery = Gallery.create(tmp_path / "g", 2)
    for number in range(40):
        gallery.add(np.array([[number, 1.0]]), pd.DataFrame({"path": [f"{number}.jpg"]}))
        gallery.join_small()
    assert len(gallery.manifest.segments) <= 9
    assert gallery.table()["path"].tolist() == [f"{number}.jpg" for number in range(40)]
    assert gallery.vectors(range(40))[:, 0].tolist() == list(range(40))
    gallery.check()


@pytest.mark.parametrize("name", ["Ada\nEve", "Ada\0Eve", "Ada\u2028Eve"])
def test_a_name_is_one_line(tmp_path, name):
    gallery = Gallery.create(tmp_path / "people", 2)
    with pytest.raises(InputError, match="person_id must be one line without NUL"):
        gallery.add(np.ones((1, 2)), pd.DataFrame({"person_id": [name]}))
    assert len(gallery) == 0


def test_a_condition_of_half_a_surrogate_pair_is_refused(tmp_path):
    gallery = Gallery.create(tmp_path / "people", 2)
    with pytest.raises(InputError, match="half of a surrogate pair"):
        gallery.search(np.ones((1, 2)), where="person = \ud800")


def test_small_additions_of_any_size_are_joined(tmp_path, monkeypatch):
    monkeypatch.setattr(compact_module, "MOST_SMALL", 8)
    gallery = Gallery.create(tmp_path / "people", 2)
    vectors = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    for start in range(0, 200, 5):
        gallery.add(vectors[start : start + 5])
        gallery.join_small()
    assert len(gallery.manifest.segments) <= 9
    np.testing.assert_array_equal(gallery.vectors(np.arange(200)), vectors)
    descending = Gallery.create(tmp_path / "descending", 2)
    for rows in range(12, 0, -1):  # the last ones are the smallest
        descending.add(vectors[:rows])
    descending.join_small()
    assert len(descending.manifest.segments) == 1
