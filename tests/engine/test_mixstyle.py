"""Styles mixed between the images of a batch: the formula, the places, and what follows from the seed."""

from types import SimpleNamespace

import pytest
import torch

from reid_lightning.engine.callbacks.mixstyle import MixStyle
from reid_lightning.models.convolutional_backbones import resnet10
from reid_lightning.models.mixstyle import mix_style
from reid_lightning.models.network import ReIDNetwork


def published(x, lmda, perm, eps=1e-6):
    """The authors' program, line by line (KaiyangZhou/mixstyle-release, imcls/models/mixstyle.py)."""
    size = x.size(0)
    mu = x.mean(dim=[2, 3], keepdim=True)
    var = x.var(dim=[2, 3], keepdim=True, unbiased=False)
    sig = (var + eps).sqrt()
    mu, sig = mu.detach(), sig.detach()
    x_normed = (x - mu) / sig
    lmda = lmda.view(size, 1, 1, 1)
    mu2, sig2 = mu[perm], sig[perm]
    return x_normed * (sig * lmda + sig2 * (1 - lmda)) + mu * lmda + mu2 * (1 - lmda)


def fitted(callback, epoch=0, rank=0):
    """A module whose network is in training, with the callback at work, and its trainer."""
    torch.manual_seed(0)
    module = SimpleNamespace(network=ReIDNetwork(resnet10(width=0.125), num_identities=3).train())
    trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank)
    callback.on_fit_start(trainer, module)
    return module.network.backbone, trainer, module


def test_the_formula_and_its_gradient_are_the_published_ones():
    torch.manual_seed(1)
    maps = torch.randn(5, 4, 6, 3, dtype=torch.float32, requires_grad=True)
    order, weights = torch.randperm(5), torch.rand(5)
    found, wanted = mix_style(maps, order, weights), published(maps, weights, order)
    torch.testing.assert_close(found, wanted)
    (one,) = torch.autograd.grad(found.square().sum(), maps)
    (other,) = torch.autograd.grad(wanted.square().sum(), maps)
    torch.testing.assert_close(one, other)
    assert mix_style(maps.bfloat16(), order, weights).dtype == torch.bfloat16


def test_an_image_mixed_with_itself_stays():
    maps = torch.randn(3, 2, 5, 5)
    torch.testing.assert_close(mix_style(maps, torch.arange(3), torch.rand(3)), maps)


def test_what_is_drawn_follows_from_seed_epoch_step_and_process():
    images = torch.rand(6, 3, 32, 16)

    def maps(seed, epoch, step, rank):
        callback = MixStyle(seed, probability=1.0)
        backbone, trainer, module = fitted(callback, epoch, rank)
        callback.on_train_batch_start(trainer, module, None, step)
        return backbone(images).detach()

    first = maps(1, 0, 0, 0)
    assert torch.equal(first, maps(1, 0, 0, 0))
    for other in ((2, 0, 0, 0), (1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1)):
        assert not torch.allclose(first, maps(*other))


def test_nothing_is_mixed_outside_of_a_step_of_training():
    images = torch.rand(4, 3, 32, 16)
    callback = MixStyle(1, probability=1.0)
    backbone, trainer, module = fitted(callback)
    plain = resnet10(width=0.125)
    plain.load_state_dict(backbone.state_dict())
    assert list(plain.state_dict()) == list(backbone.state_dict())
    torch.testing.assert_close(backbone(images), plain.train()(images))
    callback.on_train_batch_start(trainer, module, None, 0)
    assert not torch.allclose(backbone(images), plain(images))
    backbone.eval()
    plain.load_state_dict(backbone.state_dict())
    torch.testing.assert_close(backbone(images), plain.eval()(images))
    backbone.train()
    callback.on_train_batch_end(trainer, module, None, None, 0)
    torch.testing.assert_close(backbone(images), plain.train()(images))
    callback.on_fit_end(trainer, module)
    assert not any(part._forward_hooks for part in backbone.modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probability": 1.5}, "^probability must be >= 0 and <= 1"),
        ({"alpha": 0}, "^alpha must be > 0"),
        ({"layers": []}, "^layers must be one depth or more"),
        ({"layers": [-1]}, "^layers must be one depth or more"),
    ],
)
def test_numbers_that_say_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MixStyle(1, **options)


def test_a_depth_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"layers must be 0 to 4, the depths of this backbone, got \[9\]"):
        fitted(MixStyle(1, layers=[9]))
