"""The same command has the same folder, and so have its jobs."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from reid_lightning.sweeps import folders as sweep_folders
from reid_lightning.sweeps.fingerprint import JobFingerprint


def folder_of(*arguments):
    line = next(
        line for line in sweep_folders.with_folder(["-m", *arguments]) if line.startswith("hydra.sweep.dir=")
    )
    return OverridesParser.create().parse_override(line).value()


def test_a_command_names_its_folder():
    assert folder_of("loss=triplet,lossless", "seed=1,2").startswith("multirun/loss_seed_")
    assert folder_of("experiment=kiel/tables/loss").startswith("multirun/kiel_tables_loss_")
    assert folder_of("sweep=optimizer").startswith("multirun/optimizer_")
    assert folder_of().startswith("multirun/sweep_")
    assert folder_of("seed=1,2", "hydra.sweep.dir=here") == "here"


def test_order_machine_and_launcher_do_not_matter_and_options_do():
    first = folder_of("loss=triplet,lossless", "seed=1,2")
    assert folder_of("seed=1,2", "loss=triplet,lossless") == first
    for more in (
        "hydra/launcher=joblib",
        "data.num_workers=3",
        "trainer.devices=2",
        "logger=wandb",
        "time_limit=9",
    ):
        assert folder_of("loss=triplet,lossless", "seed=1,2", more) == first
    for other in ("optimizer.lr=0.1", "data.root=/data/a", "trainer=gpu"):
        assert folder_of("loss=triplet,lossless", "seed=1,2", other) != first
    assert folder_of("loss=triplet,lossless", "seed=1,2,3") != first
    assert folder_of("data.num_workers=1,2") != folder_of("data.num_workers=1,4")


@pytest.mark.parametrize("arguments", [["seed=1"], ["-m", "seed=[1,"], ["--cfg", "job"]])
def test_other_commands_stay_as_they_are(arguments):
    assert sweep_folders.with_folder(arguments) == arguments


def test_overrides_stand_side_by_side():
    arguments = sweep_folders.with_folder(["-m", "seed=1,2", "--config-dir", "mine"])
    assert arguments[-2:] == ["--config-dir", "mine"]
    assert arguments[1] == "seed=1,2"


def config_of(folder, *task, exclude=()):
    parsed = [OverridesParser.create().parse_override(line) for line in task]
    shown = ",".join(sorted(line.input_line for line in parsed if line.key_or_group not in exclude))
    return OmegaConf.create(
        {
            "hydra": {
                "overrides": {"task": list(task)},
                "job": {
                    "override_dirname": shown,
                    "config": {"override_dirname": {"exclude_keys": list(exclude)}},
                },
                "sweep": {"dir": str(folder), "subdir": "${job_folder:}"},
            }
        }
    )


def test_a_jobs_folder_shows_what_is_swept_and_ends_with_its_hash(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "reid_lightning.sweeps.fingerprint.fingerprint",
        lambda config, tables, swept: asked.append(swept) or JobFingerprint("a", "b", "c"),
    )
    name = JobFingerprint("a", "b", "c").name
    config = config_of(tmp_path, "loss=[triplet,center]", "+a.b='x y'", "seed=1", exclude=["seed"])
    folder = config.hydra.sweep.subdir
    assert folder == f"a.b-_x_y_loss-_triplet_center_{name}"
    assert asked == [["loss", "a.b"]]
    assert OverridesParser.create().parse_override(f"resume={folder}").value() == folder  # without quotes
    (tmp_path / folder).mkdir()
    other = config_of(tmp_path, "miner=batch_all", "seed=1", exclude=["seed"])
    assert other.hydra.sweep.subdir == folder  # the hash alone decides
    bare = config_of(tmp_path / "new", "seed=1", exclude=["seed"])
    assert bare.hydra.sweep.subdir == name
    long = config_of(tmp_path / "new", *(f"key{number}=value" for number in range(40)))
    assert len(long.hydra.sweep.subdir) <= 93
