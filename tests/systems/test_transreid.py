"""TransReID: side information by camera, shuffled patches, and their losses, against the formulas written out."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import train
from torch.nn import functional

from reid_lightning.data.cameras import camera_numbers, training_cameras
from reid_lightning.errors import InputError
from reid_lightning.experiments.checkpoint import load_module
from reid_lightning.models.convolutional_backbones import resnet10
from reid_lightning.models.features import Features
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.models.pooling import TokenPooling
from reid_lightning.models.timm_backbone import TimmBackbone
from reid_lightning.systems.transreid.backbone import TransReIDBackbone
from reid_lightning.systems.transreid.jigsaw import Jigsaw, shuffled
from reid_lightning.systems.transreid.loss import JigsawLoss

NAME, SIZE, STRIDE = "test_vit", (48, 32), 12
CAMERAS = ["a/1", "a/2", "a/3"]


def backbone(cameras=CAMERAS, **settings):
    torch.manual_seed(0)
    return TransReIDBackbone(NAME, None, cameras, image_size=SIZE, patch_stride=STRIDE, **settings).eval()


def images(count=4):
    return torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def test_without_cameras_it_is_the_plain_transformer():
    ours = backbone(cameras=None)
    plain = TimmBackbone(NAME, None, SIZE, patch_stride=STRIDE).eval()
    plain.load_state_dict(ours.state_dict())
    assert torch.equal(ours.encode(images()).token, plain.encode(images()).token)
    assert torch.equal(ours(images()), plain(images()))


def test_the_cameras_embedding_enters_after_the_positions():
    ours = backbone(camera_weight=2.5)
    body, cameras = ours.body, torch.tensor([2, 0, 1, 2])
    patches = functional.conv2d(images(), body.patch_embed.proj.weight, body.patch_embed.proj.bias, STRIDE)
    tokens = torch.cat([body.cls_token.expand(4, -1, -1), patches.flatten(2).mT], dim=1) + body.pos_embed
    tokens = tokens + 2.5 * ours.cameras[cameras]
    for block in body.blocks[:-1]:
        tokens = block(tokens)
    encoded = ours.encode(images(), cameras)
    torch.testing.assert_close(encoded.earlier, tokens)
    torch.testing.assert_close(encoded.token, body.norm(body.blocks[-1](tokens))[:, 0])


def test_an_unknown_camera_gets_the_mean():
    ours = backbone()
    with torch.no_grad():
        ours.cameras.copy_(torch.randn_like(ours.cameras))
    unknown = torch.full((4,), -1)
    assert torch.equal(ours(images(), unknown), ours(images()))
    mixed = ours(images(), torch.tensor([-1, 0, 1, 2]))
    torch.testing.assert_close(mixed[:1], ours(images())[:1])
    assert not torch.allclose(mixed[1:], ours(images())[1:], atol=1e-3)
    with torch.no_grad():
        ours.cameras.copy_(ours.cameras.mean(0, keepdim=True).expand_as(ours.cameras))
    torch.testing.assert_close(ours(images(), torch.tensor([0, 1, 2, 0])), ours(images()))


def test_checkpointed_gradients_are_the_same():
    gradients = []
    for checkpointed in (False, True):
        ours = backbone(gradient_checkpointing=checkpointed, drop_path_rate=0.0).train()
        ours.encode(images(), torch.tensor([0, 1, 2, 0])).token.square().sum().backward()
        gradients.append(ours.cameras.grad)
    torch.testing.assert_close(*gradients)


def test_one_camera_needs_no_embedding():
    assert backbone(cameras=["a/1"]).cameras is None


@pytest.mark.parametrize("name", ["resnet10t", "test_vit2"])
def test_other_models_are_refused(name):
    with pytest.raises(
        ValueError, match=r"name must be a plain vision transformer|patch_stride must be null"
    ):
        TransReIDBackbone(name, None, CAMERAS, image_size=SIZE, patch_stride=None if "vit" in name else 12)


def dealt(patches, columns):
    """Return cards that are dealt out one heap after the other and collected row by row."""
    heap = len(patches) // columns
    return [patches[column * heap + row] for row in range(heap) for column in range(columns)]


@pytest.mark.parametrize("count", [8, 12, 210])
@pytest.mark.parametrize("shift", [1, 3, 5])
@pytest.mark.parametrize("columns", [1, 2])
def test_patches_are_moved_and_dealt_out(count, shift, columns):
    tokens = torch.arange(count + 1).view(1, -1, 1)
    patches = list(range(1, count + 1))
    expected = dealt(patches[shift - 1 :] + patches[: shift - 1], columns)
    assert shuffled(tokens, shift, columns).flatten().tolist() == expected


def test_an_odd_number_of_patches_repeats_the_last_but_one():
    assert sorted(shuffled(torch.arange(6).view(1, 6, 1), 1, 2).flatten().tolist()) == [1, 2, 3, 4, 4, 5]


def network(**settings):
    torch.manual_seed(0)
    return ReIDNetwork(
        TransReIDBackbone(NAME, None, CAMERAS, image_size=SIZE, patch_stride=STRIDE),
        TokenPooling(),
        parts=lambda channels: Jigsaw(channels, **settings),
        num_identities=5,
    ).eval()


def test_a_group_is_what_the_last_block_makes_of_it_with_the_class_token():
    net, cameras = network(groups=2, shift=3, shuffle=2), torch.tensor([0, 1, 2, -1])
    features = net(images(), cameras)
    encoded = net.backbone.encode(net.normalize(images()), cameras)
    tokens, body = encoded.earlier, net.backbone.body
    patches = shuffled(tokens, 3, 2)
    size = (tokens.shape[1] - 1) // 2
    for group in range(2):
        sequence = torch.cat([tokens[:, :1], patches[:, group * size : (group + 1) * size]], dim=1)
        expected = body.norm(body.blocks[-1](sequence))[:, 0]  # the copy begins as the block itself
        torch.testing.assert_close(features.extra["jigsaw"][:, 1 + group] * 2, expected)
    torch.testing.assert_close(features.extra["jigsaw"][:, 0], features.before_neck)


def test_the_copy_of_the_last_block_has_weights_of_its_own():
    net = network()
    shared = {id(p) for p in net.parts.parameters()} & {id(p) for p in net.backbone.parameters()}
    assert not shared
    assert sum(p.numel() for p in net.parts.parameters()) > 0


def test_jigsaw_needs_tokens_and_patches_enough():
    with pytest.raises(InputError, match="backbone=transreid"):
        ReIDNetwork(resnet10(), parts=Jigsaw, num_identities=5)
    with pytest.raises(InputError, match=r"parts.groups must be at most the \d+ patches"):
        network(groups=99)


def test_the_loss_is_the_mean_over_groups_of_both_terms():
    torch.manual_seed(0)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    local = torch.randn(6, 3, 4, dtype=torch.float64)
    loss = JigsawLoss(num_classes=3, num_parts=4, part_size=4, label_smoothing=0.1).double()
    with torch.no_grad():
        loss.weight.normal_()
    field = torch.cat([torch.randn(6, 1, 4).double(), local / 3], dim=1)
    features = Features(field[:, 0], field[:, 0], field[:, 0], {"jigsaw": field})
    expected = 0.0
    for group in range(3):
        x = local[:, group].numpy()
        normal = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
        logits = normal @ loss.weight[group].detach().numpy().T
        logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        target = 0.9 * np.eye(3)[labels] + 0.1 / 3
        distances = np.sqrt(((x[:, None] - x[None]) ** 2).sum(2))
        same = labels.numpy()[:, None] == labels.numpy()
        hardest = [distances[a][same[a]].max() - distances[a][~same[a]].min() for a in range(6)]
        expected += (-(target * logs).sum(1).mean() + np.log1p(np.exp(hardest)).mean()) / 3
    assert float(loss(features, labels).detach()) == pytest.approx(expected, rel=1e-9)


def table(*rows):
    return pd.DataFrame(rows, columns=["split", "source", "camera_id"])


def test_cameras_are_numbered_as_in_the_training():
    data = table(
        ("train", "a", "2"), ("train", "a", "1"), ("query", "a", "3"), ("gallery", "a", "1"), ("train", "b", "1"),
        ("train", "b", None),
    )  # fmt: skip
    assert training_cameras(data) == ["a/1", "a/2", "b/1"]
    assert camera_numbers(data).tolist() == [1, 0, -1, 0, 2, -1]
    assert camera_numbers(data, ["b/1", "a/3"]).tolist() == [-1, -1, 1, -1, 0, -1]


@pytest.mark.slow
def test_a_run_in_pieces_learns_its_cameras_as_a_whole_one_and_its_checkpoint_names_them(tmp_path):
    overrides = [
        "experiment=transreid", "backbone.name=test_vit", "data.image_size=[48,32]", "trainer.max_epochs=2",
        "scheduler.warmup_epochs=1", "data.sources.pedestrians.train_identities=16", "data.validation=0.3",
        "data.sources.pedestrians.test_identities=6", "sampler.identities=4", "page=brief", "report=none",
    ]  # fmt: skip
    train(*overrides, folder=tmp_path / "whole")
    train(*overrides, "time_limit=0.0001", folder=tmp_path / "parts")
    assert not (tmp_path / "parts" / "metrics.json").exists()
    train(*overrides, "resume=last", folder=tmp_path / "parts")
    whole, parts = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "parts"))
    assert whole["test"]["mAP"] == parts["test"]["mAP"] > 0
    assert "the network uses each image's camera" in whole["protocol"]
    module, config = load_module(tmp_path / "parts" / "checkpoints" / "best.ckpt")
    names = config["backbone"]["cameras"]
    assert len(names) > 1
    assert all(name.startswith("pedestrians/") for name in names)
    assert module.network.backbone.cameras.shape[0] == len(names)
