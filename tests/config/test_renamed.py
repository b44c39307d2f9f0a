"""Checkpoints name modules that have moved since; what they name must still be found."""

import importlib

import pytest
from hydra.utils import get_object

from reid_lightning.config.renamed import _MODULES, _TARGETS, current_targets


@pytest.mark.parametrize("module", _MODULES.values())
def test_a_moved_module_is_where_the_table_says(module):
    assert importlib.import_module(module)


@pytest.mark.parametrize("target", _TARGETS.values())
def test_a_moved_class_is_where_the_table_says(target):
    assert get_object(target)


def test_no_earlier_name_is_still_a_module():
    """A name that exists again would be taken for the moved one."""
    for module in _MODULES:
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(module)


def test_a_backbone_of_an_earlier_checkpoint_is_found():
    earlier = {"backbone": {"_target_": "reid_lightning.models.backbones.resnet10", "width": 0.5}}
    assert get_object(current_targets(earlier)["backbone"]["_target_"]).__name__ == "resnet10"
