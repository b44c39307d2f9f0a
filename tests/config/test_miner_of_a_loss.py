"""A loss may have a miner of its own: `miner@loss.NAME.miner=OPTION`."""

import pytest
from hydra.errors import HydraException

from reid_lightning.config.no_effect import without_effect
from reid_lightning.config.resolve import CONF, instantiate, says
from reid_lightning.errors import InputError
from reid_lightning.experiments.checks import check_run
from reid_lightning.mining.batch_hard import BatchHardMiner
from reid_lightning.mining.semi_hard import SemiHardMiner

LOSSES = sorted(file.stem for file in (CONF / "loss").glob("*.yaml") if file.stem != "none")


def test_a_loss_has_a_miner_beside_the_common_one(compose):
    config = compose("loss=[triplet,lossless]", "miner@loss.lossless.miner=semi_hard")
    assert isinstance(instantiate(config["loss"]["lossless"]["miner"]), SemiHardMiner)
    assert "miner" not in config["loss"]["triplet"]
    assert isinstance(instantiate(config["miner"]), BatchHardMiner)
    check_run(config)


def test_without_a_choice_a_loss_has_no_miner_of_its_own(compose):
    config = compose("loss=[triplet,circle]")
    assert not any("miner" in node for node in config["loss"].values())


@pytest.mark.parametrize("option", ["none", "batch_all"])
def test_all_triplets_are_an_empty_miner(compose, option):
    config = compose("loss=[triplet,lossless]", f"miner@loss.triplet.miner={option}")
    assert config["loss"]["triplet"]["miner"] == {}
    assert config["miner"] != {}
    assert compose(f"miner={option}")["miner"] == {}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_offers_a_miner_if_it_reads_triplets(compose, loss):
    node = compose(f"loss={loss}")["loss"][loss]
    reads = not says(node, "forms_own_pairs")
    choice = (f"loss={loss}", f"miner@loss.{loss}.miner=semi_hard")
    if reads:
        assert compose(*choice)["loss"][loss]["miner"]["_target_"].endswith("SemiHardMiner")
    else:
        with pytest.raises(HydraException, match=f"Could not override 'miner@loss.{loss}.miner'"):
            compose(*choice)


def test_an_experiment_chooses_it_too(compose):
    config = compose("experiment=strong", "miner@loss.triplet.miner=semi_hard")
    assert config["loss"]["triplet"]["miner"]["_target_"].endswith("SemiHardMiner")
    assert config["loss"]["center"]["alpha"] == 0.078125


def test_a_loss_that_brings_parts_still_does(compose):
    config = compose("loss=aligned", "miner@loss.aligned.miner=semi_hard")
    assert config["parts"]["stripes"] == 8
    assert config["loss"]["aligned"]["miner"]["_target_"].endswith("SemiHardMiner")


def test_an_offline_miner_serves_the_whole_run(compose):
    with pytest.raises(HydraException, match=r"Could not override 'sampler@loss\.triplet\.miner\.sampler'"):
        compose("miner@loss.triplet.miner=offline_hard")
    with pytest.raises(InputError, match="but loss=triplet has a miner of its own"):
        check_run(compose("miner=offline_random", "miner@loss.triplet.miner=batch_hard"))
    target = "reid_lightning.mining.offline.OfflineMiner"
    with pytest.raises(InputError, match="needs the batches of sampler=triplets"):
        check_run(compose(f"+loss.triplet.miner={{_target_: {target}}}"))


def test_a_common_miner_that_all_losses_do_without_has_no_effect(compose):
    config = compose("loss=[triplet,circle]", "miner@loss.triplet.miner=semi_hard")
    (idle,) = [idle for idle in without_effect(config) if idle.key == "miner"]
    assert str(idle) == (
        "miner has no effect: loss=circle forms its own pairs from the whole batch and loss=triplet has a miner of its own"
    )
    forced = compose("loss=[triplet,circle]", "+loss.circle.miner={_target_: x.Y}")
    assert "loss.circle.miner" in {idle.key for idle in without_effect(forced)}
