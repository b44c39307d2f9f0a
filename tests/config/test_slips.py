"""Sentences for the usual slips name the right way out."""

import pytest
from omegaconf import OmegaConf

from reid_lightning.config.command_line import readable
from reid_lightning.config.resolve import plain
from reid_lightning.config.suggest import hints
from reid_lightning.errors import InputError


@pytest.mark.parametrize(
    ("slip", "way_out"),
    [
        ("backbone.pretrained=true", "choose backbone.weights=imagenet"),
        ("early_stopping=true", "choose callbacks=early_stopping"),
    ],
)
def test_hint(slip: str, way_out: str) -> None:
    assert way_out in hints([slip])[0]


@pytest.mark.parametrize("group", ["loss", "backbone"])
def test_group_without_an_option(group: str) -> None:
    with pytest.raises(InputError, match=f"write {group}=NAME without spaces"):
        readable([group, "=", "triplet"])


def test_a_value_that_others_refer_to_a_part_of() -> None:
    config = OmegaConf.create(
        {"data": {"_target_": "x", "image_size": 64}, "height": "${data.image_size[0]}"}
    )
    with pytest.raises(InputError, match=r"^data\.image_size must be a height and a width in pixels"):
        plain(config)
