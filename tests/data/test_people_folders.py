"""Generated people as a folder per person."""

import pytest

from reid_lightning.data.pedestrians.folders import write_people
from reid_lightning.data.readers.identity_folder import read_identity_folder
from reid_lightning.errors import InputError


def test_people_are_written_and_read_back(tmp_path):
    count = write_people(tmp_path / "people", people=20, cameras=3)
    table = read_identity_folder(tmp_path / "people", camera_pattern="_c(?P<camera>[0-9]+)_")
    assert len(table) == count
    assert sorted(table["person_id"].unique()) == [f"p{number:04}" for number in range(1, 21)]
    assert set(table["camera_id"].astype(str)) <= {"1", "2", "3"}
    with pytest.raises(InputError, match="exists already; name a new folder"):
        write_people(tmp_path / "people")
    with pytest.raises(InputError, match="--people must be 1 or more, got 0"):
        write_people(tmp_path / "none", people=0)
