"""Settings that do not go together are refused before any work."""

import pytest

from reid_lightning.config.resolve import CONF
from reid_lightning.errors import InputError
from reid_lightning.experiments.checks import check_run
from reid_lightning.systems.attributes.task import AttributeTask

LOSSES = sorted(file.stem for file in (CONF / "loss").glob("*.yaml"))
READ_TRIPLETS = {
    "aligned",
    "triplet",
    "triplet_squared",
    "lossless",
    "improved_triplet",
    "pml_multi_similarity",
}


@pytest.mark.parametrize("miner", ["offline_random", "offline_hard"])
@pytest.mark.parametrize("loss", LOSSES)
def test_an_offline_miner_wants_a_loss_that_reads_its_triplets(compose, loss, miner):
    config = compose(f"loss={loss}", f"miner={miner}")
    if loss in READ_TRIPLETS:
        check_run(config)
    else:
        with pytest.raises(InputError, match="draws triplets for a triplet loss to read, but"):
            check_run(config)


def test_an_offline_miner_serves_one_of_several_losses(compose):
    check_run(compose("loss=[triplet,center]", "miner=offline_hard"))


def test_an_offline_miner_wants_its_sampler(compose):
    with pytest.raises(InputError, match="needs the batches of sampler=triplets"):
        check_run(compose("miner=offline_random", "sampler=pk"))
    assert compose("experiment=strong", "miner=offline_hard")["sampler"]["triplets"] == 32


@pytest.mark.parametrize("key", ["images_per_identity", "identities"])
@pytest.mark.parametrize("loss", LOSSES)
def test_pairs_want_two_images_of_a_person_and_two_people(compose, loss, key):
    config = compose(f"loss={loss}", "miner=none", f"sampler.{key}=1")
    if loss in ("none", "center", "part_identity", "pml_multi_similarity", "spatial_channel"):
        check_run(config)
    else:
        with pytest.raises(InputError, match=rf"sampler\.{key}=1 leaves loss="):
            check_run(config)


def test_attributes_alone_are_enough_to_train(compose):
    alone = ("loss=none", "classifier=none", "miner=none", "attributes=market12")
    check_run(compose(*alone, "attributes.heads.reweighting=false"))
    with pytest.raises(InputError, match="leave nothing to train"):
        check_run(compose("loss=none", "classifier=none", "miner=none"))


def test_reweighting_wants_the_classifier_that_trains_it(compose):
    reweighted = ("attributes=market12", "attributes.heads.reweighting=true")
    check_run(compose(*reweighted))
    for without in ("classifier=none", "classifier.weight=0"):
        with pytest.raises(
            InputError, match="is learned from the identity classifier's loss, and there is none"
        ):
            check_run(compose(*reweighted, without))


@pytest.mark.parametrize("weight", [0, -1])
def test_attribute_heads_want_a_weight(compose, weight):
    with pytest.raises(
        InputError, match=rf"attributes\.weight={weight} leaves the attribute heads untrained"
    ):
        check_run(compose("attributes=market12", f"attributes.weight={weight}"))


def test_a_vector_without_the_attributes_is_mentioned(compose, caplog):
    AttributeTask.check(
        compose("attributes=market12", "attributes.heads.reweighting=true", "evaluation=torchreid")
    )
    assert "evaluation.feature=before_neck holds no attributes" in caplog.text
