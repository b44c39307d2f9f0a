import math

import pytest
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from reid_lightning.config.resolve import instantiate
from reid_lightning.engine.optimizers import OptimizerFactory
from reid_lightning.engine.schedules import CosineSchedule, Schedule, StepSchedule
from reid_lightning.errors import InputError
from reid_lightning.models.classifiers.softmax import SoftmaxClassifier
from reid_lightning.models.convolutional_backbones import osnet
from reid_lightning.models.necks import BNNeck
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.models.pooling import AveragePooling, GeMPooling
from reid_lightning.models.timm_backbone import TimmBackbone


def network(frozen_layers=0):
    return ReIDNetwork(osnet(0.25, frozen_layers=frozen_layers), GeMPooling(), BNNeck, SoftmaxClassifier, 7)


class WithCenters(nn.Module):
    def __init__(self):
        super().__init__()
        self.centers = nn.Parameter(torch.zeros(7, 128))


def factory(**arguments):
    return OptimizerFactory(torch.optim.Adam, lr=0.1, weight_decay=0.01, **arguments)


def settings(groups):
    return {parameter: (g["lr"], g["weight_decay"]) for g in groups for parameter in g["params"]}


@pytest.mark.parametrize("frozen", [0, 4])
@pytest.mark.parametrize("arguments", [{}, {"layer_decay": 0.5, "backbone_factor": 0.1}])
def test_every_trainable_parameter_is_in_exactly_one_group(frozen, arguments):
    net, objective = network(frozen), WithCenters()
    groups = factory(**arguments).groups(net, objective)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    trainable = [id(p) for p in [*net.parameters(), *objective.parameters()] if p.requires_grad]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == set(trainable)


def test_norms_biases_and_scalars_are_not_decayed_unless_asked():
    net = network()
    found = settings(factory().groups(net, nn.Module()))
    assert found[net.neck.norm.weight][1] == 0
    assert found[net.pooling.p][1] == 0
    assert found[net.backbone.body.conv2[0].gate.fc1.bias][1] == 0
    assert found[net.classifier.weight][1] == 0.01
    everything = settings(factory(decay_norms_and_biases=True).groups(net, nn.Module()))
    assert {decay for _, decay in everything.values()} == {0.01}


def test_backbone_and_head_have_rates_of_their_own():
    net, objective = network(), WithCenters()
    found = settings(factory(backbone_factor=0.1, head_factor=2.0).groups(net, objective))
    assert found[net.backbone.body.conv1.conv.weight][0] == pytest.approx(0.01)
    assert found[net.classifier.weight][0] == found[objective.centers][0] == pytest.approx(0.2)


def test_layer_decay_falls_towards_the_input():
    net = network()
    found = settings(factory(layer_decay=0.5).groups(net, nn.Module()))
    rates = [found[next(iter(layer.parameters()))][0] for layer in net.backbone.layers]
    assert rates == pytest.approx([0.1 * 0.5 ** (len(rates) - 1 - depth) for depth in range(len(rates))])


def test_layer_decay_of_a_transformer_goes_by_block():
    backbone = TimmBackbone("test_vit", None, image_size=(32, 16))
    net = ReIDNetwork(backbone, AveragePooling(), BNNeck, SoftmaxClassifier, 7)
    found = settings(factory(layer_decay=0.5).groups(net, nn.Module()))
    body = backbone.body
    assert found[body.blocks[5].mlp.fc1.weight][0] == pytest.approx(0.1)
    assert found[body.blocks[0].mlp.fc1.weight][0] == pytest.approx(0.1 * 0.5**5)
    assert found[body.pos_embed][0] == found[body.patch_embed.proj.weight][0] == pytest.approx(0.1 * 0.5**6)
    assert found[net.classifier.weight][0] == pytest.approx(0.1)


def test_scalars_of_losses_are_not_decayed():
    objective = nn.ParameterDict({"boundary": nn.Parameter(torch.tensor(1.2))})
    assert settings(factory().groups(network(), objective))[objective["boundary"]][1] == 0


def test_nothing_to_train_is_an_error():
    with pytest.raises(InputError, match="frozen"):
        factory()(nn.Linear(2, 2).requires_grad_(False), nn.Module())


def rates(schedule, epochs, steps_per_epoch):
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    scheduler = schedule(optimizer, steps_per_epoch=steps_per_epoch, epochs=epochs)
    found = []
    for _ in range(epochs * steps_per_epoch):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_bot_schedule_to_the_step():
    found = rates(
        StepSchedule([40, 70], 0.1, warmup_epochs=10, warmup_factor=0.01), epochs=120, steps_per_epoch=3
    )
    assert found[0] == pytest.approx(0.01)
    assert found[15] == pytest.approx(0.01 + 0.99 * 0.5)
    assert found[30:120] == pytest.approx([1.0] * 90)
    assert found[120:210] == pytest.approx([0.1] * 90)
    assert found[210:] == pytest.approx([0.01] * 150)


def test_cosine_schedule_to_the_step():
    found = rates(
        CosineSchedule(final_factor=0.1, warmup_epochs=1, warmup_factor=0.0), epochs=5, steps_per_epoch=4
    )
    for step in range(4, 20):
        assert found[step] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * (step - 4) / 16)) / 2)
    assert found[0] == 0
    assert found[2] == pytest.approx(0.5)


def test_settings_out_of_range_are_named():
    for make, key in [
        (lambda: Schedule(warmup_epochs=-1), "warmup_epochs"),
        (lambda: factory(layer_decay=0), "layer_decay"),
        (lambda: OptimizerFactory(torch.optim.Adam, lr=0), "lr"),
    ]:
        with pytest.raises(ValueError, match=f"^{key} must be"):
            make()


@pytest.mark.parametrize("name", ["adam", "adam_hermans", "adamw", "sgd"])
def test_steps_are_fused_and_equal_to_those_tensor_by_tensor(compose, name):
    networks = []
    for clip in ("null", "1.0"):  # what Lightning refuses to clip before in mixed precision
        torch.manual_seed(0)
        net, config = network(), compose(f"optimizer={name}", f"trainer.gradient_clip_val={clip}")
        optimizer = instantiate(config["optimizer"])(net, nn.Module())
        assert optimizer.param_groups[0]["fused"] is (clip == "null")
        for _ in range(3):
            torch.manual_seed(1)
            for parameter in net.parameters():
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
        networks.append(net)
    for fused, plain in zip(*(net.parameters() for net in networks), strict=True):
        torch.testing.assert_close(fused, plain)


@pytest.mark.parametrize(
    "name", ["test_vit", "swin_tiny_patch4_window7_224", "convnext_atto", "test_efficientnet"]
)
def test_layer_decay_is_timms_own(name):
    backbone = TimmBackbone(name, None)
    net = ReIDNetwork(backbone, AveragePooling(), BNNeck, SoftmaxClassifier, 7)
    found = settings(factory(layer_decay=0.5).groups(net, nn.Module()))
    groups = param_groups_layer_decay(backbone.body, layer_decay=0.5)
    scales = {parameter: group["lr_scale"] for group in groups for parameter in group["params"]}
    largest = max(scales.values())  # timm counts the head, which is not there, as a layer of its own
    assert scales.keys() == set(backbone.parameters())
    for parameter, scale in scales.items():
        assert found[parameter][0] == pytest.approx(0.1 * scale / largest)
