"""A pipe or a folder in place of a file that others may have given is refused in a sentence, and never waited for."""

import json
import os

import numpy as np
import pandas as pd
import pytest

from reid_lightning import Gallery
from reid_lightning.errors import InputError
from reid_lightning.experiments.model_folder import read_model_folder
from reid_lightning.files import file_lock, require_regular
from reid_lightning.inference.gallery import removal_log
from reid_lightning.results.card_facts import CardFacts, read_facts

FILES = (
    "gallery.json", "removed.jsonl", "segments/000000.npy", "segments/000000.squares.npy", "segments/000000.parquet",
    "segments/000000.removed-2.npy", ".lock",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    gallery = Gallery.create(tmp_path / "gallery", 2)
    gallery.add(np.eye(2), pd.DataFrame({"path": ["a", "b"]}))
    gallery.remove(ids=[0], compact=False)
    return gallery.folder


def replace(file, kind):
    file.unlink()
    (os.mkfifo if kind == "pipe" else os.mkdir)(file)


def open_and_change(folder):
    assert len(Gallery(folder).removals) == 1
    Gallery(folder).remove(ids=[1])


@pytest.mark.parametrize("kind", ["pipe", "folder"])
@pytest.mark.parametrize("name", FILES)
def test_nothing_waits_for_a_pipe_in_a_gallery(folder, name, kind):
    opened = Gallery(folder)
    replace(folder / name, kind)
    with pytest.raises(InputError, match=name) as refused:
        open_and_change(folder)
    assert str(refused.value).count("\n") == 0
    if name.startswith("segments/"):
        with pytest.raises(InputError, match=f"{name} is damaged"):
            opened.check()
    if name == "removed.jsonl":
        with pytest.raises(InputError, match="move it away"):
            removal_log.append(folder, {"change": 3})


def test_a_large_log_is_not_read_whole(folder, monkeypatch):
    monkeypatch.setattr(removal_log, "LARGEST", 10)
    with pytest.raises(
        InputError, match=r"removed\.jsonl of what was removed cannot be used \(it has more than"
    ):
        Gallery(folder).removals  # noqa: B018


def test_nothing_waits_for_a_pipe_beside_a_model(tmp_path):
    os.mkfifo(tmp_path / "card.json")
    assert read_facts(tmp_path / "card.json") == CardFacts()
    os.mkfifo(tmp_path / "config.json")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError, match=r"it has no file config\.json"):
        read_model_folder(tmp_path)
    with pytest.raises(OSError, match="it is a pipe or a device"):
        require_regular(tmp_path / "config.json")
    with (
        pytest.raises(InputError, match=r"card\.json is not a file, and holds no lock"),
        file_lock(tmp_path / "card.json"),
    ):
        pass


def test_a_line_of_the_log_names_what_was_removed(folder):
    (line,) = Gallery(folder).removals
    assert (line["ids"], line["paths"]) == ([0], ["a"])
    assert json.loads((folder / "removed.jsonl").read_text()) == line
