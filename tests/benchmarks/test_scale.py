"""The arithmetic of docs/scale.md."""

import pytest
from helpers import REPOSITORY, run_python

PAGE = (REPOSITORY / "docs" / "scale.md").read_text()


def results(text):
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return {row[0]: row[2] for row in rows}


def test_the_page_shows_what_the_script_computes():
    assert run_python("benchmarks/scale.py").stdout.strip() in PAGE


def test_the_rates_are_those_of_the_benchmarks():
    measured = (REPOSITORY / "docs" / "benchmarks.md").read_text()
    for number in ("| 1,207 |", "| 168 |", "1,025 images/s", "| 131 s |", "| 177 s ", "| 128 (", "| 14.2 ("):
        assert number in measured, number


@pytest.mark.parametrize(("crops", "gpus"), [("864000000", 2), ("8640000000", 20)])
def test_ten_thousand_crops_a_second_with_a_peak_of_twice_that(crops, gpus):
    found = results(run_python("benchmarks/scale.py", "--crops", crops, "--gpu-rate", "10000").stdout)
    assert found["- - GPUs that embed"] == str(gpus)
