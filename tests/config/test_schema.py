"""The table of settings knows every key and every group, and the lists that follow from it."""

import hydra
import pytest

from reid_lightning.config import schema
from reid_lightning.config.resolve import CONF, plain
from reid_lightning.config.validate import differences
from reid_lightning.sweeps.fingerprint import settings

ROWS = {row.name for row in schema.KEYS}
GROUPS = sorted(
    str(folder.relative_to(CONF))
    for folder in (*CONF.iterdir(), *(CONF / "hydra").iterdir())
    if folder.is_dir() and folder.name not in ("hydra", "help")
)
OPTIONS = [
    f"{group}={file.stem}"
    for group in GROUPS
    if not group.startswith(("hydra/", "sweep"))
    for file in sorted((CONF / group).glob("*.yaml"))
]


@pytest.fixture(scope="module")
def composed():
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        yield lambda *overrides: hydra.compose("config", list(overrides))


def test_every_row_is_there_once():
    assert len(ROWS) == len(schema.KEYS)


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_is_in_the_table(group):
    assert group in schema.groups()


@pytest.mark.slow
def test_every_key_of_every_option_is_in_the_table(composed):
    unknown = {}
    for choice in ("", *OPTIONS):
        new = set(composed(*[choice] if choice else [])) - ROWS
        if new:
            unknown[choice or "config.yaml"] = sorted(new)
    assert not unknown, "say in config/keys.py what these keys change"


def test_every_key_in_the_table_is_somewhere(composed):
    """A row that no config has is a mistake, but for what an option of one's own brings."""
    keys = set(composed())
    tops = {row.name for row in schema.KEYS if "." not in row.name and not row.bundle}
    assert tops - keys - {"hydra/launcher", "hydra/sweeper"} <= {"tasks", "reports"}


def test_a_hint_is_no_argument_of_the_data_module():
    import inspect

    from reid_lightning.data.datamodule import ReIDDataModule

    taken = set(inspect.signature(ReIDDataModule).parameters)
    assert not {name.removeprefix("data.") for name in schema.hints()} & taken


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("trainer.devices", False),
        ("trainer.precision", True),
        ("data.sources.market1501.root", False),
        ("data.sources.pedestrians.processes", False),
        ("data.sources.pedestrians.seed", True),
        ("callbacks.best.dirpath", False),
        ("logger.wandb.tags", False),
        ("tasks.pose.weight", True),
        ("loss.triplet.margin", True),
        ("output_dir", False),
        ("time_limit", False),
    ],
)
def test_what_changes_a_result(key, changes):
    assert schema.changes_result(key) is changes
    nested = 1
    for part in reversed(key.split(".")):
        nested = {part: nested}
    assert (settings(nested) == {key: 1}) is changes
    assert settings(nested, swept=[key]) == {key: 1}


def test_values_of_earlier_versions_are_not_shared():
    schema.added_later()["tasks"]["mine"] = 1
    assert schema.added_later()["tasks"] == {}
    schema.as_evaluated()["callbacks"]["mine"] = 1
    assert schema.as_evaluated()["callbacks"] == {}


def test_an_evaluation_leaves_the_training_behind():
    assert schema.as_evaluated() == {
        "resume": None, "refit": False, "compile": False, "callbacks": {}, "logger": {}, "loss": {}, "miner": None,
        "sampler": None, "augmentation": None, "optimizer": None, "scheduler": None, "pretraining": None,
        "start_from": None,
    }  # fmt: skip


def test_a_resumed_run_may_move_and_go_on_elsewhere():
    old = {"output_dir": "a", "callbacks": {"best": {"dirpath": "a", "mode": "max"}}, "time_limit": None}
    new = {"output_dir": "b", "callbacks": {"best": {"dirpath": "b", "mode": "min"}}, "time_limit": 4}
    assert list(differences(old, new)) == ["callbacks.best.mode was 'max', is 'min'"]
    assert list(differences({"data": {"root": "a"}}, {"data": {"root": "b"}})) == []


def test_a_resumed_run_may_differ_in_what_a_sweep_calls_irrelevant():
    irrelevant = set(schema.keys_that_change("machine", "place"))
    assert irrelevant <= set(schema.resumable())
    assert set(schema.resumable()) - irrelevant == {"resume", "reports", "trainer.max_epochs"}
    moved = {
        "trainer": {"accelerator": "gpu", "devices": 4},
        "data": {"cache": False, "cache_limit": 1.0, "num_workers": 3, "root": "b", "sources": {"x": {"root": "b"}}},
    }  # fmt: skip
    before = {
        "trainer": {"accelerator": "cpu", "devices": 1},
        "data": {"cache": True, "cache_limit": 20.0, "num_workers": None, "sources": {"x": {"root": "a"}}},
    }
    assert list(differences(before, moved)) == []
    assert list(differences({"trainer": {"precision": 16}}, {"trainer": {"precision": 32}})) == [
        "trainer.precision was 16, is 32"
    ]


def test_an_argument_that_was_left_out_had_its_default():
    target = "reid_lightning.losses.triplet.TripletLoss"
    old, new = {"_target_": target}, {"_target_": target, "margin": 0.3, "soft_margin": False}
    assert list(differences({"loss": old}, {"loss": new})) == []
    assert list(differences({"loss": new}, {"loss": old})) == []
    assert list(differences({"loss": old}, {"loss": new | {"margin": 0.5}})) == [
        "loss.margin was 0.3, is 0.5"
    ]


def test_reports_of_an_earlier_run_are_no_differences(composed):
    from reid_lightning.experiments.checkpoint import completed

    now = plain(composed("report=embedding_map", "output_dir=none"))
    old = {key: value for key, value in now.items() if key != "reports"}
    old["evaluation"] = now["evaluation"] | {"map": True}
    assert list(differences(completed(old), now)) == []


def test_nothing_is_no_other_than_an_empty_mapping():
    assert list(differences({"miner": None}, {"miner": {}, "tasks": {}})) == []
    assert list(differences({"miner": None}, {"miner": 0})) == ["miner was None, is 0"]


def test_the_network_is_told_with_its_heads():
    config = {"backbone": {"width": 1}, "attributes": {"heads": {"detach": True}, "weight": 2}, "seed": 1}
    said = schema.of_network(config)
    assert said["backbone"] == {"width": 1}
    assert said["attributes.heads"] == {"detach": True}
    assert not {"seed", "attributes"} & said.keys()
    assert said["parts"] is None
