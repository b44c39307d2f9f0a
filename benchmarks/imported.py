"""Whether imported models of other projects give the features that they gave there, by the projects' own code.

`python benchmarks/imported.py --torchreid DIR --fastreid DIR --bot DIR`, each the root of a checkout of the project
(fast-reid's needs the packages yacs and termcolor). Every network is built by the project, its weights and statistics are
drawn at random, it is saved as the project saves, imported, and loaded as a user loads it. Printed is the largest
difference of the retrieval vectors of four images, as a share of the largest value: of the network alone, and from image
files, which are larger than what the network sees, through either side's preprocessing. The exit code is 1 if a network
alone differs by more than 1e-5.
"""

import argparse
import importlib
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from reid_lightning.experiments.imports.projects import PROJECTS
from reid_lightning.experiments.imports.write import import_file
from reid_lightning.inference.embed import Embedder

MEAN, STD = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
SOURCE_SIZE = (407, 203)  # pixels of the image files
TOLERANCE = 1e-5

Built = tuple[nn.Module, Callable[[nn.Module], Any]]  # the project's network, and what it saves


def torchreid(folder: Path, name: str) -> Built:
    """Build a network of torchreid from its file alone: its package imports compiled code."""
    kind = next(kind for kind in ("osnet_ain", "osnet", "resnet50_ibn_a", "resnet") if name.startswith(kind))
    file = folder / "torchreid" / "models" / f"{kind.replace('50', '')}.py"
    spec = importlib.util.spec_from_file_location(f"torchreid_{file.stem}", file)
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


BUILD = {"torchreid": torchreid, "fastreid": fastreid, "bot": bot}


def randomised(network: nn.Module) -> nn.Module:
    """Draw factors, shifts and statistics of all normalisations, which a new network has at 1 and 0."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            drawn = torch.rand(tensor.shape, generator=random)
            if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.copy_(0.5 + drawn)
            elif name.endswith("running_mean") or (tensor.ndim == 1 and name.endswith("bias")):
                tensor.copy_(0.2 * drawn - 0.1)
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
    network, saved = BUILD[project](folder, name)
    torch.save(saved(randomised(network)), work / "theirs.pth")
    imported = import_file(work / "theirs.pth", project, name, work / "ours.ckpt")
    embedder = Embedder(work / "ours.ckpt")
    kind = transforms.InterpolationMode(imported.feed["interpolation"])
    resized = transforms.Compose(
        [transforms.Resize(embedder.image_size, interpolation=kind), transforms.ToTensor()]
    )
    pixels = torch.stack([resized(Image.open(path).convert("RGB")) for path in paths])
    theirs = network(pixels * 255) if project == "fastreid" else network((pixels - MEAN) / STD)
    if embedder.protocol.normalize:
        theirs = nn.functional.normalize(theirs)
    ours = embedder.module.embed(pixels), embedder([str(path) for path in paths])
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
            for name in PROJECTS[project].names:
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
        print(f"| {project} | {name} | {alone:.1e} | {from_files:.1e} |", flush=True)
        fits &= alone <= TOLERANCE
    return int(not fits)


if __name__ == "__main__":
    sys.exit(main())
