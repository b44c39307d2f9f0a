"""Reports of a run: what they measure, draw and say."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from reid_lightning.results.reports.embedding_map import EmbeddingMapReport
from reid_lightning.results.reports.open_set import OpenSetReport
from reid_lightning.results.reports.reassociation import ReassociationReport
from reid_lightning.results.reports.verification import VerificationReport
from reid_lightning.retrieval.evaluation import EvaluationRows, calibrate_rows, open_set_rows, pairs_of_rows
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.retrieval.reassociation import Sightings, reassociation
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
        datamodule=SimpleNamespace(table=table, has_test=True),
        protocol=EvaluationProtocol(),
        device=torch.device("cpu"),
        rows=rows,
    )


def test_reassociation_asks_within_a_recording_and_distractors_are_wrong_answers(run, caplog):
    report = ReassociationReport([1, 100])
    bare = run.datamodule.table.assign(frame_id=pd.array([pd.NA] * 240, dtype="Int64"))
    assert report.scores(replace(run, datamodule=SimpleNamespace(table=bare, has_test=True))) == {}
    assert "give a table the columns camera_id (or sequence_id) and frame_id" in caplog.text
    row = np.arange(240)
    table = run.datamodule.table.assign(
        camera_id=pd.array((row % 4).astype(str), dtype="string"),
        sequence_id=pd.array([pd.NA] * 240, dtype="string"),
        frame_id=pd.array(row, dtype="Int64"),
    )
    table.loc[[5, 7], "frame_id"] = pd.NA
    other = replace(run, datamodule=SimpleNamespace(table=table, has_test=True))
    scores = report.scores(other)
    kept = np.setdiff1d(row, [5, 7])
    people = torch.where(torch.tensor(table["distractor"].to_numpy()), -1, run.rows.person_ids)
    expected = reassociation(
        Sightings(run.rows.vectors[kept], people[kept], torch.from_numpy(kept % 4), torch.from_numpy(kept)),
        [1, 100],
    )
    for one in expected:
        assert scores[f"found_from_{one.first}"] == one.rate
        assert scores[f"questions_from_{one.first}"] == one.questions > 0
    unknown = table.assign(camera_id=table["sequence_id"], sequence_id=table["camera_id"])
    assert report.scores(replace(run, datamodule=SimpleNamespace(table=unknown, has_test=True))) == scores
    assert report.line(scores).startswith(
        f"found again: {100 * expected[0].rate:.1f} after 1 to 99 frames (by chance"
    )
    with pytest.raises(ValueError, match="gaps must be rising"):
        ReassociationReport([5, 1])


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


def test_verification_says_its_rates_and_how_far_stated_probabilities_are_off(run, tmp_path):
    calibration = calibrate_rows(run.rows.select(run.rows.person_ids < 15), run.protocol)
    calibrated = Run(**{**vars(run), "calibration": calibration})
    report = VerificationReport(bins=10)
    scores = report.scores(calibrated)
    pairs = pairs_of_rows(run.rows, run.protocol)
    assert scores["same_pairs"] == len(pairs.same) == 180
    assert scores["calibration_error"] == calibration.reliability(pairs, bins=10).error
    assert scores["false_accepts_at_1e-1"] == np.mean(pairs.different <= calibration.threshold(0.1))
    line = report.line(scores)
    assert line.startswith(f"verification: equal error rate {100 * scores['eer']:.2f}; true accepts ")
    assert f"{100 * scores['tar_at_1e-2']:.1f} at 1e-2" in line
    assert line.endswith("180 pairs of one person and 6,120 of two")
    pictures = report.figures(calibrated, scores)
    assert [picture.path.name for picture in pictures] == ["roc.png", "reliability.png"]
    assert all(picture.path.read_bytes().startswith(b"\x89PNG") for picture in pictures)


def test_verification_without_a_calibration_or_without_pairs(run, caplog):
    report = VerificationReport()
    scores = report.scores(run)
    assert "calibration_error" not in scores
    assert [picture.path.name for picture in report.figures(run, scores)] == ["roc.png"]
    # People of the validation themselves say nothing about a calibration.
    seen = Run(
        **{
            **vars(run),
            "calibration": calibrate_rows(run.rows, run.protocol),
            "datamodule": SimpleNamespace(table=run.datamodule.table, has_test=False),
        }
    )
    assert "calibration_error" not in report.scores(seen)
    few = Run(**{**vars(run), "rows": run.rows.select(run.rows.person_ids == 3)})
    assert report.scores(few) == {}
    assert "report=verification measures nothing" in caplog.text
    assert report.figures(few, {}) == []
    assert report.line({}) is None
    assert report.scores(Run(**{**vars(run), "rows": None})) == {}


@pytest.mark.parametrize(
    ("report", "settings", "message"),
    [
        (VerificationReport, {"bins": 0}, r"^bins must be a whole number >= 1, got 0"),
        (OpenSetReport, {"nearest": 0}, r"^nearest must be a whole number >= 1, got 0"),
        (EmbeddingMapReport, {"people": 0}, r"^people must be a whole number >= 1, got 0"),
        (EmbeddingMapReport, {"images": 1.5}, r"^images must be a whole number >= 1, got 1.5"),
        (EmbeddingMapReport, {"perplexity": 0}, r"^perplexity must be > 0, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(report, settings, message):
    with pytest.raises(ValueError, match=message):
        report(**settings)
