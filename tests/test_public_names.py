"""The public names: all there, documented, and free of charge until they are used."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import reid_lightning

REPOSITORY = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "lightning", "pandas", "numpy", "hydra", "omegaconf", "albumentations", "torchmetrics"}


@pytest.mark.parametrize("name", reid_lightning.__all__)
def test_every_name_is_there_and_documented(name):
    named = getattr(reid_lightning, name)
    assert named.__name__ == name
    assert inspect.getdoc(named)
    assert vars(sys.modules[named.__module__])[name] is named


def test_names_are_listed_and_nothing_heavy_is_imported_before_use():
    code = (
        "import json, sys, reid_lightning; listed = dir(reid_lightning)\n"
        "before = sorted(sys.modules); reid_lightning.InputError; after = sorted(sys.modules)\n"
        "print(json.dumps([listed, before, after]))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True, cwd=REPOSITORY
    )
    listed, before, after = json.loads(shown.stdout)
    assert set(reid_lightning.__all__) <= set(listed)
    assert {"__doc__", "__version__"} <= set(listed)
    assert [name for name in before if name.startswith("reid_lightning")] == ["reid_lightning"]
    assert not HEAVY & set(after)
    assert set(after) - set(before) == {"reid_lightning.errors"}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'reid_lightning' has no attribute 'ReIDModul'"):
        reid_lightning.ReIDModul  # noqa: B018


def test_the_package_says_that_it_is_typed():
    assert (Path(reid_lightning.__file__).parent / "py.typed").is_file()
