"""Files in the naming of other projects, written here from networks whose output is known."""

import urllib.error
import urllib.request
import zipfile

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from timm.models.swin_transformer import SwinTransformer
from torch.nn import functional

from reid_lightning.engine.module import ReIDModule
from reid_lightning.errors import InputError
from reid_lightning.models.convolutional_backbones import mildnet, osnet, resnet, resnet10, vgg16
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.models.normalization import InputNormalization
from reid_lightning.models.osnet import OSNet
from reid_lightning.models.timm_backbone import TimmBackbone
from reid_lightning.models.weight_names import from_solider
from reid_lightning.models.weights import feed_in, load_weights
from reid_lightning.systems.pose.bilinear import PoseBilinear

ONE = torch.ones(1)


def prefixed(prefix, state):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def randomised(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator))
    return module


IBN = lambda weights: resnet("resnet18", weights, instance_norm=True)  # noqa: E731
RESNET = lambda weights: resnet("resnet18", weights)  # noqa: E731
FILES = {
    "torchvision": (
        lambda: torchvision.models.resnet18(),
        RESNET,
        lambda state: state,
    ),
    "timm": (lambda: timm.create_model("resnet18"), RESNET, lambda state: state),
    "torchreid": (
        lambda: OSNet(0.25),
        lambda weights: osnet(0.25, weights),
        lambda state: {
            "state_dict": prefixed("module.", state | {"fc.0.weight": ONE, "classifier.weight": ONE}),
            "epoch": 60,
            "rank1": np.float64(0.94),
            "optimizer": {"param_groups": [{"lr": 0.1}]},
        },
    ),
    "fast-reid": (
        lambda: IBN(None).body,
        IBN,
        lambda state: {
            "model": prefixed("backbone.", state) | {"heads.bottleneck.0.weight": ONE, "heads.weight": ONE},
            "iteration": 1,
        },
    ),
    "luperson_moco": (
        lambda: RESNET(None).body,
        RESNET,
        lambda state: {
            "state_dict": prefixed("module.encoder_q.", state)
            | prefixed("module.encoder_k.", {name: torch.zeros_like(t) for name, t in state.items()})
            | {"module.queue": ONE, "module.encoder_q.fc.0.weight": ONE},
        },
    ),
    "luperson_bare": (lambda: RESNET(None).body, RESNET, lambda state: state),
    "transreid": (
        lambda: timm.create_model("test_vit", img_size=(64, 32)),
        lambda weights: TimmBackbone("test_vit", weights, image_size=(64, 32)),
        lambda state: prefixed("base.", state) | {"bottleneck.weight": ONE, "classifier.weight": ONE},
    ),
}


@pytest.mark.parametrize("naming", FILES)
def test_every_tensor_of_the_backbone_is_loaded(naming, tmp_path, caplog):
    source, build, write = FILES[naming]
    state = randomised(source()).state_dict()
    torch.save(write(state), tmp_path / "weights.pth")
    with caplog.at_level("INFO", logger="reid_lightning"):
        body = build(str(tmp_path / "weights.pth")).body
    loaded = {name: t for name, t in body.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())
    assert f"{len(loaded)} of {len(loaded)} tensors loaded" in caplog.text


def test_vgg_loads_torchvisions_file(tmp_path):
    with torch.device("meta"):  # its linear layers have 120 million numbers, which the file needs not hold
        features = torchvision.models.vgg16().features
    state = {
        f"features.{name}": tensor
        for name, tensor in randomised(features.to_empty(device="cpu")).state_dict().items()
    }
    torch.save(state, tmp_path / "vgg.pth")
    body = vgg16(str(tmp_path / "vgg.pth")).body
    assert all(torch.equal(tensor, state[name]) for name, tensor in body.state_dict().items())


def test_too_few_matches_are_an_error_and_some_are_reported(tmp_path):
    for naming in ("torchreid", "fast-reid"):
        source, _, write = FILES[naming]
        torch.save(write(source().state_dict()), tmp_path / f"{naming}.pth")
    with pytest.raises(InputError, match=r"torchreid\.pth does not fit: 0 of 100 tensors loaded"):
        RESNET(str(tmp_path / "torchreid.pth"))
    report = load_weights(RESNET(None).body, tmp_path / "fast-reid.pth")  # without IBN-a
    assert len(report.missing) == 6 * 4
    assert sum(".bn1.IN." in name for name in report.unexpected) == 6 * 2


@pytest.mark.parametrize("old_size", [(160, 160), (128, 64)])
def test_position_embeddings_are_interpolated_to_the_image(old_size, tmp_path):
    source = randomised(timm.create_model("test_vit", img_size=old_size))
    torch.save(source.state_dict(), tmp_path / "vit.pth")
    body = TimmBackbone("test_vit", str(tmp_path / "vit.pth"), image_size=(64, 32)).body
    grid = tuple(side // 16 for side in old_size)
    positions = source.pos_embed[:, 1:].unflatten(1, grid).permute(0, 3, 1, 2)
    expected = functional.interpolate(positions, (4, 2), mode="bicubic", antialias=True)
    torch.testing.assert_close(body.pos_embed[:, 1:], expected.flatten(2).transpose(1, 2))
    assert torch.equal(body.pos_embed[:, 0], source.pos_embed[:, 0])
    assert torch.equal(body.blocks[0].attn.qkv.weight, source.blocks[0].attn.qkv.weight)


def swin(image_size=(56, 56), window=7):
    torch.manual_seed(0)
    return SwinTransformer(
        img_size=image_size, patch_size=2, window_size=window, embed_dim=8, depths=(1, 1), num_heads=(1, 2),
        num_classes=0, global_pool="",
    ).eval()  # fmt: skip


def test_a_smaller_window_keeps_the_biases_of_its_offsets(tmp_path):
    source = swin()
    table = source.layers[0].blocks[0].attn.relative_position_bias_table
    with torch.no_grad():
        table.copy_(torch.randn(table.shape))
    torch.save(source.state_dict(), tmp_path / "swin.pth")
    target = swin(image_size=(14, 8))
    attention = target.layers[0].blocks[0].attn
    assert attention.window_size == (7, 4)
    load_weights(target, tmp_path / "swin.pth")
    theirs, ours = table.unflatten(0, (13, 13)), attention.relative_position_bias_table.unflatten(0, (13, 7))
    for column in range(-3, 4):
        assert torch.equal(ours[:, 3 + column], theirs[:, 6 + column])


def solider(model, semantic):
    """The state of a Swin as SOLIDER saves it."""
    state = {}
    for name, tensor in model.state_dict().items():
        name = name.replace("patch_embed.proj", "patch_embed.projection").replace("layers.", "stages.")
        name = name.replace(".attn.", ".attn.w_msa.")
        name = name.replace(".mlp.fc1.", ".ffn.layers.0.0.").replace(".mlp.fc2.", ".ffn.layers.1.")
        if "downsample" in name:
            name = name.replace("stages.1.", "stages.0.")
            channels = tensor.shape[-1] // 4
            reordered = torch.empty_like(tensor)
            for channel in range(channels):
                for row in range(2):
                    for column in range(2):
                        theirs = channel * 4 + row * 2 + column  # of nn.Unfold
                        ours = (column * 2 + row) * channels + channel
                        reordered[..., theirs] = tensor[..., ours]
            tensor = reordered
        state["norm3" + name.removeprefix("norm") if name.startswith("norm.") else name] = tensor
    state |= {"stages.0.blocks.0.attn.w_msa.relative_position_index": torch.zeros(49, 49, dtype=torch.long)}
    for part, layer in semantic.items():
        state |= {
            f"semantic_embed_{part}.0.weight": layer.weight,
            f"semantic_embed_{part}.0.bias": layer.bias,
        }
    return {"teacher": prefixed("backbone.", state)}


def test_soliders_swin_gives_soliders_features(tmp_path):
    source = swin()
    semantic = {part: torch.nn.Linear(2, 16) for part in ("w", "b")}
    torch.save(solider(source, semantic), tmp_path / "solider.pth")
    target = swin()
    target.layers[1].downsample.reduction.bias = torch.nn.Parameter(torch.zeros(16))  # as TimmBackbone has it
    report = load_weights(target, tmp_path / "solider.pth")
    assert not report.missing
    assert not report.wrong_shape

    def controlled(module, inputs, output):
        weight = torch.tensor([0.2, 0.8])
        return output * functional.softplus(semantic["w"](weight)) + semantic["b"](weight)

    source.layers[1].downsample.register_forward_hook(controlled)
    pixels = torch.rand(2, 3, 56, 56)
    feed = feed_in(tmp_path / "solider.pth")
    assert str(feed) == "mean .5, deviation .5, bilinear interpolation (SOLIDER)"
    seen = InputNormalization(feed.mean, feed.std)(pixels)
    with torch.no_grad():
        torch.testing.assert_close(target(seen), source((pixels - 0.5) / 0.5), atol=1e-4, rtol=1e-4)


def test_patches_are_merged_as_an_unfold_would():
    merged = torch.nn.Unfold(2, stride=2)(torch.arange(3 * 4.0).view(1, 3, 2, 2))[0, :, 0]
    renamed = from_solider({"stages.0.downsample.norm.weight": merged, "stages.0.blocks.0.attn.w_msa.x": ONE})
    expected = [
        channel * 4 + row * 2 + column for column in range(2) for row in range(2) for channel in range(3)
    ]
    assert renamed["layers.1.downsample.norm.weight"].tolist() == expected


def test_a_timm_swin_has_a_place_for_the_shift_and_is_else_timms(tmp_path):
    name = "swin_tiny_patch4_window7_224"
    theirs = timm.create_model(name, num_classes=0, global_pool="", img_size=(64, 32)).eval()
    torch.save(theirs.state_dict(), tmp_path / "swin.pth")
    ours = TimmBackbone(name, str(tmp_path / "swin.pth"), image_size=(64, 32)).eval()
    images = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images).permute(0, 3, 1, 2))
    assert [n for n, _ in ours.named_parameters() if n.endswith("reduction.bias")] == [
        f"body.layers.{stage}.downsample.reduction.bias" for stage in (1, 2, 3)
    ]


OWN = {
    "resnet10": lambda weights: resnet10(weights=weights),
    "resnet18": RESNET,
    "ibn": IBN,
    "osnet": lambda weights: osnet(0.25, weights),
    "mildnet": lambda weights: mildnet(0.125, weights),
    "timm": lambda weights: TimmBackbone("test_vit", weights, image_size=(64, 32)),
}


@pytest.mark.parametrize("backbone", OWN)
def test_a_checkpoint_of_this_project_is_a_file_of_weights(backbone, tmp_path, caplog):
    network = randomised(ReIDNetwork(OWN[backbone](None), num_identities=3))
    module = ReIDModule(network)
    checkpoint = {"epoch": 1, "state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "best.ckpt")
    with caplog.at_level("INFO", logger="reid_lightning"):
        loaded = OWN[backbone](str(tmp_path / "best.ckpt"))
    expected = network.backbone.state_dict()
    names = [name for name in expected if not name.endswith("num_batches_tracked")]
    assert all(torch.equal(loaded.state_dict()[name], expected[name]) for name in names)
    assert f"{len(names)} of {len(names)} tensors loaded" in caplog.text


def test_a_part_branch_is_found_in_a_checkpoint(tmp_path):
    pose = randomised(PoseBilinear(in_features=8, channels=4, width=4))
    torch.save({"state_dict": prefixed("network.parts.", pose.state_dict())}, tmp_path / "best.ckpt")
    loaded = PoseBilinear(in_features=8, channels=4, width=4, weights=tmp_path / "best.ckpt")
    expected = pose.branch.state_dict()
    for name, tensor in loaded.branch.state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(tensor, expected[name])


def test_a_server_that_does_not_answer_is_asked_once(monkeypatch):
    asked = []

    def offline(request, timeout):
        asked.append((request.full_url, timeout))
        raise urllib.error.URLError("offline")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    with pytest.raises(
        InputError, match=r"fetch https://huggingface\.co/timm/resnet10t.*/model\.safetensors on another"
    ):
        TimmBackbone("resnet10t", "imagenet")
    assert [url for url, _ in asked] == ["https://huggingface.co"]


def test_weights_in_the_cache_need_no_network(monkeypatch, tmp_path):
    file = tmp_path / "model.safetensors"
    state = randomised(timm.create_model("resnet10t")).state_dict()
    save_file(state, file)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(file))
    monkeypatch.setattr(urllib.request, "urlopen", None)
    body = TimmBackbone("resnet10t", "imagenet").body
    assert all(torch.equal(tensor, state[name]) for name, tensor in body.state_dict().items())


def test_a_compressed_file_is_not_unpacked(tmp_path):
    """Eight megabytes may hold gigabytes of zeros."""
    torch.save(resnet10().state_dict(), tmp_path / "plain.pth")
    small = tmp_path / "small.pth"
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    with pytest.raises(InputError, match=r"small\.pth cannot be read as weights: it is compressed"):
        load_weights(resnet10(), small)
