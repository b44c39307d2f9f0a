"""What the loggers' tables say of queries, beside what is known of a small evaluation."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from reid_lightning.results import logged
from reid_lightning.retrieval.camera_pairs import camera_pairs
from reid_lightning.retrieval.evaluation import EvaluationRows, rank_rows
from reid_lightning.retrieval.protocol import EvaluationProtocol

# angle, person, camera, query, distractor: the nearer the angles, the nearer the images
IMAGES = [
    (0, "a", 1, True, False),
    (50, "b", 1, True, False),
    (80, "c", 1, True, False),
    (1, "a", 2, False, False),
    (9, "b", 2, False, False),
    (14, "a", 2, False, False),
    (52, None, 2, False, True),
    (53, "b", 2, False, False),
    (55, "b", 1, False, False),  # of the second query's camera: left out
    (79, "a", 2, False, False),
    (20, "c", 2, False, False),
]


@pytest.fixture
def run(tmp_path):
    angles, people, cameras, queries, nobody = (list(column) for column in zip(*IMAGES, strict=True))
    table = pd.DataFrame(
        {
            "path": [str(tmp_path / f"{number}.jpg") for number in range(len(IMAGES))],
            "person_id": pd.array(people, "string"),
            "camera_id": pd.array([str(camera) for camera in cameras], "string"),
            "distractor": nobody,
            "source": "mine",
        }
    )
    radians = torch.deg2rad(torch.tensor(angles, dtype=torch.float64))
    codes = [-1 if person is None else ord(person) for person in people]
    is_query = torch.tensor(queries)
    rows = EvaluationRows(
        vectors=torch.stack([radians.cos(), radians.sin()], dim=1).float(),
        index=torch.arange(len(IMAGES)),
        person_ids=torch.tensor(codes),
        camera_ids=torch.tensor(cameras) - 1,  # places among the sorted names
        is_query=is_query,
    )
    protocol = EvaluationProtocol()
    return SimpleNamespace(
        rows=rows,
        protocol=protocol,
        ranking=rank_rows(rows, protocol),
        datamodule=SimpleNamespace(table=table),
    )


def test_the_worst_query_comes_first_with_the_ranks_of_its_matches(run):
    table = logged.tables_of(run)["query_table"]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [row["person"] for row in rows] == ["c", "b", "a"]
    # c: 79 a, 55 b, 53 b, 52 nobody, 20 c, ...; b: 52 nobody, 53 b, 79 a, 20 c, 14 a, 9 b, ...
    # a: 1 a, 9 b, 14 a, 20 c, 52 nobody, 53 b, 55 b, 79 a
    assert [row["ranks up to 10"] for row in rows] == ["5", "2 6", "1 3 8"]
    assert [row["first match"] for row in rows] == [5, 2, 1]
    assert [row["matches"] for row in rows] == [1, 2, 3]
    assert [row["AP"] for row in rows] == pytest.approx([1 / 5, (1 / 2 + 2 / 6) / 2, (1 + 2 / 3 + 3 / 8) / 3])
    assert [row["error"] for row in rows] == ["wrong person first", "distractor first", "right"]
    assert [row["camera"] for row in rows] == ["1", "1", "1"]


def test_a_list_says_of_each_image_whether_it_is_right_and_how_far(run):
    table = logged.tables_of(run)["lists"]
    captions = [[cell.caption for cell in row if cell is not None] for row in table.rows]
    assert [line[0] for line in captions] == ["c 1", "b 1", "a 1"]
    distance = 1 - np.cos(np.deg2rad(1))
    assert captions[2][1] == f"✓ {distance:.3f} a 2"
    assert captions[1][1].startswith("✗")
    assert "distractor" in captions[1][1]
    assert len(captions[1]) == 1 + 7  # the query, and the gallery without its own camera's image
    assert [len(row) for row in table.rows] == [1 + logged.LISTED] * 3


def test_pairs_of_cameras_and_the_curve(run):
    table = logged.tables_of(run, camera_pairs(run.rows, run.protocol))["camera_pairs"]
    (row,) = [dict(zip(table.columns, row, strict=True)) for row in table.rows if row[1] == "2"]
    assert (row["query camera"], row["queries"]) == ("1", 3)
    assert row["Rank-1"] == pytest.approx(1 / 3)
    curve = logged.curves_of(run)["cmc"]
    np.testing.assert_allclose(curve.points[:5], [(1, 1 / 3), (2, 2 / 3), (3, 2 / 3), (4, 2 / 3), (5, 1)])
    assert len(curve.points) == logged.LENGTH


def test_nobody_known_is_no_table(run):
    run.ranking = None
    assert logged.tables_of(run) == {}
    assert logged.curves_of(run) == {}
