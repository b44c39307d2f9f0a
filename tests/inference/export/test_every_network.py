"""Every backbone and head that is shipped, exported and compared with itself."""

import numpy as np
import pytest
import torch
from torch import nn

from reid_lightning.config.resolve import CONF
from reid_lightning.experiments.compose import compose
from reid_lightning.experiments.factory import build_inference_module
from reid_lightning.inference.backends import TorchBackend
from reid_lightning.inference.export.artifacts import write_onnx
from reid_lightning.inference.export.graph import ExportGraph

SIZE = (128, 64)
BACKBONES = sorted(path.stem for path in (CONF / "backbone").glob("*.yaml"))
NEEDED = {"timm": ("backbone.name=vit_tiny_patch16_224", "pooling=token"), "transreid": ("pooling=token",)}
HEADS = [
    ("neck=linear",),
    ("backbone=mildnet", "neck=mildnet"),
    ("neck=none", "pooling=max"),
    ("neck=projected", "pooling=gem"),
    ("neck=relu",),
    ("attributes=market12", "task=traits"),
    ("attributes=market12", "evaluation.flip=true", "evaluation.scales=[1.0,1.25]"),
    ("parts=aligned",),
    ("parts=pose",),
    ("parts=scp", "backbone=resnet50"),
    ("parts=stripes", "evaluation.feature=stripes"),
    ("backbone=transreid", "parts=jigsaw", "pooling=token", "evaluation.feature=jigsaw"),
    ("backbone=timm", "backbone.name=swin_tiny_patch4_window7_224"),
    ("backbone=timm", "backbone.name=vit_small_patch16_dinov3", "pooling=token"),
    ("backbone=vgg16", "descriptor=multi_depth", "evaluation.feature=descriptor"),
]


def backend_of(tmp_path, *overrides):
    """Return an untrained network whose batch statistics are not those it begins with."""
    height, width = SIZE
    settings = [f"data.image_size=[{height},{width}]", "trainer.accelerator=cpu", "neck=bnneck", *overrides]
    config = compose(settings, tmp_path)
    for part in ("backbone", "parts"):
        if config.get(part) and "weights" in config[part]:
            config[part]["weights"] = None
    torch.manual_seed(0)
    module = build_inference_module(config, {"a": 0, "b": 1, "c": 2}).eval()
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
    if module.network.descriptor is not None:
        for buffer in (module.network.descriptor.filters, module.network.descriptor.gains):
            buffer.copy_(torch.arange(buffer.numel()).view(buffer.shape) % 16)
    return TorchBackend(module)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [(f"backbone={name}", *NEEDED.get(name, ())) for name in BACKBONES] + HEADS,
    ids=lambda overrides: ",".join(overrides),
)
def test_it_says_what_torch_says(tmp_path, overrides):
    import onnxruntime

    backend = backend_of(tmp_path, *overrides)
    graph = ExportGraph(backend, attributes=True).eval()
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.integers(0, 256, (5, 3, *SIZE), dtype=np.uint8))
    write_onnx(graph, images[:2], tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for some in (images[:1], images):  # another batch than the one that was traced
        with torch.no_grad():
            wanted = graph(some)
        found = session.run(graph.names, {"images": some.numpy()})
        for ours, theirs in zip(wanted, found, strict=True):
            assert ours.shape == theirs.shape
            gap = np.abs(ours.numpy() - theirs).max() / max(1.0, float(ours.abs().max()))
            assert gap < 1e-4
        apart = 1 - nn.functional.cosine_similarity(wanted[0].double(), torch.from_numpy(found[0]).double())
        assert apart.max() < 1e-6
