"""Whether imported models of other projects give the features that they gave there, by the projects' own code.

`python benchmarks/imported.py --torchreid DIR --fastreid DIR --bot DIR --transreid DIR --solider DIR --clip_reid DIR`,
each the root of a checkout of the project (fast-reid's needs the packages yacs and termcolor, TransReID's and SOLIDER's
yacs, CLIP-ReID's yacs, ftfy and regex). TransReID is told the cameras, which files alone do not tell.
Every network is built by the project, its weights and statistics are drawn at random, it is saved as the project
saves, imported, and loaded as a user loads it.
Printed is the largest difference of the retrieval vectors of four images, as a share of the largest value: of the network
alone, and from image files, which are larger than what the network sees, through either side's preprocessing. The exit
code is 1 if a network alone differs by more than 1e-5.
"""

import argparse
import collections.abc
import importlib
import importlib.util
import math
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from reid_lightning.experiments.imports.projects import PROJECTS
from reid_lightning.experiments.imports.write import import_file
from reid_lightning.inference.embed import Embedder
from reid_lightning.retrieval.evaluation import vectors

MEAN, STD = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
HALF = 0.5  # mean and deviation of SOLIDER and of CLIP-ReID's transformers
SOURCE_SIZE = (407, 203)  # pixels of the image files
TOLERANCE = 1e-5
SPREAD = 1e-2  # least deviation of a dimension over the images, as a share of the largest value

Built = tuple[nn.Module, Callable[[nn.Module], Any]]  # the project's network, and what it saves


def torchreid(folder: Path, name: str) -> Built:
    """Build a network of torchreid from its file alone: its package imports compiled code."""
    kind = next(kind for kind in ("osnet_ain", "osnet", "resnet50_ibn_a", "resnet") if name.startswith(kind))
    file = folder / "torchreid" / "models" / f"{kind.replace('50', '')}.py"
    spec = importlib.util.spec_from_file_location(f"torchreid_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = getattr(module, name)(num_classes=11, pretrained=False)
    return network, lambda network: {
        "state_dict": network.state_dict(),
        "epoch": 60,
        "rank1": np.float64(0.9),
    }


def fastreid(folder: Path, name: str) -> Built:
    """Build a network of fast-reid from its config file."""
    _first(folder)
    config = importlib.import_module("fastreid.config").get_cfg()
    config.merge_from_file(str(folder / "configs" / "Market1501" / f"{name}.yml"))
    config.MODEL.DEVICE = "cpu"
    config.MODEL.BACKBONE.PRETRAIN = False
    config.MODEL.HEADS.NUM_CLASSES = 11
    network = importlib.import_module("fastreid.modeling").build_model(config)
    return network, lambda network: {"model": network.state_dict(), "epoch": 60}


def bot(folder: Path, name: str) -> Built:
    """Build a network of BoT."""
    _first(folder)
    baseline = importlib.import_module("modeling.baseline")
    network = baseline.Baseline(11, 1, "", "bnneck", "after", name, "none")
    return network, lambda network: network.state_dict()


class _ToldCameras(nn.Module):
    """TransReID's network, told another camera for each image."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images, cam_label=torch.arange(len(images)))


def transreid(folder: Path, name: str) -> Built:
    """Build a network of TransReID with all that it adds; behind the name are settings of its config."""
    _alone(folder)
    _stand_in("torch._six", container_abcs=collections.abc)
    name, *settings = name.split()
    if name.startswith("deit_small"):  # whose width its jigsaw branch does not know
        settings += ["MODEL.JPM", "False"]
    config = importlib.import_module("config").cfg.clone()
    config.merge_from_file(str(folder / "configs" / "Market" / "vit_transreid_stride.yml"))
    config.merge_from_list(["MODEL.PRETRAIN_CHOICE", "no", "MODEL.TRANSFORMER_TYPE", name, *settings])
    network = importlib.import_module("model.make_model").make_model(config, 11, 6, 0)
    return _ToldCameras(network), lambda told: told.network.state_dict()


def solider(folder: Path, name: str) -> Built:
    """Build a Swin of SOLIDER-REID from the configuration of its best results, with their semantic weight."""
    _alone(folder)
    _stand_in("mmcv")
    _stand_in("mmcv.runner", load_checkpoint=None)  # imported there and not called
    _stand_in("torch._six", container_abcs=collections.abc)  # of old versions of torch
    config = importlib.import_module("config").cfg.clone()
    config.merge_from_file(str(folder / "configs" / "msmt17" / f"swin_{name.split('_')[1]}.yml"))
    build = importlib.import_module("model.make_model").make_model
    network = build(config, num_class=11, camera_num=6, view_num=1, semantic_weight=0.2)
    return network, lambda network: network.state_dict()


def clip_reid(folder: Path, name: str) -> Built:
    """Build a network of CLIP-ReID, or of its baseline without texts; behind the name are settings of its config."""
    _alone(folder)
    name, *settings = name.split()
    baseline = "baseline" in settings
    settings = [setting for setting in settings if setting != "baseline"]
    modules = importlib.import_module("config")
    config = (modules.cfg_base if baseline else modules.cfg).clone()
    file = folder / "configs" / "person" / f"vit_{'base' if baseline else 'clipreid'}.yml"
    stated = {key: value for key, value in yaml.safe_load(file.read_text()).items() if value is not None}
    config.merge_from_other_cfg(type(config)(stated))  # the data set is left empty there
    config.merge_from_list(settings)
    made: Any = importlib.import_module("model.make_model" if baseline else "model.make_model_clipreid")
    clip = importlib.import_module("model.clip.model").CLIP
    # In place of OpenAI's file, which is downloaded there: the same network, ViT-B/16 with its text encoder.
    made.load_clip_to_cpu = lambda name, rows, columns, stride: clip(
        512, 224, 12, 768, 16, stride, 77, 49408, 512, 8, 12, rows, columns
    )
    network = made.make_model(config, num_class=11, camera_num=6, view_num=1)
    return network, lambda network: network.state_dict()


BUILD = {
    "torchreid": torchreid,
    "fastreid": fastreid,
    "bot": bot,
    "transreid": transreid,
    "solider": solider,
    "clip_reid": clip_reid,
}
# Networks with settings that no name says.
_TRANSREID = "vit_base_patch16_224_TransReID"
FURTHER = {
    "transreid": (
        f"{_TRANSREID} MODEL.STRIDE_SIZE [16,16]",
        f"{_TRANSREID} MODEL.JPM False",
        f"{_TRANSREID} MODEL.JPM False MODEL.SIE_CAMERA False MODEL.STRIDE_SIZE [16,16] INPUT.SIZE_TRAIN [384,128]",
    ),
    "clip_reid": ("ViT-B-16 MODEL.STRIDE_SIZE [12,12]", "ViT-B-16 baseline"),
}


def _alone(folder: Path) -> None:
    """Put a checkout first, and forget the packages `config`, `model` and `loss` of others, which are called alike."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("config", "model", "loss")]:
        del sys.modules[name]
    if str(folder) in sys.path:
        sys.path.remove(str(folder))
    sys.path.insert(0, str(folder))


def _stand_in(name: str, **content: Any) -> None:
    """Let a package that is not installed be imported."""
    module = types.ModuleType(name)
    vars(module).update(content)
    sys.modules.setdefault(name, module)


@contextmanager
def on_cpu() -> Iterator[None]:
    """Let code that moves tensors and modules to a GPU by name leave them where they are."""

    def stay(self: Any, *_: Any, **__: Any) -> Any:
        return self

    with mock.patch.object(Tensor, "cuda", stay), mock.patch.object(nn.Module, "to", stay):
        yield


def randomised(network: nn.Module) -> nn.Module:
    """Draw what a new network has at 0, 1 or so small that the image counts for little: of norms and linear layers."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            drawn = torch.rand(tensor.shape, generator=random)
            if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.copy_(0.5 + drawn)
            elif name.endswith("running_mean") or (tensor.ndim == 1 and name.endswith("bias")):
                tensor.copy_(0.2 * drawn - 0.1)
            elif name.endswith("relative_position_bias_table"):
                tensor.copy_(2 * drawn - 1)
            elif (
                tensor.ndim == 2 and tensor.is_floating_point()
            ):  # of transformers, whose small new weights hide an image behind the norms' shifts
                tensor.copy_((2 * drawn - 1) * (3 / tensor.shape[1]) ** 0.5)
            if name.endswith(("bn3.weight", "W.1.weight")):
                tensor.mul_(0.1)  # or products of products grow beyond all numbers in a deep network
    return network.eval()


def images(folder: Path, count: int = 4) -> list[Path]:
    """Write images of coarse random colors with some noise."""
    random, paths = np.random.default_rng(0), []
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 255, (12, 6, 3), np.uint8))
        smooth = np.asarray(coarse.resize(SOURCE_SIZE[::-1], Image.Resampling.BICUBIC), np.float64)
        pixels = np.clip(smooth + random.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        paths.append(folder / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


@torch.no_grad()
def compare(project: str, folder: Path, name: str, work: Path, paths: list[Path]) -> tuple[float, float]:
    """Return the largest relative differences of the network alone and from image files."""
    torch.manual_seed(0)
    with on_cpu():
        network, saved = BUILD[project](folder, name)
    torch.save(saved(randomised(network)), work / "theirs.pth")
    imported = import_file(work / "theirs.pth", project, name.partition(" ")[0], work / "ours.ckpt")
    embedder = Embedder(work / "ours.ckpt")
    kind = transforms.InterpolationMode(imported.feed["interpolation"])
    resized = transforms.Compose(
        [transforms.Resize(embedder.image_size, interpolation=kind), transforms.ToTensor()]
    )
    pixels = torch.stack([resized(Image.open(path).convert("RGB")) for path in paths])
    mean, std = (HALF, HALF) if project in ("transreid", "solider", "clip_reid") else (MEAN, STD)
    with on_cpu():
        theirs = network(pixels * 255) if project == "fastreid" else network((pixels - mean) / std)
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs  # SOLIDER's gives its maps as well
    if theirs.std(0).max() < SPREAD * theirs.abs().max():
        raise ValueError(f"the vectors of {name} hardly depend on the image: draw other weights")
    if embedder.protocol.normalize:
        theirs = nn.functional.normalize(theirs)
    if project == "transreid":  # files alone tell no camera
        with torch.no_grad():
            features = embedder.model.module.network(pixels, torch.arange(len(pixels)))
        return _relative(vectors(features, embedder.protocol), theirs), float("nan")
    ours = embedder.model.module.embed(pixels), embedder([str(path) for path in paths])
    alone, from_files = (_relative(each, theirs) for each in ours)
    return alone, from_files


def _relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


def _first(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def rows(folders: dict[str, Path], names: list[str]) -> Iterator[tuple[str, str, float, float]]:
    """Yield project, network and the two differences."""
    with tempfile.TemporaryDirectory() as work:
        paths = images(Path(work))
        for project, folder in folders.items():
            for name in (*PROJECTS[project].names, *FURTHER.get(project, ())):
                if not names or name in names:
                    yield project, name, *compare(project, folder, name, Path(work), paths)


def main() -> int:
    """Compare the networks of all projects whose folder is given."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for project in BUILD:
        parser.add_argument(f"--{project}", type=Path, metavar="DIR", help="root of a checkout")
    parser.add_argument("--names", nargs="*", default=[], help="networks to compare; default: all")
    arguments = vars(parser.parse_args())
    folders = {project: arguments[project] for project in BUILD if arguments[project] is not None}
    fits = True
    for project, name, alone, from_files in rows(folders, arguments["names"]):
        files = "" if math.isnan(from_files) else f"{from_files:.1e}"
        print(f"| {project} | {name} | {alone:.1e} | {files} |", flush=True)
        fits &= alone <= TOLERANCE
    return int(not fits)


if __name__ == "__main__":
    sys.exit(main())
