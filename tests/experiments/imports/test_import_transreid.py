"""TransReID's files give the vectors of its published network, which is written out here in plain torch."""

import json
import math
from pathlib import Path

import pytest
import torch
from foreign import CLASSES, batch_norm, digest, drawn, layer
from torch.nn import functional

from reid_lightning.errors import InputError
from reid_lightning.experiments.checkpoint import load_module
from reid_lightning.experiments.imports.write import import_file
from reid_lightning.retrieval.evaluation import vectors

pytestmark = pytest.mark.slow

DIGESTS = json.loads(Path(__file__).with_name("digests.json").read_text())
NAME = "deit_small_patch16_224_TransReID"  # the smallest; the project itself gives it no jigsaw branch
BASE = "vit_base_patch16_224_TransReID"


def block_shapes(name, width):
    shapes = layer(f"{name}.norm1", width) | layer(f"{name}.norm2", width)
    shapes |= layer(f"{name}.attn.qkv", 3 * width, width) | layer(f"{name}.attn.proj", width, width)
    return shapes | layer(f"{name}.mlp.fc1", 4 * width, width) | layer(f"{name}.mlp.fc2", width, 4 * width)


def layer_norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def shapes_of(width=384, patches=210, cameras=6, jigsaw=True):
    shapes = {"base.cls_token": (1, 1, width), "base.pos_embed": (1, 1 + patches, width)}
    if cameras:
        shapes["base.sie_embed"] = (cameras, 1, width)
    shapes |= layer("base.patch_embed.proj", width, 3, 16, 16)
    for number in range(12):
        shapes |= block_shapes(f"base.blocks.{number}", width)
    shapes |= layer_norm("base.norm", width) | layer("base.fc", 1000, width)
    for branch in ("b1", "b2") if jigsaw else ():
        shapes |= block_shapes(f"{branch}.0", width) | layer_norm(f"{branch}.1", width)
    for ending in ("", "_1", "_2", "_3", "_4") if jigsaw else ("",):
        shapes |= {f"classifier{ending}.weight": (CLASSES, width)} | batch_norm(f"bottleneck{ending}", width)
    return shapes


def forward(state, images, cameras, heads, stride):
    """Return what the published network compares, of images in [0, 1], before it is scaled to length 1."""

    def linear(name, x):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name, x):
        return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def block(name, x):
        qkv = linear(f"{name}.attn.qkv", norm(f"{name}.norm1", x)).unflatten(2, (3, heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
        x = x + linear(f"{name}.attn.proj", (weights @ v).transpose(1, 2).flatten(2))
        hidden = functional.gelu(linear(f"{name}.mlp.fc1", norm(f"{name}.norm2", x)))
        return x + linear(f"{name}.mlp.fc2", hidden)

    proj = "base.patch_embed.proj"
    x = functional.conv2d((images - 0.5) / 0.5, state[f"{proj}.weight"], state[f"{proj}.bias"], stride)
    x = torch.cat([state["base.cls_token"].expand(len(x), -1, -1), x.flatten(2).mT], dim=1)
    x = x + state["base.pos_embed"]
    if "base.sie_embed" in state:
        x = x + 3.0 * state["base.sie_embed"][cameras]
    for number in range(11):
        x = block(f"base.blocks.{number}", x)
    if "b1.0.norm1.weight" not in state:
        return norm("base.norm", block("base.blocks.11", x))[:, 0]
    whole = norm("b1.1", block("b1.0", x))[:, 0]
    patches = torch.cat([x[:, 5:], x[:, 1:5]], dim=1)
    half = patches.shape[1] // 2
    patches = torch.stack([patches[:, :half], patches[:, half:]], dim=2).flatten(1, 2)
    size = patches.shape[1] // 4
    groups = [
        norm("b2.1", block("b2.0", torch.cat([x[:, :1], patches[:, start : start + size]], dim=1)))[:, 0] / 4
        for start in range(0, 4 * size, size)
    ]
    return torch.cat([whole, *groups], dim=1)


def imported(folder, name=NAME, **kind):
    state = drawn(shapes_of(**kind))
    torch.save(state, folder / "theirs.pth")
    return import_file(folder / "theirs.pth", "transreid", name, folder / "ours.ckpt"), state


@pytest.mark.parametrize(
    ("size", "patches", "stride", "cameras", "jigsaw"),
    [((256, 128), 210, 12, 6, True), ((256, 128), 128, 16, 0, False), ((384, 128), 192, 16, 15, True)],
)
def test_vectors_are_those_of_the_published_network(tmp_path, size, patches, stride, cameras, jigsaw):
    _, state = imported(tmp_path, patches=patches, cameras=cameras, jigsaw=jigsaw)
    module, config = load_module(tmp_path / "ours.ckpt")
    assert tuple(config["data"]["image_size"]) == size
    random = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, *size, generator=random)
    seen = torch.tensor([0, cameras - 1]) if cameras else torch.tensor([-1, -1])
    with torch.no_grad():
        theirs = functional.normalize(forward(state, images, seen, 6, stride))
        ours = vectors(module.network(images, seen), module.protocol)
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("jigsaw", [True, False])
def test_names_and_shapes_are_those_of_the_projects_own_network(jigsaw):
    shapes = shapes_of(width=768, patches=210 if jigsaw else 128, jigsaw=jigsaw)
    assert digest(shapes) == DIGESTS[f"transreid/{'vit_transreid_stride' if jigsaw else 'vit_sie'}"]


def test_its_cameras_have_names_and_what_is_not_used_is_listed(tmp_path):
    became, _ = imported(tmp_path)
    _, config = load_module(tmp_path / "ours.ckpt")
    assert config["backbone"]["cameras"] == [f"market1501/{number}" for number in range(1, 7)]
    assert (config["evaluation"]["feature"], config["evaluation"]["distance"]) == ("jigsaw", "euclidean")
    reasons = set(became.unused.values())
    assert len(reasons) == 4
    assert any("b1 and b2" in reason for reason in reasons)
    assert "an image of any other gets the mean of them" in became.notes[0]


def test_other_sizes_and_networks_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"base.pos_embed must be of 128, 210, 192, 310 patches"):
        imported(tmp_path, patches=99)
    with pytest.raises(InputError, match="eight blocks"):
        import_file(
            tmp_path / "theirs.pth", "transreid", "vit_small_patch16_224_TransReID", tmp_path / "ours.ckpt"
        )
    with pytest.raises(InputError, match="tensors have another shape"):
        imported(tmp_path, name=BASE)
    with pytest.raises(InputError, match="use --from transreid"):
        import_file(tmp_path / "theirs.pth", "bot", "resnet50", tmp_path / "ours.ckpt")
