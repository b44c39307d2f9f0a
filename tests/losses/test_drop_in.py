"""Losses and miners of pytorch-metric-learning stand in for ours, and ours for theirs."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from pytorch_metric_learning import losses, miners

from reid_lightning.config.resolve import CONF
from reid_lightning.losses.triplet import TripletLoss
from reid_lightning.mining.batch_hard import BatchHardMiner
from reid_lightning.mining.semi_hard import SemiHardMiner


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(12, 6, requires_grad=True), torch.arange(3).repeat_interleave(4)


@pytest.mark.parametrize("miner", [None, BatchHardMiner(), SemiHardMiner(), miners.MultiSimilarityMiner()])
def test_the_shipped_example(batch, miner):
    node = OmegaConf.load(CONF / "loss" / "pml_multi_similarity.yaml").pml_multi_similarity
    del node.weight
    loss = instantiate(node)
    value = loss(*batch, miner(*batch) if miner else None)
    value.backward()
    assert value > 0
    assert batch[0].grad.isfinite().all()


@pytest.mark.parametrize("miner", [miners.BatchHardMiner(), miners.TripletMarginMiner(margin=0.2)])
def test_their_miners_feed_our_losses(batch, miner):
    assert TripletLoss()(*batch, miner(*batch)).isfinite()


@pytest.mark.parametrize("miner", [BatchHardMiner(), SemiHardMiner()])
def test_our_miners_feed_their_losses(batch, miner):
    assert losses.TripletMarginLoss()(*batch, miner(*batch)).isfinite()
