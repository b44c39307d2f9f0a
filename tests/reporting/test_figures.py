import numpy as np
import pandas as pd
import pytest
from helpers import run_python
from PIL import Image

from reid_lightning.errors import InputError
from reid_lightning.reporting import figures
from reid_lightning.reporting.figures import cmc_curve, learning_curves


def history():
    """What CSVLogger leaves of four epochs of ten steps: rows of training and of validation, with gaps."""
    rows = []
    for step in range(4, 40, 5):
        epoch = step // 10
        rows.append({"step": step, "epoch": epoch, "train/loss": 2.0, "train/triplet": 0.5, "train/lr": 1e-3})
        rows[-1] |= {"train/triplet/active_fraction": 0.3, "train/accuracy": 0.1}
        if step % 10 == 9:
            rows.append({"step": step, "epoch": epoch, "val/mAP": 0.4, "val/rank1": 0.6})
    return pd.DataFrame(rows)


def drawn(monkeypatch, draw):
    """The figure that a function draws, caught before it is written."""
    caught = []
    monkeypatch.setattr(figures, "save", lambda figure, path: caught.append(figure))
    draw()
    return caught[0]


def test_learning_curves_show_each_group_over_epochs(monkeypatch):
    figure = drawn(monkeypatch, lambda: learning_curves(history(), "unused"))
    shown = {axes.get_title("left"): {line.get_label(): line for line in axes.lines} for axes in figure.axes}
    assert {title: list(lines) for title, lines in shown.items() if len(lines) > 1} == {
        "Loss": ["total", "triplet"],  # neither accuracy nor diagnostics
        "Validation": ["mAP", "Rank-1"],
    }
    assert len(shown["Learning rate"]) == 1
    np.testing.assert_allclose(shown["Loss"]["total"].get_xdata(), np.arange(1, 9) / 2)
    np.testing.assert_allclose(shown["Validation"]["mAP"].get_xdata(), [1, 2, 3, 4])
    np.testing.assert_allclose(shown["Validation"]["mAP"].get_ydata(), 0.4)


def test_learning_curves_without_validation(tmp_path):
    only_training = history().drop(columns=["val/mAP", "val/rank1"]).dropna()
    learning_curves(only_training.iloc[:1], tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.width > image.height
    with pytest.raises(InputError, match="no curve yet"):
        learning_curves(pd.DataFrame(), tmp_path / "none.png")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def test_cmc_curve_draws_the_values_and_names_the_ranks(monkeypatch):
    cmc = np.linspace(0.5, 0.9, 12).tolist()
    axes = drawn(monkeypatch, lambda: cmc_curve(cmc, "unused", "Test $et")).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), cmc)
    np.testing.assert_allclose(axes.lines[0].get_xdata(), np.arange(1, 13))
    assert [text.get_text() for text in axes.texts] == ["Rank-1\n50.0", "Rank-5\n64.5", "Rank-10\n82.7"]


@pytest.mark.parametrize("cmc", [[1.0] * 10, [0.0] * 3, [0.3]])
def test_cmc_curve_of_extreme_values(cmc, tmp_path):
    cmc_curve(cmc, tmp_path / "cmc.png")
    cmc_curve(cmc, tmp_path / "cmc.svg")
    assert (tmp_path / "cmc.svg").read_text().startswith("<?xml")


def test_reporting_imports_neither_torch_nor_a_plotting_window(tmp_path):
    code = """
import sys
from reid_lightning.reporting import figures, page, ranked_lists
assert not {"torch", "lightning", "matplotlib"} & set(sys.modules)
figures.cmc_curve([0.5, 1.0], sys.argv[1])
assert "matplotlib.pyplot" not in sys.modules
"""
    run_python("-c", code, tmp_path / "cmc.png")
    assert (tmp_path / "cmc.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["curve", "curve.txt"])
def test_an_ending_that_is_no_picture_is_named(tmp_path, name):
    with pytest.raises(InputError, match=f"{name} names no picture"):
        cmc_curve([0.1, 0.2], tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match=r"folder\.png is a folder"):
        cmc_curve([0.1, 0.2], tmp_path / "folder.png")
