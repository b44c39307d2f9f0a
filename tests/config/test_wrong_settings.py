"""A class refuses a setting in its own words, and whoever built it from a config says under which key it stands."""

import pickle
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from reid_lightning.config.resolve import instantiate, of_key
from reid_lightning.errors import InputError, require
from reid_lightning.experiments.checks import check_run
from reid_lightning.experiments.factory import build_datamodule, build_module
from reid_lightning.experiments.run import _callbacks
from reid_lightning.losses.center import CenterLoss
from reid_lightning.losses.spec import spec_of

TRIPLET = "reid_lightning.losses.triplet.TripletLoss"
WRONG = {
    # metric losses: built at once, completed by the objective, under another name than the class's
    "loss.triplet.margin=-1": "loss.triplet.margin must be >= 0, got -1",
    "loss.triplet.reduction=sum": "loss.triplet.reduction must be mean or mean_active, got sum",
    "loss=triplet_squared loss.triplet_squared.margin=-1": "loss.triplet_squared.margin must be >= 0, got -1",
    f"+loss.far={{_target_:{TRIPLET},margin:-2}}": "loss.far.margin must be >= 0, got -2",
    "loss=[triplet,center] loss.center.alpha=1.5": "loss.center.alpha must be",
    "loss=circle loss.circle.gamma=0": "loss.circle.gamma must be > 0, got 0",
    "loss=quadruplet loss.quadruplet.negative_margin=-1": "loss.quadruplet.negative_margin must be >= 0, got -1",
    "loss=spatial_channel neck=linear backbone=resnet10": "loss.spatial_channel: 4 stripes of 64 dimensions need",
    "miner=offline_hard miner.search=annoy": "miner.search must be exact, faiss",
    "miner=offline_hard miner.share=0": "miner.share must be in (0, 1], got 0",
    # the network: built at once, or completed by it
    "backbone.frozen_layers=99": "backbone.frozen_layers must be 0 to 5",
    "backbone.weights=imagenet": "backbone.weights must be a file or null",
    "backbone=osnet_x0_25 backbone.weights=imagenet": "backbone.weights must be a file or null",
    "backbone=resnet18 backbone.last_stride=3": "backbone.last_stride must be 1 or 2, got 3",
    "pooling=gem pooling.p=0": "pooling.p must be >= 1, got 0",
    "classifier=arcface classifier.margin=3": "classifier.margin must be radians from 0 to 1.57, got 3",
    "classifier=cosface classifier.scale=0": "classifier.scale must be > 0, got 0",
    "classifier=sphereface classifier.margin=7": "classifier.margin must be 1, 2, 3 or 4, got 7",
    "loss=part_identity parts.stripes=0": "parts.stripes must be a whole number >= 1 and <= 65536, got 0",
    "descriptor=multi_depth descriptor.box=0": "descriptor.box must be >= 1, got 0",
    "attributes=market12 attributes.heads.predictions=logit": "attributes.heads.predictions must be logits or",
    "attributes=market12 attributes.loss.focal=-1": "attributes.loss.focal must be >= 0",
    "parts=pose pretraining=pose pretraining.flip=2": "pretraining.flip must be a probability",
    # the training
    "optimizer.lr=0": "optimizer.lr must be > 0, got 0",
    "+optimizer.optimizer.betas=[1.5,0.9]": "optimizer.optimizer: Invalid beta parameter at index 0: 1.5",
    "scheduler.warmup_epochs=-1": "scheduler.warmup_epochs must be >= 0, got -1",
    "callbacks=average callbacks.average.decay=1": "callbacks.average.decay must be",
    "callbacks.best.mode=large": "callbacks.best: ",
    "descriptor=multi_depth callbacks.explore.triples=0": "callbacks.explore.triples must be >= 1, got 0",
    # the data
    "seed=abc": "seed must be a whole number",
    "data.validation=2": "data.validation must be a share of the identities",
    "data.sources.pedestrians.train_identities=0": "data.sources.pedestrians.train_identities must be within",
    "augmentation=hiqo augmentation.transforms.1.smallest=0": "augmentation.transforms[1].smallest must be",
}


@pytest.mark.parametrize("choices", WRONG)
def test_the_message_begins_with_the_key(compose, choices):
    config = compose("data.weights=null", *choices.split(" "))

    def begin():
        check_run(config)
        datamodule = build_datamodule(config)
        module = build_module(config, num_identities=5)
        _callbacks(config, Path("nowhere"), has_validation=True, stop_after=None)
        module._optimizer(module.network, module.objective)
        datamodule.prepare_data()

    with pytest.raises(InputError, match=rf"^{re.escape(WRONG[choices])}"):
        begin()


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (["sampler.identities=4"], r"^sampler\.identities must be at most the 3 training identities, got 4"),
        (["sampler.identities=0"], r"^sampler\.identities must be a whole number >= 1, got 0"),
        (["sampler=shuffle", "sampler.batch_size=9"], r"^sampler\.batch_size must be between 1 and the 6"),
        (["sampler=triplets", "sampler.anchors=2"], r"^sampler\.anchors must be a fraction"),
    ],
)
def test_a_sampler_is_refused_when_the_data_completes_it(compose, choices, message):
    sampler = instantiate(compose(*choices)["sampler"], "sampler")
    rows = np.arange(6)
    facts = {"rows": rows, "labels": rows // 2, "cameras": rows % 2, "seed": 0}
    with pytest.raises(InputError, match=message):
        sampler(**facts)


def test_without_a_key_the_message_is_the_classs_own():
    with pytest.raises(InputError, match=r"^margin must be >= 0, got -1$"):
        instantiate({"_target_": TRIPLET, "margin": -1})


def test_the_sentence_of_a_users_file_stays_as_it_is():
    with pytest.raises(InputError, match=r"^a\.csv has no column id$"), of_key("data.sources.table"):
        raise InputError("a.csv has no column id")


def test_another_error_of_a_partial_is_not_taken_for_the_users():
    build = instantiate({"_target_": f"{__name__}.broken", "_partial_": True}, "loss.mine")
    with pytest.raises(ZeroDivisionError):
        build()


def broken():
    return 1 / 0


def test_a_partial_of_a_config_keeps_its_key_in_another_process_and_its_spec():
    node = {"_target_": "reid_lightning.losses.center.CenterLoss", "_partial_": True, "alpha": 2.0}
    sent = pickle.loads(pickle.dumps(instantiate(node, "loss.center")))
    assert isinstance(sent, partial)
    assert spec_of(sent) is CenterLoss.spec
    with pytest.raises(InputError, match=r"^loss\.center\.alpha must be .* got 2\.0"):
        sent(num_classes=2, embedding_size=2)


def test_not_a_number_is_refused():
    with pytest.raises(ValueError, match=r"^margin must be >= 0, got nan"):
        require(float("nan") >= 0, "margin", ">= 0", float("nan"))
