"""The recipes build what their papers say; what they compose to is in tests/golden/."""

import pytest
import torch

from reid_lightning.config.resolve import instantiate
from reid_lightning.experiments.factory import build_module, build_network
from reid_lightning.models.ibn import InstanceBatchNorm
from reid_lightning.models.pooling import GeMPooling
from reid_lightning.systems.multi_depth.descriptor import MultiDepthDescriptor


def rates(config, *epochs):
    """Learning rate at some epochs."""
    schedule, total = instantiate(config["scheduler"]), config["trainer"]["max_epochs"]
    return [config["optimizer"]["lr"] * schedule.multiplier(epoch, total) for epoch in epochs]


def test_the_strong_baseline_is_bag_of_tricks(compose):
    config = compose("experiment=strong", "data.weights=null")
    assert rates(config, 0, 10, 39.9, 40, 69.9, 70, 119) == pytest.approx(
        [3.5e-6, 3.5e-4, 3.5e-4, 3.5e-5, 3.5e-5, 3.5e-6, 3.5e-6]
    )
    assert (config["sampler"]["identities"], config["sampler"]["images_per_identity"]) == (
        16,
        4,
    )  # the default's too
    module = build_module(config, num_identities=16)
    network = module.network
    assert network.classifier.bias is None
    assert network.classifier.label_smoothing == 0.1
    assert not network.neck.norm.bias.requires_grad
    assert {c.stride for c in network.backbone.body.layer4.modules() if isinstance(c, torch.nn.Conv2d)} == {
        (1, 1)
    }
    groups = module._optimizer(network, module.objective).param_groups
    assert {group["weight_decay"] for group in groups} == {5e-4}
    triplet = module.objective.losses["triplet"]
    assert (triplet.margin, triplet.squared, triplet.soft_margin) == (0.3, False, False)


def test_the_strong_baselines_centers_move_as_its_sgd_moves_them(compose):
    config = compose("experiment=strong", "data.weights=null")["loss"]["center"]
    weight = config.pop("weight")
    loss = instantiate(config)(num_classes=20, embedding_size=8)
    generator = torch.Generator().manual_seed(0)
    loss.centers.copy_(torch.randn(20, 8, generator=generator))
    embeddings = torch.randn(64, 8, generator=generator)
    labels = torch.randperm(20, generator=generator)[:16].repeat_interleave(4)

    centers = loss.centers.clone().requires_grad_()
    theirs = (embeddings - centers[labels]).square().sum(1).mean()  # its weight is undone for the centers
    theirs.backward()
    ours = loss(embeddings, labels)
    torch.testing.assert_close(weight * ours, 5e-4 * theirs.detach())
    torch.testing.assert_close(loss.centers, (centers - 0.5 * centers.grad).detach())


def test_the_best_recipe_is_more_than_the_baseline(compose):
    config = compose("experiment=best", "data.weights=null")
    network = build_network(config, 5)
    assert sum(isinstance(module, InstanceBatchNorm) for module in network.modules()) == 3 + 4 + 6
    assert isinstance(network.pooling, GeMPooling)
    assert type(network.classifier).__name__ == "CircleClassifier"
    assert config["frozen_epochs"] == 0
    assert compose("experiment=best", "data.weights=imagenet")["frozen_epochs"] == 5
    assert rates(config, 10, 60) == pytest.approx([3.5e-4, 7e-7])


def test_the_transformer_sees_the_whole_grid(compose):
    config = compose("experiment=transformer", "data.weights=null", "backbone.name=vit_tiny_patch16_224")
    network = build_network(config, 5)
    assert network.backbone.body.patch_embed.grid_size == (16, 8)
    assert network.backbone.body.pos_embed.shape == (1, 1 + 16 * 8, 192)


def test_birjand_trains_a_classifier_and_compares_the_descriptor(compose):
    config = compose("experiment=birjand", "data.weights=null", "callbacks=average")
    names = list(config["callbacks"])
    assert names.index("average") < names.index("explore")  # filters of the averaged weights
    descriptor = build_network(config, 5).descriptor
    assert isinstance(descriptor, MultiDepthDescriptor)
    assert (len(descriptor.layers), descriptor.box, descriptor.filters.shape) == (13, 20, (13, 1))


def test_the_recipe_of_an_hour_keeps_the_first_stages_and_trains_the_rest(compose):
    config = compose("experiment=cpu/hour", "data.weights=imagenet")
    network = build_network(config, num_identities=16)
    body = network.backbone.body
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    kept = {name.split(".conv")[0].split(".bn")[0] for name in dict(body.named_parameters())} - {
        name.removeprefix("backbone.body.").split(".conv")[0].split(".bn")[0] for name in trained
    }
    assert {name for name in kept if name.startswith("blocks")} == {
        "blocks.0.0", "blocks.1.0", "blocks.1.1", "blocks.2.0", "blocks.2.1",
    }  # fmt: skip
    maps = []
    handle = body.blocks[2].register_forward_hook(lambda module, given, made: maps.append(made.shape))
    network.eval()(torch.zeros(1, 3, *config["data"]["image_size"]))
    handle.remove()
    height, width = config["data"]["image_size"]
    assert maps == [(1, 40, height // 8, width // 8)]  # an eighth of the image's size
    assert not body.conv_stem.weight.requires_grad
    assert body.conv_stem.weight.std() > 0.1  # of ImageNet, not of the start
    assert (network.classifier.scale, network.classifier.margin) == (16.0, 0.3)
    assert config["loss"] == {}


def test_the_recipe_of_an_evening_is_that_of_an_hour_with_attributes_and_a_third_size(compose):
    hour, evening = (compose(f"experiment=cpu/{name}", "data.weights=null") for name in ("hour", "evening"))
    for key in ("backbone", "classifier", "optimizer", "scheduler", "sampler", "neck", "loss"):
        assert {**hour[key], "image_size": None} == {**evening[key], "image_size": None}
    assert evening["data"]["image_size"] == [256, 128]
    assert [evening["callbacks"]["progressive_size"][key] for key in ("scales", "starts")] == [
        [0.5, 0.75, 1.0],
        [0.0, 0.4, 0.7],
    ]
    network = build_network(evening, 5)
    assert network.attributes is not None
    assert network.attributes.added_features == 0  # retrieval compares the same vector


def test_transreid_weighs_the_image_and_its_groups_as_the_paper(compose):
    config = compose("experiment=transreid", "data.weights=null", "backbone.name=vit_tiny_patch16_224")
    weights = [
        config["classifier"]["weight"],
        *(config["loss"][name]["weight"] for name in ("triplet", "jigsaw")),
    ]
    assert weights == [0.5, 0.5, 0.5]  # eq. 5
    network = build_network(config, 5)
    assert network.backbone.body.patch_embed.grid_size == (21, 10)
    assert network.parts.local_shape == (5, 192)
