"""What changes the identity of a job and what does not."""

import os
import sys
from functools import cache

import hydra
import pandas as pd
import pytest
from omegaconf import OmegaConf

from reid_lightning.config.resolve import CONF
from reid_lightning.experiments.source_tables import SourceTables, fingerprint
from reid_lightning.sweeps import fingerprint as job_identity
from reid_lightning.sweeps.fingerprint import UNREADABLE, JobFingerprint, code_version
from reid_lightning.sweeps.fingerprint import fingerprint as fingerprint_of

JPEG = b"\xff\xd8 an image \xff\xd9"


@pytest.fixture
def album(tmp_path):
    """Return a folder with a table and its four images."""
    folder = tmp_path / "album"
    (folder / "images").mkdir(parents=True)
    rows = []
    for number, split in enumerate(("train", "train", "query", "gallery")):
        (folder / "images" / f"{number}.jpg").write_bytes(JPEG)
        rows.append({"path": f"images/{number}.jpg", "person_id": number // 2, "split": split})
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder


@cache
def composed(*overrides):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", overrides)


def of(*overrides, folder=None, swept=()):
    """Return the identity that a config has in a fresh process."""
    config = composed(*(["data=table"] if folder else []), *overrides).copy()
    if folder:
        config.data.root = str(folder / "table.csv")
    return fingerprint_of(config, SourceTables(), swept)


@pytest.mark.parametrize(
    "override",
    [
        "output_dir=/elsewhere",
        "resume=last",
        "time_limit=5",
        "logger=wandb",
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "trainer.num_nodes=2",
        "+trainer.enable_progress_bar=false",
        "data.num_workers=3",
        "data.cache=false",
        "data.cache_limit=1.0",
        "data.batch_size=7",
        "seed=1",  # as it is by default
        "optimizer=adamw",
    ],
)
def test_what_does_not_change_a_result_does_not_change_the_identity(album, override):
    assert of(override, folder=album) == of(folder=album)


@pytest.mark.parametrize(
    "override",
    [
        "seed=2",
        "loss=lossless",
        "loss=none",
        "optimizer.lr=0.1",
        "trainer.precision=bf16-mixed",
        "trainer.max_epochs=3",
        "data.validation=none",
        "data.image_size=[64,32]",
        "augmentation=none",
        "refit=true",
        "+callbacks.stop={_target_: lightning.pytorch.callbacks.Timer}",
    ],
)
def test_a_setting_that_changes_a_result_changes_the_identity(album, override):
    changed, before = of(override, folder=album), of(folder=album)
    assert changed.config != before.config
    assert changed.data == before.data
    assert changed.name != before.name


def test_the_same_settings_have_the_same_hash_as_ever():
    """Changed rows of `config/keys.py` must not change what sweeps of earlier versions are called."""
    config = {
        "seed": 1,
        "output_dir": "outputs/a",
        "resume": "last",
        "time_limit": 5,
        "logger": {"wandb": {"tags": [], "project": "mine"}},
        "trainer": {
            "accelerator": "gpu",
            "devices": 2,
            "num_nodes": 1,
            "precision": "32-true",
            "max_epochs": 4,
            "enable_progress_bar": False,
            "log_every_n_steps": 3,
        },
        "data": {
            "root": "/a",
            "num_workers": 1,
            "cache": True,
            "cache_limit": 2.0,
            "batch_size": 8,
            "weights": None,
            "image_size": [96, 48],
            "sources": {"pedestrians": {"root": "/b", "processes": 2, "seed": 0}},
        },
        "callbacks": {"best": {"dirpath": "/c", "mode": "max"}},
        "miner": None,
        "tasks": {},
    }
    hashes = [job_identity._hash(job_identity.settings(config, swept)) for swept in ((), ["trainer.devices"])]
    assert hashes == ["c846f6fead42c289f7b4618809928a68", "2b7821d90840d2981c04ea97e02b5670"]


def test_a_machine_setting_counts_where_a_sweep_varies_it(album):
    one = of("trainer.devices=1", folder=album, swept=["trainer.devices"])
    assert one != of("trainer.devices=2", folder=album, swept=["trainer.devices"])


def test_a_changed_default_counts_as_a_changed_override(album):
    config = composed("data=table").copy()
    config.data.root = str(album / "table.csv")
    before = fingerprint_of(config, SourceTables())
    OmegaConf.update(config, "loss.triplet.margin", 0.31)
    assert fingerprint_of(config, SourceTables()).config != before.config


def test_weights_in_a_file_count_by_their_file(album, tmp_path):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"first")
    before = of(f"backbone.weights={weights}", folder=album)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    os.rename(weights, moved / "weights.pt")
    assert of(f"backbone.weights={moved / 'weights.pt'}", folder=album) == before
    (moved / "weights.pt").write_bytes(b"second")
    assert of(f"backbone.weights={moved / 'weights.pt'}", folder=album) != before


def test_a_data_set_may_move_but_not_change(album, tmp_path):
    before = of(folder=album)
    moved = album.rename(tmp_path / "moved")
    assert of(folder=moved) == before
    image = moved / "images" / "2.jpg"
    image.write_bytes(JPEG + JPEG)
    longer = of(folder=moved)
    assert longer.data != before.data
    assert longer.config == before.config
    image.write_bytes(JPEG)
    status = image.stat()
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert of(folder=moved).data not in (before.data, longer.data)


@pytest.mark.parametrize(
    ("column", "value"),
    [("person_id", "9"), ("split", "gallery"), ("camera_id", "c7"), ("path", "images/3.jpg")],
)
def test_every_column_counts(album, column, value):
    before = of(folder=album)
    table = pd.read_csv(album / "table.csv", dtype=str)
    table.loc[1, column] = value
    table.to_csv(album / "table.csv", index=False)
    assert of(folder=album).data != before.data


def test_the_tables_are_read_once_for_all_jobs(album, monkeypatch):
    read = []
    monkeypatch.setattr(
        "reid_lightning.data.readers.table_file.read_table_file",
        lambda root, columns=None: (
            read.append(root) or pd.read_csv(root).assign(path=lambda rows: f"{album}/" + rows["path"])
        ),
    )
    tables = SourceTables()
    root = str(album / "table.csv")
    node = {"_target_": "reid_lightning.data.readers.table_file.read_table_file", "_partial_": True}
    first = {"data": {"sources": {"table": {**node, "root": root}}}}
    first_print = tables.fingerprint(first)
    assert len(tables.readers(first)["table"]()) == 4
    assert tables.fingerprint({"seed": 2, **first}) == first_print
    assert read == [root]
    other = {"data": {"sources": {"table": {**node, "root": root, "columns": {}}}}}
    tables.readers(other)["table"]()
    assert len(read) == 2
    tables.readers(first)["table"]()
    assert len(read) == 3  # the tables of the last data are kept, the fingerprints of all
    assert tables.fingerprint(first) == first_print


def test_a_fingerprint_knows_the_sources_apart(album):
    table = pd.read_csv(album / "table.csv").assign(path=lambda rows: f"{album}/" + rows["path"])
    assert fingerprint({"a": table}) != fingerprint({"b": table})
    assert fingerprint({"a": table, "b": table}) == fingerprint({"b": table, "a": table})
    assert fingerprint({"a": table, "b": table}) != fingerprint({"a": table})


def test_a_job_that_cannot_start_has_an_identity_too(tmp_path):
    gone = of(folder=tmp_path)
    assert gone.data == UNREADABLE
    assert of("seed=2", folder=tmp_path).name != gone.name
    unset = of("data=market1501")
    assert unset.data == UNREADABLE
    assert of("data=market1501", "seed=2").name != unset.name


def test_the_code_counts(tmp_path, monkeypatch):
    before = code_version()
    package = tmp_path / "reid_lightning"
    package.mkdir()
    (package / "loss.py").write_text("margin = 0.3\n")
    monkeypatch.setattr(job_identity, "PACKAGE", package)
    first = code_version()
    assert first != before
    job_identity._digest.cache_clear()
    (package / "loss.py").write_text("margin = 0.4\n")
    assert code_version() != first
    monkeypatch.setattr(job_identity, "__version__", "99")
    assert len({before, first, code_version()}) == 3


def test_code_of_others_counts_where_the_config_names_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "our_losses.py").write_text("margin = 0.3\n")
    config = {"loss": {"_target_": "our_losses.Loss"}}
    before = code_version(config)
    assert before != code_version()
    for cached in (job_identity._digest, job_identity._digest_of):
        cached.cache_clear()
    (tmp_path / "our_losses.py").write_text("margin = 0.4\n")
    assert code_version(config) != before
    assert "our_losses" not in sys.modules  # read, not run
    assert code_version({"loss": {"_target_": "not_there.Loss"}}) != code_version(config)


def test_the_name_follows_from_all_three():
    names = {JobFingerprint(*facts).name for facts in ("abc", "xbc", "axc", "abx")}
    assert len(names) == 4
    assert JobFingerprint(*"abc").name == JobFingerprint(*"abc").name
