"""The notebooks run as they stand, with fewer people and epochs."""

import json
import re
from pathlib import Path

import pytest
from helpers import environment, run_forked

NOTEBOOKS = Path(__file__).resolve().parents[1] / "examples" / "notebooks"
SMALL = {
    "PEOPLE, EPOCHS = 160, 8": "PEOPLE, EPOCHS = 40, 1",
    'PEOPLE, EPOCHS, SEEDS = 80, 4, "1,2,3"': 'PEOPLE, EPOCHS, SEEDS = 40, 1, "1,2"',
    "KNOWN, UNKNOWN, EPOCHS = 160, 80, 8": "KNOWN, UNKNOWN, EPOCHS = 40, 24, 1",
}
LEFT = {
    "from_folder_to_search": ("run/report.html", "gallery"),
    "a_sweep_and_what_it_says": ("sweep/sweep.html", "sweep/sweep.csv"),
    "cameras_without_labels": ("unlabelled/report.html", "groups.csv", "groups"),
}


def code_of(name: str) -> str:
    """Return the code of all cells, small; what a cell shows as its last line is printed."""
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    whole = "\n".join(re.sub(r"\n([\w.\[\]\"', ]+)$", r"\nprint(\1)", "\n" + part) for part in code)
    small = [line for line in SMALL if line in whole]
    assert len(small) == 1, f"the size of {name}"
    return whole.replace(small[0], SMALL[small[0]])


def test_every_notebook_is_run():
    assert {file.stem for file in NOTEBOOKS.glob("*.ipynb")} == set(LEFT)


@pytest.mark.parametrize("name", LEFT)
def test_notebooks_are_kept_without_what_they_showed(name):
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code")


@pytest.mark.slow
@pytest.mark.parametrize("name", LEFT)
def test_a_notebook_runs_to_its_end(name, tmp_path):
    cells = tmp_path / "cells.py"
    cells.write_text(code_of(name))
    run_forked(cells, where=environment(MPLBACKEND="Agg"), cwd=tmp_path)
    for left in LEFT[name]:
        assert (tmp_path / left).exists(), left
