"""metrics.csv is readable at any moment, and a continued run adds to the epochs that count."""

import pandas as pd
import torch

from reid_lightning.engine.metrics_file import MetricsFile


def log(file, epochs):
    for epoch in epochs:
        file.log_metrics({"train/loss": 0.1 + epoch, "epoch": epoch}, step=2 * epoch)
        file.log_metrics({"val/mAP": torch.tensor(0.5), "epoch": epoch}, step=2 * epoch + 1)


def test_new_columns_keep_the_rows(tmp_path):
    log(MetricsFile(tmp_path), range(2))
    rows = pd.read_csv(tmp_path / "metrics.csv")
    assert list(rows.columns) == ["epoch", "step", "train/loss", "val/mAP"]
    assert rows["train/loss"].dropna().tolist() == [0.1, 1.1]
    assert rows["step"].tolist() == [0, 1, 2, 3]


def test_a_continued_run_ends_with_the_rows_of_an_uninterrupted_one(tmp_path):
    log(MetricsFile(tmp_path / "whole"), range(4))
    parts = MetricsFile(tmp_path / "parts")
    log(parts, range(3))
    parts.log_metrics({"test/mAP": 0.4, "epoch": 3}, step=6)
    with (tmp_path / "parts" / "metrics.csv").open("a") as file:
        file.write("3,7,0.")  # killed in the middle
    log(MetricsFile(tmp_path / "parts", epochs=2), range(2, 4))
    assert (tmp_path / "parts" / "metrics.csv").read_text() == (
        tmp_path / "whole" / "metrics.csv"
    ).read_text()


def test_a_new_run_begins_anew(tmp_path):
    log(MetricsFile(tmp_path), range(3))
    log(MetricsFile(tmp_path), range(1))
    assert len(pd.read_csv(tmp_path / "metrics.csv")) == 2


def test_a_file_that_was_emptied_is_no_obstacle(tmp_path):
    (tmp_path / "metrics.csv").write_text("")
    log(MetricsFile(tmp_path, epochs=3), range(3, 4))
    assert len(pd.read_csv(tmp_path / "metrics.csv")) == 2


def test_the_rows_before_a_run_was_continued_are_numbers_by_step(tmp_path):
    first = MetricsFile(tmp_path)
    assert first.earlier() == []
    first.log_metrics({"epoch": 0, "train/loss": 2.5}, step=3)
    first.log_metrics({"epoch": 0, "val/mAP": 0.25}, step=5)
    first.log_metrics({"epoch": 1, "train/loss": 1.5}, step=9)
    assert MetricsFile(tmp_path, epochs=1).earlier() == [
        (3, {"epoch": 0.0, "train/loss": 2.5}),
        (5, {"epoch": 0.0, "val/mAP": 0.25}),
    ]
    assert MetricsFile(tmp_path).earlier() == []
