"""Reports of a run: what they measure, draw and say."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from reid_lightning.results.reports.embedding_map import EmbeddingMapReport
from reid_lightning.results.reports.open_set import OpenSetReport
from reid_lightning.retrieval.evaluation import EvaluationRows, open_set_rows
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.systems.task import Run


@pytest.fixture
def run(tmp_path):
    """A run after an evaluation of 30 people, some of whose gallery images are distractors."""
    generator = torch.Generator().manual_seed(0)
    people, is_query = torch.arange(240) % 30, torch.arange(240) % 8 == 0
    rows = EvaluationRows(
        torch.randn(30, 8, generator=generator)[people] + torch.randn(240, 8, generator=generator),
        people,
        torch.full((240,), -1),
        index=torch.arange(240),
        is_query=is_query,
    )
    table = pd.DataFrame(
        {
            "path": [f"{row}.jpg" for row in range(240)],
            "source": "set",
            "person_id": [str(person) for person in people.tolist()],
            "camera_id": pd.array([pd.NA] * 240, dtype="string"),
            "distractor": (np.arange(240) >= 80) & ~is_query.numpy(),
        }
    )
    return Run(
        config={},
        output_dir=tmp_path,
        network=None,
        datamodule=SimpleNamespace(table=table),
        protocol=EvaluationProtocol(),
        device=torch.device("cpu"),
        rows=rows,
    )


def test_open_set_leaves_distractors_out_and_says_its_numbers(run):
    report = OpenSetReport(nearest=3)
    scores = report.scores(run)
    nobody = torch.tensor(run.datamodule.table["distractor"].to_numpy())
    assert scores == open_set_rows(run.rows.select(~nobody), 3, run.protocol)
    assert scores != open_set_rows(run.rows, 3, run.protocol)
    line = report.line(scores)
    assert line.startswith(f"open set: {100 * scores['rate']:.1f} named right with all enrolled")
    assert f"{100 * scores['detected_at_10']:.1f} within {scores['threshold_at_10']:.3f}, where 10 %" in line


def test_open_set_of_too_few_people_measures_nothing(run, caplog):
    few = Run(**{**vars(run), "rows": run.rows.select(run.rows.person_ids == 3)})
    report = OpenSetReport()
    assert report.scores(few) == {}
    assert "report=open_set measures nothing" in caplog.text
    assert report.line({}) is None
    assert report.scores(Run(**{**vars(run), "rows": None})) == {}


def test_the_map_is_drawn_where_there_is_something_to_lay_out(run, tmp_path):
    report = EmbeddingMapReport(people=4, images=60)
    (picture,) = report.figures(run, {})
    assert picture.path == tmp_path / "embedding_map.png"
    assert picture.path.read_bytes().startswith(b"\x89PNG")
    assert "of 240 images by t-SNE" in picture.caption
    for some in (run.rows.select(torch.arange(3)), run.rows.select(torch.zeros(40, dtype=torch.long)), None):
        assert report.figures(Run(**{**vars(run), "rows": some}), {}) == []


@pytest.mark.parametrize(
    ("report", "settings", "message"),
    [
        (OpenSetReport, {"nearest": 0}, r"^nearest must be a whole number >= 1, got 0"),
        (EmbeddingMapReport, {"people": 0}, r"^people must be a whole number >= 1, got 0"),
        (EmbeddingMapReport, {"images": 1.5}, r"^images must be a whole number >= 1, got 1.5"),
        (EmbeddingMapReport, {"perplexity": 0}, r"^perplexity must be > 0, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(report, settings, message):
    with pytest.raises(ValueError, match=message):
        report(**settings)
