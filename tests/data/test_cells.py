import numpy as np
import pandas as pd
import pytest

from reid_lightning.data.cells import identifiers, integers, texts
from reid_lightning.data.column_names import PLAIN_COLUMNS, meaning
from reid_lightning.data.table import concatenate_tables, describe_table
from reid_lightning.errors import InputError


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([1, 1.0, "1", "1.0", " 1 ", "1.00"], ["1"] * 6),
        (["01", "0001.0", "1.5", 1.5, "-1.0", "v1.0"], ["01", "0001", "1.5", "1.5", "-1", "v1.0"]),
        ([None, np.nan, pd.NA, pd.NaT, "", " \t"], [pd.NA] * 6),
        ([True, "nan", "NA", 10**20], ["True", "nan", "NA", "100000000000000000000"]),
        (["Jos\xe9", "Jose\u0301"], ["Jos\xe9"] * 2),
        (pd.array([3, None], "Int64"), ["3", pd.NA]),
        (pd.Categorical([2.0, None]), ["2", pd.NA]),
        (np.array([2.0, np.nan], np.float32), ["2", pd.NA]),
    ],
)
def test_names_are_text_of_one_form(values, names):
    found = identifiers(pd.DataFrame({"n": values}), "n", "album")
    assert found.dtype == "string"
    assert found.tolist() == names


def test_an_absent_column_is_missing_everywhere():
    assert identifiers(pd.DataFrame({"a": [1, 2]}), "n", "album").isna().all()


def test_files_keep_their_names():
    table = pd.DataFrame({"path": ["1.0", " a b.jpg ", ""]})
    assert texts(table, "path", "album").tolist() == ["1.0", "a b.jpg", pd.NA]
    with pytest.raises(InputError, match=r"row 1 .*path holds a NUL character"):
        texts(pd.DataFrame({"path": ["a\0.jpg"]}), "path", "album")


def test_whole_numbers_may_be_text_or_fractions():
    table = pd.DataFrame({"frame_id": ["1", 2.0, "3.0", None, " ", "1e3"]})
    assert integers(table, "frame_id", "album").tolist() == [1, 2, 3, pd.NA, pd.NA, 1000]


@pytest.mark.parametrize(
    "name", [*PLAIN_COLUMNS, "height", "age_years", "protocol", "hat", "Backpack", "note", "weight"]
)
def test_own_names_mean_no_other_column(name):
    assert meaning(name) is None


def test_unknown_people_are_counted_and_distractors_are_nobody(rows):
    table = rows("7", None, -1, "", split="gallery", distractor=[False, False, False, True])
    both = concatenate_tables({"a": table})
    assert both["person_id"].tolist() == ["7", pd.NA, pd.NA, "distractor"]
    counts = {"images": 4, "identities": 1, "cameras": 0, "distractors": 1, "unknown": 2}
    assert describe_table(both).loc["gallery"].to_dict() == counts
