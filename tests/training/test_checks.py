"""Settings that do not go together are refused before any work."""

import pytest

from reid_lightning.errors import InputError
from reid_lightning.training.checks import check_config
from reid_lightning.training.configuration import CONF

LOSSES = sorted(file.stem for file in (CONF / "loss").glob("*.yaml"))
READ_TRIPLETS = {"triplet", "lossless", "improved_triplet", "pml_multi_similarity"}


@pytest.mark.parametrize("miner", ["offline_random", "offline_hard"])
@pytest.mark.parametrize("loss", LOSSES)
def test_an_offline_miner_wants_a_loss_that_reads_its_triplets(compose, loss, miner):
    config = compose(f"loss={loss}", f"miner={miner}")
    if loss in READ_TRIPLETS:
        check_config(config)
    else:
        with pytest.raises(InputError, match="draws triplets for a triplet loss to read, but"):
            check_config(config)


def test_an_offline_miner_serves_one_of_several_losses(compose):
    check_config(compose("loss=[triplet,center]", "miner=offline_hard"))


def test_an_offline_miner_wants_its_sampler(compose):
    with pytest.raises(InputError, match="needs the batches of sampler=triplets"):
        check_config(compose("miner=offline_random", "sampler=pk"))
    assert compose("experiment=bot", "miner=offline_hard")["sampler"]["triplets"] == 32


@pytest.mark.parametrize("loss", LOSSES)
def test_pairs_want_two_images_of_a_person(compose, loss):
    config = compose(f"loss={loss}", "miner=none", "sampler.images_per_identity=1")
    if loss in ("none", "center", "pml_multi_similarity"):
        check_config(config)
    else:
        with pytest.raises(InputError, match=r"sampler\.images_per_identity=1 leaves loss="):
            check_config(config)
