from pathlib import Path

import pandas as pd
import pytest
from tiny_trees import write_market_tree


@pytest.fixture(scope="session")
def market_tree(tmp_path_factory) -> Path:
    return write_market_tree(tmp_path_factory.mktemp("market"))


@pytest.fixture
def rows():
    """Return a function that makes a table of `person_id`s with one image each."""

    def table(*people, split="train", **columns) -> pd.DataFrame:
        paths = [f"{row}.jpg" for row in range(len(people))]
        return pd.DataFrame({"path": paths, "person_id": people, "split": split} | columns)

    return table
