"""`reid data check` says what a run would stumble over: missing splits, and a validation that is too small."""

import cv2
import numpy as np
import pandas as pd
import pytest

from reid_lightning.experiments.inspect_data import print_counts


@pytest.fixture
def data(tmp_path):
    """Return a function that writes images of people with a table of them, and returns the settings that read it."""

    def write(**splits: int) -> list[str]:
        rows = []
        for split, people in splits.items():
            for person in range(people):
                name = "test" if split in ("query", "gallery") else split
                for shot in range(2):
                    path = tmp_path / f"{split}_{person}_{shot}.png"
                    noise = np.random.default_rng(len(rows)).integers(0, 256, (16, 8, 3), np.uint8)
                    cv2.imwrite(str(path), noise)
                    rows.append((path.name, f"{name}{person}", split))
        table = tmp_path / "people.csv"
        pd.DataFrame(rows, columns=["path", "person_id", "split"]).to_csv(table, index=False)
        return ["data=table", f"data.root={table}", "data.image_size=[16,8]", "data.cache=false"]

    return write


def said(overrides, capsys) -> str:
    print_counts([*overrides, "backbone.weights=null"])
    return " ".join(capsys.readouterr().err.split())


def test_missing_splits_are_named(data, capsys):
    assert "There is no test set (splits query and gallery)" in said(data(train=120), capsys)
    assert "There are no training images (split train)" in said(data(query=4, gallery=4), capsys)


def test_a_small_validation_is_named(data, capsys):
    told = said(data(train=30, query=4, gallery=4), capsys)
    assert "validation has 3 queries with a true match, of 3 people, too few to choose an epoch by" in told
    assert said(data(train=200, query=4, gallery=4), capsys) == ""


def test_what_a_run_would_refuse_is_named(data, capsys):
    assert "A run would refuse this data: " in said(data(train=2, query=4, gallery=4), capsys)
