"""The suite's faster Hydra composes what Hydra composes."""

import hydra
import pytest
from hydra._internal import config_repository, defaults_list
from omegaconf import OmegaConf

from reid_lightning.config.resolve import CONF


def composed(*overrides, folder=CONF):
    """Return a config as YAML, its interpolations as they stand."""
    with hydra.initialize_config_dir(str(folder), version_base="1.3"):
        return OmegaConf.to_yaml(hydra.compose("config", list(overrides)))


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("experiment=strong", "loss=[triplet,center]", "optimizer.lr=1e-3"),
        ("experiment=kiel/resnet50", "scheduler=cosine"),
        ("parts=stripes", "loss=[triplet,part_identity]", "+trainer.limit_train_batches=2"),
    ],
    ids=" ".join,
)
def test_it_composes_what_hydra_composes(overrides, monkeypatch):
    quick, again = composed(*overrides), composed(*overrides)
    load, build = config_repository.ConfigRepository.load_config, defaults_list._create_interpolation_map
    monkeypatch.setattr(config_repository.ConfigRepository, "load_config", load.__wrapped__)
    monkeypatch.setattr(defaults_list, "_create_interpolation_map", build.__wrapped__)
    assert quick == again == composed(*overrides)


def test_a_file_that_changes_is_read_again(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("seed: 1\n")
    before = composed(folder=tmp_path)
    file.write_text("seed: 22\n")
    assert (before, composed(folder=tmp_path)) == ("seed: 1\n", "seed: 22\n")


def test_interpolated_defaults_are_followed(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "one" / "a.yaml").write_text("x: 1\n")
    (tmp_path / "other" / "a.yaml").write_text("y: 2\n")
    (tmp_path / "config.yaml").write_text("defaults:\n  - one: a\n  - other: ${one}\n")
    assert composed(folder=tmp_path) == "one:\n  x: 1\nother:\n  'y': 2\n"
