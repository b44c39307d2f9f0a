import numpy as np
import pandas as pd
import pytest

from reid_lightning.data.attributes import MARKET12
from reid_lightning.data.table import (
    camera_keys,
    concatenate_tables,
    describe_table,
    identity_keys,
    numbers_of,
    validate_table,
)
from reid_lightning.errors import InputError


def test_attribute_schema_has_12_names_and_41_classes():
    assert len({attribute.name for attribute in MARKET12}) == 12
    assert sum(len(attribute.classes) for attribute in MARKET12) == 41


@pytest.mark.parametrize("people", [[7, 12], ["7", "12"], [7.0, 12.0], np.array([7, 12], np.uint8)])
def test_integer_and_string_identities_become_the_same_strings(rows, people):
    assert validate_table(rows(*people))["person_id"].tolist() == ["7", "12"]


def test_missing_columns_are_filled_and_order_is_kept(rows):
    table = validate_table(rows("b", "a"), "album")
    assert table["person_id"].tolist() == ["b", "a"]
    assert table["camera_id"].isna().all()
    assert table["frame_id"].isna().all()
    assert not table["distractor"].any()
    assert set(table["source"]) == {"album"}


def test_integer_cameras_with_gaps_become_names(rows):
    cameras = validate_table(rows(1, 2, 3, camera_id=[1, np.nan, 2]))["camera_id"]
    assert cameras.isna().tolist() == [False, True, False]
    assert cameras.dropna().tolist() == ["1", "2"]


def test_validation_is_idempotent(rows):
    once = validate_table(rows(1, 2, camera_id=["a", ""], age=[3, None], frame_id=["5", ""]))
    pd.testing.assert_frame_equal(once, validate_table(once))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"split": ["train", None]}, r"people\.csv, row 2 \(1\.jpg\): split is empty"),
        ({"path": ["a.jpg", " "]}, r"row 2 \( \): path is empty"),
        ({"split": ["train", "test"]}, r"row 2 .* split is not one of train, val, query, gallery but 'test'"),
        ({"frame_id": ["1", "x"]}, "row 2 .* frame_id is not an integer but 'x'"),
        ({"frame_id": [1, 2.5]}, r"row 2 .* frame_id is not an integer but '2\.5'"),
        ({"distractor": ["maybe", "perhaps"]}, "row 1 .* neither true nor false but 'maybe' .and 1 more"),
        ({"distractor": [False, True]}, "row 2 .* a distractor belongs to the gallery"),
    ],
)
def test_bad_rows_are_named(rows, columns, message):
    with pytest.raises(InputError, match=message):
        validate_table(rows(1, 2).assign(**columns), "people.csv")


def test_absent_columns_and_empty_tables_are_named(rows):
    with pytest.raises(InputError, match=r"has no column split: .* path, person_id"):
        validate_table(rows(1).drop(columns="split"))
    with pytest.raises(InputError, match="holds no images"):
        validate_table(rows())
    with pytest.raises(InputError, match="No data set is chosen"):
        concatenate_tables({})


def test_sources_keep_identities_and_cameras_apart(rows):
    one, two = rows(1, 2, camera_id=["c", "c"]), rows(1, camera_id=[None], hat=[1])
    both = concatenate_tables({"a": one, "b": two})
    assert identity_keys(both).tolist() == ["a/1", "a/2", "b/1"]
    assert camera_keys(both).tolist()[:2] == ["a/c", "a/c"]
    assert pd.isna(camera_keys(both)[2])
    assert both["hat"].isna().tolist() == [True, True, False]
    assert both["distractor"].dtype == bool


def test_counts_leave_distractors_out_of_the_identities(rows):
    table = rows(1, 1, 2, 0, split="gallery", camera_id=[1, 2, 1, 3], distractor=[False, False, False, True])
    counts = describe_table(concatenate_tables({"a": table, "b": rows(5)}))
    assert counts.index.tolist() == ["train", "gallery"]
    assert counts.loc["gallery"].to_dict() == {"images": 4, "identities": 2, "cameras": 3, "distractors": 1}


def test_further_columns_are_kept_and_unknown_in_other_sources(rows):
    heights = [171.25, np.nan]
    both = concatenate_tables({"a": rows(1, 2, height=heights, note=["x", "y"]), "b": rows(3)})
    assert both["height"].dtype == np.float64
    np.testing.assert_array_equal(both["height"], [*heights, np.nan])
    assert both["note"].tolist()[:2] == ["x", "y"]
    assert both["note"].isna().tolist() == [False, False, True]


def test_numbers_are_read_from_text_and_numbers_alike(rows):
    """A CSV file brings text, a Parquet file numbers, and both may be sources of one run."""
    sources = {
        "csv": rows(1, 2, 3, height=["171.25", " ", None]),
        "parquet": rows(1, 2, height=[160.5, np.nan]),
        "integers": rows(1, 2, height=pd.array([150, None], "Int64")),
        "none": rows(1),
    }
    expected = [171.25, np.nan, np.nan, 160.5, np.nan, 150, np.nan, np.nan]
    numbers = numbers_of(concatenate_tables(sources), "height")
    assert numbers.dtype == np.float64
    np.testing.assert_array_equal(numbers, expected)


@pytest.mark.parametrize(
    ("heights", "message"),
    [
        (["171", "tall"], r"shop, row 2 \(1\.jpg\): height is not a finite number but 'tall'"),
        (["nan", "171"], r"shop, row 1 \(0\.jpg\): height is not a finite number but 'nan'"),
        ([171.0, np.inf], r"shop, row 2 \(1\.jpg\): height is not a finite number but 'inf'"),
        (["inf", "-inf"], r"shop, row 1 .* but 'inf' \(and 1 more rows\)"),
        ([True, False], r"shop, row 1 .* height is not a finite number but 'True' \(and 1 more rows\)"),
    ],
)
def test_numbers_that_cannot_be_used_are_named_by_source_and_row(rows, heights, message):
    """Rows count within their source."""
    table = concatenate_tables({"album": rows(8, 9, 10), "shop": rows(1, 2, height=heights)})
    with pytest.raises(InputError, match=message):
        numbers_of(table, "height")


def test_true_and_false_are_no_numbers(rows):
    with pytest.raises(InputError, match=r"row 1 .* but 'True'"):
        numbers_of(concatenate_tables({"shop": rows(1, 2, height=[True, False])}), "height")


def test_numbers_of_an_absent_column_name_the_columns(rows):
    with pytest.raises(InputError, match=r"no column height: it has path, person_id, split"):
        numbers_of(concatenate_tables({"a": rows(1)}), "height")
