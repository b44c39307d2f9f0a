"""Files of other projects, drawn at random under their names, and what their networks make of an image, in plain torch.

Nothing here is shared with the code that is tested: names and shapes are written down by rule, and their digests are those
of the projects' own networks (`digests.json`).
"""

import hashlib
import math
import re

import foreign_clip
import foreign_solider
import torch
from torch.nn import functional

CLASSES = 11
DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
NON_LOCAL = {50: {2: 2, 3: 3}, 101: {2: 2, 3: 9}}


def batch_norm(name, channels):
    shapes = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return shapes | {f"{name}.num_batches_tracked": ()}


def instance_norm(name, channels):
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias")}


def layer(name, *shape):
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def resnet_shapes(depth, ibn=False, non_local=False):
    expansion, before = (1 if depth < 50 else 4), 64
    shapes = {"conv1.weight": (64, 3, 7, 7)} | batch_norm("bn1", 64)
    for stage, blocks in enumerate(DEPTHS[depth], start=1):
        planes = 32 * 2**stage
        after = planes * expansion
        for number in range(blocks):
            name = f"layer{stage}.{number}"
            kernels = (3, 3) if expansion == 1 else (1, 3, 1)
            sizes = (before, planes, planes) if expansion == 1 else (before, planes, planes, after)
            for place, kernel in enumerate(kernels):
                shapes[f"{name}.conv{place + 1}.weight"] = (sizes[place + 1], sizes[place], kernel, kernel)
                shapes |= batch_norm(f"{name}.bn{place + 1}", sizes[place + 1])
            if ibn and stage < 4:
                for key in list(batch_norm(f"{name}.bn1", 1)):
                    del shapes[key]
                shapes |= instance_norm(f"{name}.bn1.IN", planes // 2)
                shapes |= batch_norm(f"{name}.bn1.BN", planes - planes // 2)
            if number == 0 and (before != after or stage > 1):
                shapes[f"{name}.downsample.0.weight"] = (after, before, 1, 1)
                shapes |= batch_norm(f"{name}.downsample.1", after)
            before = after
    for stage, count in NON_LOCAL[depth].items() if non_local else ():
        channels = 128 * 2**stage
        for number in range(count):
            name = f"NL_{stage}.{number}"
            for part in ("g", "theta", "phi"):
                shapes |= layer(f"{name}.{part}", 1, channels, 1, 1)
            shapes |= layer(f"{name}.W.0", channels, 1, 1, 1) | batch_norm(f"{name}.W.1", channels)
    return shapes, before


def osnet_shapes(width, kind):
    first, *stages = (round(width * channels) for channels in (64, 256, 384, 512))
    norm = instance_norm if kind else batch_norm
    shapes = {"conv1.conv.weight": (first, 3, 7, 7)} | norm("conv1.bn", first)
    inside = {"conv2.0", "conv2.1", "conv3.1", "conv4.0"} if kind == "ain" else set()
    after_sum = {"conv2.0", "conv2.1"} if kind == "ibn" else set()

    def point(name, out, into, norm=True):
        return {f"{name}.conv.weight": (out, into, 1, 1)} | (batch_norm(f"{name}.bn", out) if norm else {})

    before = first
    for stage, channels in enumerate(stages, start=2):
        middle = channels // 4
        for number in range(2):
            name = f"conv{stage}.{number}"
            shapes |= point(f"{name}.conv1", middle, before)
            for stream in range(4):
                for light in range(stream + 1):
                    if kind == "ain":
                        part = f"{name}.conv2.{stream}.layers.{light}"
                    else:
                        part = f"{name}.conv2{'abcd'[stream]}" + (f".{light}" if stream else "")
                    shapes[f"{part}.conv1.weight"] = (middle, middle, 1, 1)
                    shapes[f"{part}.conv2.weight"] = (middle, 1, 3, 3)
                    shapes |= batch_norm(f"{part}.bn", middle)
            shapes |= layer(f"{name}.gate.fc1", middle // 16, middle, 1, 1)
            shapes |= layer(f"{name}.gate.fc2", middle, middle // 16, 1, 1)
            shapes |= point(f"{name}.conv3", channels, middle, norm=name not in inside)
            if number == 0:
                shapes |= point(f"{name}.downsample", channels, before)
            if name in inside | after_sum:
                shapes |= instance_norm(f"{name}.IN", channels)
            before = channels
        if stage < 4:
            shapes |= point(f"pool{stage}.0" if kind == "ain" else f"conv{stage}.2.0", channels, channels)
    return shapes | point("conv5", before, before), before


def shapes_of(project, name):
    """Return the shapes of a project's file by name, without wrappers."""
    if project == "solider":
        return foreign_solider.shapes_of(name, CLASSES)
    if project == "clip_reid":
        return foreign_clip.shapes_of(CLASSES)
    if project == "torchreid":
        if name.startswith("osnet"):
            kind, width = re.fullmatch(r"osnet_?(ibn|ain)?_x(\d_\d+)", name).groups()
            shapes, size = osnet_shapes(float(width.replace("_", ".")), kind or "")
        else:
            shapes, size = resnet_shapes(int(re.search(r"\d+", name)[0]), "ibn" in name)
        if name.startswith("osnet") or name.endswith("fc512"):
            shapes |= layer("fc.0", 512, size) | batch_norm("fc.1", 512)
            size = 512
        return shapes | layer("classifier", CLASSES, size)
    depth, ibn = int(re.search(r"\d+", name)[0]), "ibn" in name
    shapes, size = resnet_shapes(depth, ibn, non_local=name.startswith(("AGW", "sbs")))
    if project == "bot":
        shapes = {
            f"base.{key}": shape for key, shape in (shapes | (layer("fc", 1000, size) if ibn else {})).items()
        }
        return shapes | batch_norm("bottleneck", size) | {"classifier.weight": (CLASSES, size)}
    shapes = {f"backbone.{key}": shape for key, shape in shapes.items()}
    shapes |= batch_norm("heads.bottleneck.0", size) | {"heads.weight": (CLASSES, size)}
    return shapes | ({"heads.pool_layer.p": (1,)} if name.startswith("sbs") else {})


def digest(shapes):
    """Return what tells names and shapes from any others."""
    lines = sorted(f"{name} {tuple(shape)}" for name, shape in shapes.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def drawn(shapes, seed=0):
    """Return random tensors of given shapes, such that features neither vanish nor grow beyond all numbers."""
    random = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        tensor = torch.rand(shape, generator=random)
        if name.endswith("num_batches_tracked"):
            tensor = torch.tensor(7)
        elif len(shape) > 1:
            tensor = (2 * tensor - 1) * (3 / math.prod(shape[1:])) ** 0.5
        elif name.endswith(("running_var", "weight", ".p")):
            tensor = tensor + (2.5 if name.endswith(".p") else 0.5)
            if name.endswith(("bn3.weight", "W.1.weight")):
                tensor = 0.2 * tensor
        else:
            tensor = 0.4 * tensor - 0.2
        state[name] = tensor
    return state


class Forward:
    """A project's network, as a function of its file alone."""

    def __init__(self, state):
        self.state = state

    def conv(self, name, x, stride=1, padding=0, groups=1):
        bias = self.state.get(f"{name}.bias")
        return functional.conv2d(x, self.state[f"{name}.weight"], bias, stride, padding, groups=groups)

    def norm(self, name, x):
        if f"{name}.IN.weight" in self.state:
            half = len(self.state[f"{name}.IN.weight"])
            return torch.cat([self.norm(f"{name}.IN", x[:, :half]), self.norm(f"{name}.BN", x[:, half:])], 1)
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        if f"{name}.running_mean" in self.state:
            mean, var = self.state[f"{name}.running_mean"], self.state[f"{name}.running_var"]
        else:
            mean, var = x.mean((2, 3)), x.var((2, 3), unbiased=False)
        shape = (-1, len(weight)) + (1,) * (x.ndim - 2)
        x = (x - mean.reshape(shape)) / (var.reshape(shape) + 1e-5).sqrt()
        return x * weight.reshape(shape) + bias.reshape(shape)

    def resnet(self, x, prefix, last_stride, relu=True, border=True):
        x = self.norm(f"{prefix}bn1", self.conv(f"{prefix}conv1", x, 2, 3))
        x = x.relu() if relu else x
        if border:
            x = functional.max_pool2d(functional.pad(x, (1, 1, 1, 1), value=-torch.inf), 3, 2)
        else:
            x = functional.max_pool2d(functional.pad(x, (0, 1, 0, 1), value=-torch.inf), 3, 2)
        for stage in range(1, 5):
            stride = (1, 2, 2, last_stride)[stage - 1]
            number = 0
            while f"{prefix}layer{stage}.{number}.conv1.weight" in self.state:
                x = self.residual(f"{prefix}layer{stage}.{number}", x, stride if number == 0 else 1)
                number += 1
        return x

    def residual(self, name, x, stride):
        deep = f"{name}.conv3.weight" in self.state
        out = self.norm(f"{name}.bn1", self.conv(f"{name}.conv1", x, 1 if deep else stride, 0 if deep else 1))
        out = self.norm(f"{name}.bn2", self.conv(f"{name}.conv2", out.relu(), stride if deep else 1, 1))
        if deep:
            out = self.norm(f"{name}.bn3", self.conv(f"{name}.conv3", out.relu()))
        if f"{name}.downsample.0.weight" in self.state:
            x = self.norm(f"{name}.downsample.1", self.conv(f"{name}.downsample.0", x, stride))
        return self.after(name, (out + x).relu())

    def after(self, name, x):
        """Apply the non-local layer that follows a block, if any."""
        prefix, stage, number = re.fullmatch(r"(.*)layer(\d)\.(\d+)", name).groups()
        blocks = len(
            {
                key.split(".conv1")[0]
                for key in self.state
                if key.startswith(f"{prefix}layer{stage}.") and key.endswith(".conv1.weight")
            }
        )
        layers = len({key for key in self.state if re.fullmatch(rf"{prefix}NL_{stage}\.\d+\.g\.weight", key)})
        place = int(number) - (blocks - layers)
        if place < 0:
            return x
        name = f"{prefix}NL_{stage}.{place}"
        theta, phi, g = (self.conv(f"{name}.{part}", x)[:, 0] for part in ("theta", "phi", "g"))
        pairs = torch.einsum("bij,bkl->bijkl", theta, phi) / phi[0].numel()
        taken = torch.einsum("bijkl,bkl->bij", pairs, g)[:, None]
        return x + self.norm(f"{name}.W.1", self.conv(f"{name}.W.0", taken))

    def osnet(self, x):
        x = self.norm("conv1.bn", self.conv("conv1.conv", x, 2, 3)).relu()
        x = functional.max_pool2d(x, 3, 2, 1)
        for stage in (2, 3, 4):
            for number in (0, 1):
                x = self.omni(f"conv{stage}.{number}", x)
            if stage < 4:
                pool = f"pool{stage}.0" if f"pool{stage}.0.conv.weight" in self.state else f"conv{stage}.2.0"
                x = functional.avg_pool2d(self.point(pool, x).relu(), 2)
        return self.point("conv5", x).relu()

    def point(self, name, x):
        x = self.conv(f"{name}.conv", x)
        return self.norm(f"{name}.bn", x) if f"{name}.bn.weight" in self.state else x

    def omni(self, name, x):
        start, fused = self.point(f"{name}.conv1", x).relu(), 0
        for stream in range(4):
            out = start
            for light in range(stream + 1):
                part = f"{name}.conv2.{stream}.layers.{light}"
                if f"{part}.conv1.weight" not in self.state:
                    part = f"{name}.conv2{'abcd'[stream]}" + (f".{light}" if stream else "")
                out = self.conv(f"{part}.conv2", self.conv(f"{part}.conv1", out), 1, 1, out.shape[1])
                out = self.norm(f"{part}.bn", out).relu()
            gate = self.conv(f"{name}.gate.fc1", out.mean((2, 3), keepdim=True)).relu()
            fused = fused + out * self.conv(f"{name}.gate.fc2", gate).sigmoid()
        out = self.point(f"{name}.conv3", fused)
        has_norm = f"{name}.IN.weight" in self.state
        inside = has_norm and f"{name}.conv3.bn.weight" not in self.state
        if inside:
            out = self.norm(f"{name}.IN", out)
        if f"{name}.downsample.conv.weight" in self.state:
            x = self.point(f"{name}.downsample", x)
        out = out + x
        return (self.norm(f"{name}.IN", out) if has_norm and not inside else out).relu()


def retrieval_vectors(project, name, state, images):
    """Return what a project compares of images in [0, 1], scaled to length 1 where it does so."""
    if project == "solider":
        return foreign_solider.retrieval_vectors(state, name, images)
    if project == "clip_reid":
        return foreign_clip.retrieval_vectors(state, images)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x, net = (images - mean[:, None, None]) / std[:, None, None], Forward(state)
    if project == "torchreid":
        last_stride = 1 if name.endswith("fc512") else 2
        x = (net.osnet(x) if name.startswith("osnet") else net.resnet(x, "", last_stride)).mean((2, 3))
        if "fc.0.weight" in state:
            x = net.norm("fc.1", x @ state["fc.0.weight"].T + state["fc.0.bias"]).relu()
        return x
    if project == "bot":
        x = net.resnet(x, "base.", 1, relu="ibn" in name).mean((2, 3))
        return functional.normalize(net.norm("bottleneck", x))
    neck = "heads.bnneck" if "heads.bnneck.weight" in state else "heads.bottleneck.0"
    x = net.resnet(x, "backbone.", 1, border=neck == "heads.bnneck")
    if name.startswith("bagtricks"):
        x = x.mean((2, 3))
    else:
        p = float(state.get("heads.pool_layer.p", torch.tensor(3.0)))
        x = x.clamp(min=1e-6).pow(p).mean((2, 3)).pow(1 / p)
    return functional.normalize(net.norm(neck, x))
