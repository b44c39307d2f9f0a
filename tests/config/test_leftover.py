"""A part that is chosen in place of a recipe's takes the recipe's settings of that part along."""

import pytest

from reid_lightning.errors import InputError
from reid_lightning.experiments.run import run_job


@pytest.mark.parametrize(
    ("overrides", "key", "left"),
    [
        (
            ("experiment=kiel/resnet50", "scheduler=cosine"),
            "scheduler",
            {"warmup_epochs": 0, "final_factor": 0.0},
        ),
        (
            ("experiment=cpu/hour", "classifier=softmax"),
            "classifier",
            {"label_smoothing": 0.1, "weight": 1.0},
        ),
        (("experiment=cpu/hour", "classifier=none", "loss=triplet"), "classifier", None),
        (("experiment=transreid", "optimizer=adamw"), "optimizer.optimizer", {"nesterov": None}),
    ],
)
def test_settings_go_with_the_part_that_they_were_written_for(compose, overrides, key, left):
    node = compose("data=pedestrians", *overrides)
    for part in key.split("."):
        node = node[part]
    if left is None:
        assert node is None
    else:
        assert {name: node.get(name) for name in left} == left
        assert not {"milestones", "factor", "scale", "margin"} & node.keys()


@pytest.mark.parametrize(
    ("overrides", "key", "names"),
    [
        (("experiment=hiqo/body", "loss=lossless"), "loss", {"lossless"}),
        (("experiment=hiqo/body", "loss=[lossless,triplet]"), "loss", {"lossless", "triplet"}),
    ],
)
def test_a_loss_that_was_not_chosen_leaves_nothing(compose, overrides, key, names):
    assert compose("data=pedestrians", *overrides)[key].keys() == names


def test_a_recipe_alone_keeps_all_its_settings(compose):
    alone = compose("data=pedestrians", "experiment=kiel/resnet50")
    same = compose("data=pedestrians", "experiment=kiel/resnet50", "scheduler=step")
    assert alone == same
    assert alone["scheduler"]["milestones"] == [50, 100, 150]


def test_a_part_that_is_built_in_pieces_stays(compose):
    chosen = compose("attributes=market12")["attributes"]
    assert {"schema", "heads", "loss"} <= chosen.keys()
    assert compose("experiment=trento", "data=pedestrians", "attributes=none")["attributes"] is None


def without_batches(tiny):
    return [line for line in tiny if not line.startswith("sampler.")]


def test_what_the_command_line_sets_itself_is_refused(compose, tiny):
    words = ("experiment=kiel/resnet50", "backbone=resnet10", "scheduler=cosine", "+scheduler.milestones=[9]")
    config = compose(*without_batches(tiny), *words)
    with pytest.raises(InputError, match=r"scheduler: .*milestones"):
        run_job(config)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        "experiment=kiel/resnet50 scheduler=cosine",
        "experiment=kiel/resnet50 neck=bnneck",
        "experiment=cpu/hour classifier=softmax",
        "experiment=cpu/hour classifier=none loss=triplet",
        "experiment=cpu/hour callbacks=average",
        "experiment=hiqo/body loss=lossless",
        "experiment=hiqo/body sampler=shuffle",
        "experiment=hiqo/body neck=none",
        "experiment=best scheduler=step",
        "experiment=best classifier=none",
        "experiment=strong optimizer=adam_hermans",
        "experiment=megvii/part_model parts=scp",
    ],
)
def test_parts_of_recipes_can_be_replaced(compose, tiny, overrides):
    small = without_batches(tiny) if "shuffle" in overrides or "kiel" in overrides else tiny
    own = ("backbone=resnet10", "backbone.frozen_layers=0", "frozen_epochs=0", "trainer.max_epochs=1")
    assert run_job(compose(*small, *overrides.split(), *own)) is not None
