"""What a run's page shows of its queries, against the numbers and by hand."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from reid_lightning.data.attributes import attribute_schema
from reid_lightning.data.table import validate_table
from reid_lightning.errors import InputError
from reid_lightning.results.browsing.compare import compared, joined
from reid_lightning.results.browsing.content import content_of, write_data
from reid_lightning.results.browsing.lists import choose, error_kinds, ranked_lists_of
from reid_lightning.results.browsing.read import read_data
from reid_lightning.results.browsing.slices import attribute_slices, mistaken_people
from reid_lightning.retrieval.camera_pairs import camera_pairs
from reid_lightning.retrieval.evaluation import EvaluationRows, rank_rows
from reid_lightning.retrieval.protocol import EvaluationProtocol

SCHEMA = attribute_schema("some", {"hat": ["no", "yes"], "bag": ["no", "yes"]})
PROTOCOL = EvaluationProtocol()


def some_table(seed=0, queries=12, gallery=80, people=6, cameras=3):
    draws = np.random.default_rng(seed)
    count = queries + gallery
    person = draws.integers(0, people, count)
    table = pd.DataFrame(
        {
            "path": [f"/data/{'q' if row < queries else 'g'}/{row}.jpg" for row in range(count)],
            "person_id": [f"p{number}" for number in person],
            "camera_id": draws.integers(1, cameras + 1, count),
            "split": ["query"] * queries + ["gallery"] * gallery,
            "distractor": draws.random(count) < np.where(np.arange(count) < queries, 0.0, 0.1),
            "hat": person % 2,
            "bag": np.where(person == 0, -1, person // 3),
        }
    )
    table.loc[table["distractor"], "person_id"] = "nobody"
    return validate_table(table, "album")


def some_rows(table, seed=0):
    generator = torch.Generator().manual_seed(seed)
    codes, _ = pd.factorize(table["person_id"], sort=True)
    centres = torch.randn(codes.max() + 1, 8, generator=generator)
    vectors = centres[codes] + 0.9 * torch.randn(len(table), 8, generator=generator)
    return EvaluationRows(
        torch.nn.functional.normalize(vectors),
        torch.from_numpy(codes),
        torch.from_numpy(pd.factorize(table["camera_id"], sort=True)[0]),
        index=torch.arange(len(table)),
        is_query=torch.from_numpy((table["split"] == "query").to_numpy()),
    )


def some_content(seed=0, name="run", table=None):
    table = some_table() if table is None else table
    rows = some_rows(table, seed)
    ranking = rank_rows(rows, PROTOCOL)
    lists = ranked_lists_of(rows, ranking, PROTOCOL)
    content = content_of(lists, ranking, camera_pairs(rows, PROTOCOL), table, SCHEMA, name, "cosine")
    return content, ranking, rows, table


def test_the_page_holds_the_ranking():
    content, ranking, rows, table = some_content()
    data = json.loads(json.dumps(content.data))
    run, images = data["runs"][0], data["images"]
    assert run["ap"] == [round(float(one), 6) for one in ranking.average_precision]
    assert run["first"] == [float(one) for one in ranking.first_match_rank]
    assert [images["name"][image] for image in data["queries"]] == [f"album/q/{row}.jpg" for row in range(12)]
    for query, row in enumerate(table.index[:12]):
        # every true match is listed once: among the first 20 or beyond them with its rank
        own = table.loc[row]
        wanted = table[
            (table["person_id"] == own["person_id"])
            & (table["camera_id"] != own["camera_id"])
            & (table["split"] == "gallery")
        ]
        listed = run["lists"][query]
        right = [
            image for image in listed if images["person"][image] == images["person"][data["queries"][query]]
        ]
        found = right + [image for _, image, _ in run["rest"][query]]
        assert sorted(content.images[image] for image in found) == sorted(wanted.index)
        assert all(rank > 20 for rank, _, _ in run["rest"][query])
        gaps = 1 - rows.vectors[content.images[listed]] @ rows.vectors[row]
        assert run["distances"][query] == pytest.approx(gaps.tolist(), abs=1e-4)


def test_camera_pairs_of_the_page_are_those_of_the_ranking():
    content, _, rows, _ = some_content()
    run, data = content.data["runs"][0], content.data
    pairs = camera_pairs(rows, PROTOCOL)
    assert [data["cameras"][camera] for camera in run["pair_cameras"]] == ["1", "2", "3"]
    for pair in pairs.pairs:
        asked = [
            run["pairs"][query][pair.gallery_camera]
            for query, image in enumerate(data["queries"])
            if data["images"]["camera"][image] == pair.query_camera
        ]
        known = [one for one in asked if one is not None]
        assert np.mean(known) == pytest.approx(pair.mean_ap, abs=1e-6)
        assert len(known) == pair.queries


def test_attributes_and_distractors_are_those_of_the_table():
    content, _, _, table = some_content()
    images = content.data["images"]
    for place, row in enumerate(content.images):
        expected = "".join(
            "." if table.loc[row, name] < 0 else str(table.loc[row, name]) for name in ("hat", "bag")
        )
        assert images["attributes"][place] == expected.replace("nan", ".")
        assert images["nobody"][place] == int(table.loc[row, "distractor"])
        assert (images["person"][place] < 0) == bool(table.loc[row, "distractor"])


def test_error_kinds_by_hand():
    class Some:
        num_matches = torch.tensor([1, 1, 1, 0])
        first_match_rank = torch.tensor([1.0, 11.0, 2.0, torch.nan])

    person = np.array(["a", "a", "b", ""], object)
    nobody = np.array([False, False, False, True])
    kinds = error_kinds(np.array([1, 2, 3, 1]), person, np.array([0, 0, 0, 0]), nobody, Some())
    assert kinds == ["r", "wf", "d", "n"]


def test_slices_are_means_over_their_queries():
    _, ranking, _, table = some_content()
    queries = table[table["split"] == "query"]
    found = attribute_slices(ranking, queries, queries["person_id"].to_numpy(object), SCHEMA)
    assert found
    for part in found:
        code = SCHEMA.attributes[SCHEMA.names.index(part.of)].classes.index(part.value)
        mask = torch.tensor((queries[part.of] == code).fillna(False).tolist())
        assert part.queries == mask.sum() >= 5
        assert part.mean_ap == pytest.approx(float(ranking.average_precision[mask].mean()))
        assert part.rank1 == pytest.approx(float((ranking.first_match_rank[mask] == 1).double().mean()))
        low, high = part.interval
        assert low < part.mean_ap < high


def test_who_is_taken_for_whom_by_hand():
    query = np.array(["a", "a", "a", "b", "c"], object)
    nearest = np.array(["b", "b", "a", "x", "a"], object)
    nobody = np.array([False, False, False, True, False])
    found = mistaken_people(query, nearest, nobody, np.array([True, True, True, True, False]))
    assert [(one.person, one.taken_for, one.times, one.queries) for one in found] == [
        ("a", "b", 2, 3),
        ("b", "", 1, 1),
    ]


def test_of_many_queries_the_worst_are_shown():
    precision = np.linspace(1, 0, 100)
    chosen = choose(precision, 100, 20)
    assert len(chosen) == 20
    assert set(range(95, 100)) <= set(chosen.tolist())
    assert chosen.min() == 0


def test_fewer_queries_are_shown_where_there_are_too_many_images():
    table = some_table()
    rows = some_rows(table)
    ranking = rank_rows(rows, PROTOCOL)
    every = ranked_lists_of(rows, ranking, PROTOCOL)
    few = ranked_lists_of(rows, ranking, PROTOCOL, most_images=60)
    assert len(few.images) <= 60 < len(every.images)
    worst = int(np.nanargmin(ranking.average_precision.numpy()))
    assert worst in few.position
    for place, position in enumerate(few.position):
        whole = int(np.flatnonzero(every.position == position)[0])
        assert few.nearest[place].tolist() == every.nearest[whole].tolist()
        assert few.rest[place] == every.rest[whole]


def test_data_come_back_and_foreign_ones_are_refused(tmp_path):
    content, *_ = some_content()
    write_data(content.data, tmp_path)
    assert read_data(tmp_path) == json.loads(json.dumps(content.data))
    for text in (
        "",
        "window.REID = {};\n",
        "alert(1)",
        "window.REID = " + "[" * 100_000,
        'window.REID = {"version": 7};\n',
    ):
        (tmp_path / "data.js").write_text(text)
        with pytest.raises(InputError, match="write it again with `reid report run"):
            read_data(tmp_path)
    (tmp_path / "data.js").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read_data(tmp_path)


def test_two_runs_are_compared_by_the_names_of_their_queries():
    table = some_table()
    first, one, *_ = some_content(0, "first", table)
    fewer = table.drop(index=[0, 1]).reset_index(drop=True)
    second, two, *_ = some_content(1, "second", fewer)
    data, origin = joined(first.data, second.data)
    assert [data["images"]["name"][image] for image in data["queries"]] == [
        f"album/q/{row}.jpg" for row in range(2, 12)
    ]
    found = compared(data)
    assert found.queries == 10
    assert found.mean_ap == pytest.approx(
        (float(one.average_precision[2:].mean()), float(two.average_precision.mean()))
    )
    assert found.gain == pytest.approx(found.mean_ap[1] - found.mean_ap[0])
    right = [(one.first_match_rank[2:] == 1).numpy(), (two.first_match_rank == 1).numpy()]
    assert found.both == (right[0] & right[1]).sum()
    assert found.both + found.first_only + found.second_only + found.neither == 10
    # an image of the joint data is that of the page it comes from
    for number, (side, image) in enumerate(origin):
        page = (first, second)[side].data
        assert data["images"]["name"][number] == page["images"]["name"][image]
    for run, side in zip(data["runs"], (first, second), strict=True):
        own = {side.data["images"]["name"][image]: row for row, image in enumerate(side.data["queries"])}
        for place, image in enumerate(data["queries"]):
            row = own[data["images"]["name"][image]]
            assert run["ap"][place] == side.data["runs"][0]["ap"][row]
            names = [data["images"]["name"][hit] for hit in run["lists"][place]]
            assert names == [side.data["images"]["name"][hit] for hit in side.data["runs"][0]["lists"][row]]


def test_runs_that_share_nothing_are_refused():
    first, *_ = some_content()
    other = some_table()
    other["path"] = other["path"].str.replace("/data/", "/data/x/")
    other.loc[0, "path"] = "/data/y.jpg"
    second, *_ = some_content(0, "second", other)
    with pytest.raises(InputError, match="share no query"):
        joined(first.data, second.data)
