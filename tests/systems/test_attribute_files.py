"""The files and pictures that a test of attributes leaves."""

import numpy as np
import pandas as pd
import pytest
import torch

from reid_lightning.data.annotations import AttributeForm, read_attributes
from reid_lightning.data.attributes import MARKET12
from reid_lightning.data.table import validate_table
from reid_lightning.experiments.evaluate import evaluate, load_module
from reid_lightning.experiments.run import run_job
from reid_lightning.reporting.ranked_files import file_names
from reid_lightning.retrieval.evaluation import EvaluationRows
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.systems.attributes.files import draw_attributes, write_attribute_files
from reid_lightning.systems.attributes.metric import AttributeEvaluation
from reid_lightning.systems.attributes.scores import AttributeRows


def example(count=40, seed=0):
    """Return a table of a test, what was ranked, and random predictions."""
    generator = torch.Generator().manual_seed(seed)
    people = torch.arange(count) % 8
    cameras = torch.arange(count) // 8 % 3
    is_query = torch.arange(count) < 8
    rows = {
        "path": [f"/data/set/{k:04d}.jpg" for k in range(count)],
        "person_id": [str(int(p)) if k < count - 6 else "nobody" for k, p in enumerate(people)],
        "camera_id": [str(int(c)) for c in cameras],
        "split": ["query" if q else "gallery" for q in is_query],
        "distractor": [k >= count - 6 for k in range(count)],
    }
    ranked = EvaluationRows(
        torch.randn(count, 16, generator=generator),
        people,
        cameras,
        index=torch.arange(count),
        is_query=is_query,
    )
    logits = torch.randn(count, MARKET12.num_outputs, generator=generator)
    blocks = [block.softmax(1) for block in logits.split(list(MARKET12.sizes), dim=1)]
    targets = torch.stack(
        [torch.randint(-1, size, (count,), generator=generator) for size in MARKET12.sizes], 1
    )
    answers = AttributeRows(
        torch.arange(count), torch.cat(blocks, 1), targets, torch.rand(count, generator=generator)
    )
    return validate_table(pd.DataFrame(rows), "set"), ranked, answers


def test_predictions_are_written_in_the_tables_form_for_every_image(tmp_path):
    table, ranked, answers = example()
    write_attribute_files(
        answers, ranked, EvaluationProtocol(), table, MARKET12, AttributeForm.of_schema(MARKET12), 5, tmp_path
    )
    written = pd.read_csv(tmp_path / "classification_test.csv")
    assert list(written.columns) == ["id", *MARKET12.names, "squared_scores"]
    assert written["id"].tolist() == [f"{k:04d}.jpg" for k in range(40)]
    for attribute, place in zip(MARKET12, MARKET12.slices, strict=True):
        assert written[attribute.name].tolist() == answers.probabilities[:, place].argmax(1).tolist()
    assert written["squared_scores"].tolist() == pytest.approx(answers.squared_scores.tolist(), abs=1e-6)


def test_ranked_files_follow_the_mean_squared_error_without_the_same_camera(tmp_path):
    table, ranked, answers = example()
    write_attribute_files(
        answers, ranked, EvaluationProtocol(), table, MARKET12, AttributeForm.of_schema(MARKET12), 5, tmp_path
    )
    lines = (tmp_path / "reid_test.txt").read_text().splitlines()
    assert len(lines) == 8
    for number, line in enumerate(lines):
        query, files = line.split(": ")
        errors = {}
        for k in range(8, 40):
            same = ranked.person_ids[k] == ranked.person_ids[number]
            if not (same and ranked.camera_ids[k] == ranked.camera_ids[number]):
                error = (ranked.vectors[k] - ranked.vectors[number]).square().mean()
                errors[f"{k:04d}.jpg"] = float(error)
        assert query == f"{number:04d}.jpg"
        assert files.split(", ") == sorted(errors, key=errors.__getitem__)[:5]


def test_files_of_one_name_are_told_apart_by_their_paths():
    table, _, _ = example()
    table["path"] = [f"/data/{person}/1.jpg" for person in range(len(table))]
    assert file_names(table)[3] == "/data/3/1.jpg"


def test_pictures_are_drawn_for_what_is_known(tmp_path):
    table, _, answers = example()
    evaluation = AttributeEvaluation(MARKET12.names, MARKET12.sizes)
    evaluation.majority = [0] * 12
    evaluation.update(answers.probabilities, answers.squared_scores, answers.targets, answers.index)
    scores = evaluation.compute()
    drawn = draw_attributes(scores, answers, table, MARKET12, tmp_path)
    assert [picture.path.name for picture in drawn] == [
        "attributes.png", "attribute_confusions.png", "distractors.png",
    ]  # fmt: skip
    assert all(picture.path.stat().st_size > 1000 for picture in drawn)
    area = float(drawn[-1].caption.rsplit(" ", 1)[1].rstrip("."))
    low, high = answers.squared_scores[-6:], answers.squared_scores[:-6]
    pairs = [(a < b) + 0.5 * (a == b) for a in low.tolist() for b in high.tolist()]
    assert area == pytest.approx(np.mean(pairs), abs=6e-4)
    nothing = AttributeRows(
        answers.index, answers.probabilities, torch.full_like(answers.targets, -1), answers.squared_scores
    )
    evaluation.reset()
    evaluation.update(nothing.probabilities, nothing.squared_scores, nothing.targets, nothing.index)
    only = draw_attributes(evaluation.compute(), nothing, table.assign(distractor=False), MARKET12, tmp_path)
    assert only == []


def test_the_bars_are_the_scores_sorted_by_what_is_gained_over_always_one_class(tmp_path, monkeypatch):
    table, _, answers = example()
    evaluation = AttributeEvaluation(MARKET12.names, MARKET12.sizes)
    evaluation.majority = [0] * 12
    evaluation.update(answers.probabilities, answers.squared_scores, answers.targets, answers.index)
    scores, drawn = evaluation.compute(), {}
    summary = scores.summary()

    def keep(titles, values, path):
        drawn.update(values, titles=titles)
        path.write_bytes(b"")

    monkeypatch.setattr("reid_lightning.systems.attributes.files.attribute_bars", keep)
    picture = draw_attributes(scores, answers, table, MARKET12, tmp_path)[0]
    names = [next(a.name for a in MARKET12 if a.title == title) for title in drawn["titles"]]
    for name in ("accuracy", "balanced_accuracy", "majority"):
        assert drawn[name] == [summary[f"{attribute}/{name}"] for attribute in names]
    gains = [a - m for a, m in zip(drawn["accuracy"], drawn["majority"], strict=True)]
    assert gains == sorted(gains, reverse=True)
    assert f"which {sum(gain > 0 for gain in gains)} of {len(names)} exceed" in picture.caption
    for attribute, found in zip(names, drawn["balanced_majority"], strict=True):
        true = answers.targets[:, MARKET12.names.index(attribute)]
        true = true[true >= 0]
        recalls = [float(c == 0) for c in true.unique().tolist()]  # of answering class 0 always
        assert found == pytest.approx(np.mean(recalls))


@pytest.mark.slow
def test_a_run_leaves_both_files_which_parse_back_and_hold_under_a_rerun(compose, tiny, tmp_path):
    config = compose(*tiny, "attributes=market12", "trainer.max_epochs=1", "attributes.gallery_files=7")
    result = run_job(config)
    folder = tmp_path / "run"
    assert {"accuracy", "mean_accuracy", "majority", "upper_color/macro_f1"} <= result.reports[
        "attributes"
    ].keys()
    classified = pd.read_csv(folder / "classification_test.csv")
    queries = pd.read_csv(folder / "queries.csv")
    lines = (folder / "reid_test.txt").read_text().splitlines()
    assert [line.split(": ")[0] for line in lines] == queries["path"].str.rsplit("/").str[-1].tolist()
    assert all(len(line.split(": ")[1].split(", ")) == 7 for line in lines)
    listed = {name for line in lines for name in line.split(": ")[1].split(", ")}
    assert listed | {line.split(": ")[0] for line in lines} <= set(classified["image_index"])
    codes = read_attributes(folder / "classification_test.csv").codes  # the annotations' own form
    assert len(codes) == len(classified)
    again = evaluate(folder / "checkpoints" / "best.ckpt", tmp_path / "again")
    assert (
        load_module(folder / "checkpoints" / "best.ckpt")[0].objective.tasks["attributes"].form.columns[0]
        == "age"
    )  # travels along
    for name in ("classification_test.csv", "reid_test.txt"):
        assert (tmp_path / "again" / name).read_text() == (folder / name).read_text()
    assert again.reports["attributes"] == pytest.approx(result.reports["attributes"])
