"""Changes that are cut off at any write leave the gallery as it was before or after them."""

import json
import os
import random
import shutil
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import start_forked, wait_until

import reid_lightning.files as files
from reid_lightning import Gallery
from reid_lightning.errors import InputError
from reid_lightning.inference.gallery import gallery as gallery_module
from reid_lightning.inference.gallery import index, manifest, removal_log, segments


class Killed(BaseException):
    """The process has been killed: nothing catches it."""


def content(folder):
    """What a reader sees, the log included."""
    gallery = Gallery(folder)
    table = gallery.table()
    gallery.check()
    return (
        table["id"].tolist(),
        gallery.vectors(table["id"]).tolist(),
        len(gallery.removals),
        gallery.manifest.index,
    )


def rows(count, first):
    return pd.DataFrame({"path": [f"{n}.jpg" for n in range(first, first + count)], "person_id": "p"})


def filled(folder):
    gallery = Gallery.create(folder, 4)
    random_numbers = np.random.default_rng(0)
    for part in range(2):
        gallery.add(random_numbers.normal(size=(50, 4)), rows(50, 50 * part))
    gallery.remove(ids=[3, 60], compact=False)
    return gallery


CHANGES = {
    "add": lambda gallery: gallery.add(np.ones((7, 4)), rows(7, 100)),
    "remove": lambda gallery: gallery.remove(ids=[5, 6, 70], compact=False),
    "compact": lambda gallery: gallery.compact(),
    "remove and compact": lambda gallery: gallery.remove(ids=[5, 6, 70]),
    "index": lambda gallery: gallery.index("ivf_pq"),
}


def cut_off(monkeypatch, at):
    """Let the process end at its n-th step that reaches the disk; what stands in `finally` is not done either."""
    steps = [0]

    def counted(work):
        def step(*arguments, **named):
            steps[0] += 1
            if steps[0] == at:
                monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # the killed leave their files
                raise Killed
            return work(*arguments, **named)

        return step

    monkeypatch.setattr(files, "_to_disk", counted(files._to_disk))
    monkeypatch.setattr(Path, "replace", counted(Path.replace))
    monkeypatch.setattr(os, "fsync", counted(os.fsync))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    for module in (segments, index, gallery_module, manifest, removal_log):
        for name in ("write_array", "write_segment", "file_digest", "remove_strays", "append"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, counted(getattr(module, name)))
    return steps


OFTEN = ("add", "remove and compact")


@pytest.mark.parametrize(
    "change", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in CHANGES]
)
def test_cut_off_at_each_write_in_turn(tmp_path, monkeypatch, change):
    if change == "index":
        pytest.importorskip("faiss")
    filled(tmp_path / "before")
    whole = Gallery(shutil.copytree(tmp_path / "before", tmp_path / "whole"))
    before = content(whole.folder)
    CHANGES[change](whole)
    after = content(whole.folder)
    seen, at = set(), 0
    while True:
        at += 1
        gallery = Gallery(shutil.copytree(tmp_path / "before", tmp_path / f"g{at}"))
        steps = cut_off(monkeypatch, at)
        try:
            CHANGES[change](gallery)
        except Killed:
            pass
        finally:
            monkeypatch.undo()
        found = content(gallery.folder)
        assert found in (before, after), at
        seen.add(found == after)
        if steps[0] < at:
            break
        # The next writer starts from there, and nothing of the killed one stays.
        if found == before:
            CHANGES[change](gallery)
            assert content(gallery.folder) == after
        with gallery.store.changing():
            pass
        # Temporary files stay as long as their writer runs, which here is this process.
        names = {path.name for path in (gallery.folder / "segments").glob("[!.]*")}
        assert names == gallery.manifest.files
        lines = (gallery.folder / "removed.jsonl").read_text().splitlines()
        assert len({json.loads(line)["change"] for line in lines}) == len(gallery.removals)
    assert seen == ({True, False} if before != after else {True})
    assert at > 4


@pytest.mark.parametrize("change", OFTEN)
def test_a_full_disk_is_one_sentence_and_changes_nothing(tmp_path, monkeypatch, change):
    gallery = filled(tmp_path / "g")
    before = content(gallery.folder)

    def full(path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(files, "_to_disk", full)
    with pytest.raises(InputError, match=r"cannot be written because the disk of .* is full"):
        CHANGES[change](gallery)
    monkeypatch.undo()
    assert content(gallery.folder) == before
    with gallery.store.changing():
        pass
    assert {path.name for path in (gallery.folder / "segments").iterdir()} == gallery.manifest.files


def test_a_log_that_people_changed_is_kept(tmp_path):
    gallery = filled(tmp_path / "g")
    log = gallery.folder / "removed.jsonl"
    log.write_bytes(b"a note\n" + log.read_bytes() + b"another note\n")
    gallery.remove(ids=[9])
    assert [entry["ids"] for entry in gallery.removals] == [[3, 60], [9]]
    assert log.read_bytes().startswith(b"a note\n")
    assert b"another note\n" in log.read_bytes()
    log.unlink()
    gallery.remove(ids=[10])
    assert [entry["ids"] for entry in gallery.removals] == [[10]]


WRITER = """
import sys, numpy as np, pandas as pd
from reid_lightning import Gallery
from reid_lightning.inference.gallery import compact
compact.LARGEST = 400
gallery = Gallery(sys.argv[1])
print("ready", flush=True)
while True:
    first = gallery.manifest.next_id
    table = pd.DataFrame({"path": [f"{n}.jpg" for n in range(first, first + 25)]})
    gallery.add(np.random.default_rng(first).normal(size=(25, 16)), table)
    print("added", first, flush=True)
    if first // 25 % 3 == 2:
        gallery.remove(ids=[first - 50, first])
        print("removed", first - 50, first, flush=True)
"""


KILLS = 30


@pytest.mark.slow
def test_kills_while_images_are_added_and_removed(tmp_path):
    folder = tmp_path / "g"
    Gallery.create(folder, 16)
    script = tmp_path / "writer.py"
    script.write_text(WRITER)
    draw = random.Random(0)
    added, removed = set(), set()
    for kill in range(KILLS):
        writer = start_forked(script, folder)
        try:
            lines = draw.randint(1, 5)
            wait_until(lambda writer=writer, lines=lines: writer.out.count("\n") >= lines, writer)
            writer.after(draw.uniform(0, 0.1))
        finally:
            ended = writer.kill()
        for line in ended.out.splitlines(keepends=True):
            word, *numbers = line.split()
            if word == "added" and line.endswith("\n"):
                added |= set(range(int(numbers[0]), int(numbers[0]) + 25))
            elif word == "removed" and line.endswith("\n"):
                removed |= set(map(int, numbers))
        assert ended.code == -signal.SIGKILL
        gallery = Gallery(folder)
        gallery.check()
        ids = set(gallery.table()["id"])
        gone = {number for entry in gallery.removals for number in entry["ids"]}
        # What was said to be done is done; of the change under way, everything or nothing.
        assert removed <= gone
        assert not ids & gone
        assert added - gone <= ids
        assert ids | gone == set(range(gallery.manifest.next_id)), kill
        assert gallery.manifest.next_id % 25 == 0
        for number in sorted(ids)[:: max(1, len(ids) // 20)]:
            batch = np.random.default_rng(number // 25 * 25).normal(size=(25, 16)).astype(np.float32)
            assert np.array_equal(gallery.vectors([number])[0], batch[number % 25])
    assert len(added) > 25 * 25
    assert removed
