import numpy as np
import pandas as pd
import pytest
from helpers import write_plain_image

from reid_lightning.data.fingerprint import fingerprint
from reid_lightning.data.readers.table_file import read_table_file
from reid_lightning.data.table import concatenate_tables, numbers_of
from reid_lightning.errors import InputError

CSV = "path,person_id,split,camera_id\nimages/a.jpg,0007,train,1\n/data/b.jpg,NA,gallery,\n"


def test_csv_keeps_names_and_resolves_paths(tmp_path):
    (tmp_path / "people.csv").write_text(CSV)
    table = read_table_file(tmp_path / "people.csv")
    assert table["path"].tolist() == [str(tmp_path / "images/a.jpg"), "/data/b.jpg"]
    assert table["person_id"].tolist() == ["0007", "NA"]
    assert table["camera_id"].isna().tolist() == [False, True]


def test_paths_are_relative_to_the_file_not_to_the_process(tmp_path, monkeypatch):
    (tmp_path / "people.csv").write_text(CSV)
    monkeypatch.chdir(tmp_path)
    assert read_table_file("people.csv")["path"][0] == str(tmp_path / "images/a.jpg")


def test_tsv_and_parquet_read_like_csv(tmp_path):
    (tmp_path / "people.csv").write_text(CSV)
    (tmp_path / "people.tsv").write_text(CSV.replace(",", "\t"))
    expected = read_table_file(tmp_path / "people.csv").drop(columns="source")
    pd.testing.assert_frame_equal(read_table_file(tmp_path / "people.tsv").drop(columns="source"), expected)
    expected.to_parquet(tmp_path / "people.parquet")
    pd.testing.assert_frame_equal(
        read_table_file(tmp_path / "people.parquet").drop(columns="source"), expected
    )


def test_parquet_keeps_integers(tmp_path):
    rows = {"path": ["a.jpg", "b.jpg"], "person_id": [1, 2], "split": "train", "age": [3, None]}
    pd.DataFrame(rows).to_parquet(tmp_path / "people.parquet")
    table = read_table_file(tmp_path / "people.parquet")
    assert table["person_id"].tolist() == ["1", "2"]
    assert table["age"].isna().tolist() == [False, True]


def test_columns_can_be_named_otherwise(tmp_path):
    file = tmp_path / "people.csv"
    file.write_text(CSV.replace("person_id", "pid"))
    assert read_table_file(file, {"person_id": "pid"})["person_id"].tolist() == ["0007", "NA"]
    with pytest.raises(InputError, match=r"people.csv has no column id: it has path, pid, split, camera_id"):
        read_table_file(file, {"person_id": "id"})
    with pytest.raises(InputError, match=r"columns.person names no column"):
        read_table_file(file, {"person": "pid"})


def test_a_misspelt_column_is_not_passed_over(tmp_path):
    (tmp_path / "people.csv").write_text(CSV.replace("camera_id", "camera"))
    with pytest.raises(InputError, match="a column camera, which looks like camera_id"):
        read_table_file(tmp_path / "people.csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("people.txt", CSV, "ends neither in .csv"),
        ("people.csv", "", "cannot be read as CSV"),
        ("people.csv", 'a,b\n1,2,3\n"', "cannot be read as CSV"),
        ("people.parquet", CSV, "cannot be read as PARQUET"),
        (
            "people.csv",
            CSV.replace("gallery", "test"),
            r"people.csv, row 2 .*/data/b.jpg.: split is not one of",
        ),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_table_file(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.csv is not a file"):
        read_table_file(tmp_path / "nowhere.csv")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_measurements_of_a_file_are_kept_and_read(tmp_path, ending):
    file = tmp_path / f"people.{ending}"
    rows = pd.DataFrame({"path": ["a.jpg", "b.jpg"], "person_id": ["1", "2"], "split": "train"})
    rows["weight"] = [71.0625, None]
    rows.to_csv(file, index=False) if ending == "csv" else rows.to_parquet(file)
    weights = numbers_of(concatenate_tables({"people": read_table_file(file)}), "weight")
    np.testing.assert_array_equal(weights, [71.0625, np.nan])


def test_a_column_of_lists_has_a_fingerprint(tmp_path):
    write_plain_image(tmp_path / "a.jpg")
    found = []
    for box in ([1, 2], [1, 2], [1, 3]):
        rows = {"path": ["a.jpg"], "person_id": ["1"], "split": ["train"], "box": [box]}
        pd.DataFrame(rows).to_parquet(tmp_path / "people.parquet")
        found.append(fingerprint({"people": read_table_file(tmp_path / "people.parquet")}))
    assert found[0] == found[1] != found[2]
