"""Imported models give the features that their own project's network gives, and nothing in a file is passed over."""

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from foreign import CLASSES, digest, drawn, retrieval_vectors, shapes_of

from reid_lightning.cli.main import app
from reid_lightning.engine.module import CHECKPOINT_KEY, ReIDModule
from reid_lightning.errors import InputError
from reid_lightning.experiments.checkpoint import load_module, read_checkpoint
from reid_lightning.experiments.compose import compose
from reid_lightning.experiments.evaluate import evaluate
from reid_lightning.experiments.factory import build_network
from reid_lightning.experiments.imports.projects import PROJECTS
from reid_lightning.experiments.imports.write import import_file
from reid_lightning.inference.embedding.command import embed
from reid_lightning.inference.enrol import enrol
from reid_lightning.inference.identify import identify
from reid_lightning.models.convolutional_backbones import osnet
from reid_lightning.models.published_resnets import published_resnet
from reid_lightning.retrieval.embeddings import Embeddings

DIGESTS = json.loads(Path(__file__).with_name("digests.json").read_text())
NETWORKS = [
    (project, name)
    for project in PROJECTS
    for name in PROJECTS[project].names
    if f"{project}/{name}" in DIGESTS
]
IDS = ["-".join(each) for each in NETWORKS]
SMALL = ("torchreid", "osnet_x0_25")


def wrapped(project, state):
    """Return what the project saves."""
    if project == "torchreid":
        parallel = {f"module.{name}": tensor for name, tensor in state.items()}
        return {"state_dict": parallel, "epoch": 60, "rank1": np.float64(0.9), "optimizer": {"state": {}}}
    return {"model": state, "iteration": 9} if project == "fastreid" else state


def written(folder, project, name, change=lambda state: None):
    """Write a random file of a project and return it with its tensors."""
    state = drawn(shapes_of(project, name))
    change(state)
    torch.save(wrapped(project, state), folder / "theirs.pth")
    return folder / "theirs.pth", state


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A file of the smallest network, its tensors, and the checkpoint that it became."""
    folder = tmp_path_factory.mktemp("small")
    path, state = written(folder, *SMALL)
    import_file(path, *SMALL, folder / "ours.ckpt")
    return path, state, folder / "ours.ckpt"


def largest_difference(checkpoint, project, name, state, size=(64, 32)):
    module, _ = load_module(checkpoint)
    images = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, theirs = module.embed(images), retrieval_vectors(project, name, state, images)
    assert theirs.std(0).max() > 1e-3 * theirs.abs().max()  # it depends on the image
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize(("project", "name"), NETWORKS, ids=IDS)
def test_names_and_shapes_are_those_of_the_projects_own_networks(project, name):
    assert digest(shapes_of(project, name)) == DIGESTS[f"{project}/{name}"]


@pytest.mark.parametrize(
    ("project", "name"),
    [
        SMALL,
        ("torchreid", "osnet_ain_x0_25"),
        pytest.param("torchreid", "osnet_ibn_x1_0", marks=pytest.mark.slow),
        pytest.param("torchreid", "resnet18", marks=pytest.mark.slow),
        pytest.param("torchreid", "resnet50_fc512", marks=pytest.mark.slow),
        ("bot", "resnet18"),
        pytest.param("bot", "resnet50_ibn_a", marks=pytest.mark.slow),
        pytest.param("fastreid", "bagtricks_R50", marks=pytest.mark.slow),
        pytest.param("fastreid", "AGW_R50", marks=pytest.mark.slow),
        pytest.param("fastreid", "sbs_R50-ibn", marks=pytest.mark.slow),
    ],
)
def test_the_checkpoint_gives_the_projects_own_vectors(tmp_path, project, name):
    path, state = written(tmp_path, project, name)
    import_file(path, project, name, tmp_path / "ours.ckpt")
    assert largest_difference(tmp_path / "ours.ckpt", project, name, state) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("project", "name"), NETWORKS, ids=IDS)
def test_every_tensor_of_every_network_has_its_place(project, name):
    state = {key: torch.empty(shape, device="meta") for key, shape in shapes_of(project, name).items()}
    if "p" in (leaf := {key.rpartition(".")[2]: key for key in state}):
        state[leaf["p"]] = torch.full((1,), 3.0)
    imported = PROJECTS[project].read(state, name)
    config = compose(["data=market1501", "data.root=x", "classifier=none", *imported.overrides], "x")
    with torch.device("meta"):
        network = build_network(config, 0)
    ours = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    assert {key: tuple(tensor.shape) for key, tensor in imported.weights.items()} == ours


def as_old(state):
    for name in [name for name in state if name.startswith("heads.bottleneck.0.")]:
        state[name.replace("bottleneck.0", "bnneck")] = state.pop(name)
    state["heads.classifier.weight"] = state.pop("heads.weight")
    state["pixel_mean"] = state["pixel_std"] = torch.ones(1, 3, 1, 1)


@pytest.mark.slow
def test_an_old_file_of_fastreid_has_the_old_stem(tmp_path):
    path, state = written(tmp_path, "fastreid", "AGW_R50", as_old)
    imported = import_file(path, "fastreid", "AGW_R50", tmp_path / "ours.ckpt")
    assert set(imported.unused) == {"heads.classifier.weight", "pixel_mean", "pixel_std", "iteration"}
    assert largest_difference(tmp_path / "ours.ckpt", "fastreid", "AGW_R50", state) < 1e-5


def test_what_is_not_used_is_listed_on_the_console_and_in_the_checkpoint(small, tmp_path, capsys):
    path, _, _ = small
    import_file(path, *SMALL, tmp_path / "ours.ckpt")
    said = " ".join(capsys.readouterr().err.split())
    assert "not used: classifier.weight, classifier.bias (2): the classifier of training identities" in said
    assert "not used: epoch, rank1, optimizer (3)" in said
    _, entry = read_checkpoint(tmp_path / "ours.ckpt")
    assert set(entry["imported"]["unused"]) == {
        "classifier.weight",
        "classifier.bias",
        "epoch",
        "rank1",
        "optimizer",
    }
    assert (entry["imported"]["project"], entry["imported"]["name"]) == SMALL
    assert entry["config"]["feed"]["mean"] == [0.485, 0.456, 0.406]
    assert entry["config"]["feed"]["interpolation"] == "bilinear"


def test_the_evaluation_is_the_projects(small):
    module, config = load_module(small[2])
    assert (module.protocol.feature, module.protocol.distance) == ("before_neck", "sqeuclidean")
    assert not module.protocol.normalize
    assert config["data"]["image_size"] == [256, 128]


def test_training_starts_from_an_imported_checkpoint(small):
    _, state, checkpoint = small
    body = osnet(0.25, weights=str(checkpoint)).body
    assert torch.equal(body.conv5.conv.weight, state["conv5.conv.weight"])


def test_osnet_ain_loads_as_a_backbone_under_torchreids_names(tmp_path):
    path, state = written(tmp_path, "torchreid", "osnet_ain_x0_25")
    body = osnet(0.25, weights=str(path), instance_norm="ain").body
    stream = "conv2.0.conv2.3.layers.2.conv1.weight"
    assert torch.equal(body.conv2[0].conv2d[2].conv1.weight, state[stream])


def test_lightning_reads_an_imported_checkpoint(small):
    module, _ = load_module(small[2])
    read = ReIDModule.load_from_checkpoint(small[2], network=module.network)
    assert read.config["backbone"]["width"] == 0.25


def test_the_command_line_imports(small, tmp_path):
    from typer.testing import CliRunner

    output = tmp_path / "ours.ckpt"
    arguments = ["import", str(small[0]), str(output), "--from", SMALL[0], "--name", SMALL[1]]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert read_checkpoint(output)[1]["identity_labels"] == {}


@pytest.mark.slow
def test_every_command_takes_an_imported_checkpoint(small, tmp_path):
    random = np.random.default_rng(0)
    for folder, camera in (("query", 1), ("bounding_box_test", 2), ("bounding_box_train", 3)):
        (tmp_path / "market" / folder).mkdir(parents=True)
        for person in range(1, 4):
            pixels = cv2.resize(random.integers(0, 255, (8, 4, 3), np.uint8), (64, 128))
            number = person + 10 * (folder == "bounding_box_train")
            name = f"{number:04}_c{camera}s1_000001_00.jpg"
            cv2.imwrite(str(tmp_path / "market" / folder / name), pixels)
    data = ["data=market1501", f"data.root={tmp_path / 'market'}", "trainer.accelerator=cpu"]
    result = evaluate(small[2], tmp_path / "evaluation", data)
    assert 0 < result.test["mAP"] <= 1
    images = tmp_path / "market" / "query"
    embed(small[2], images, tmp_path / "vectors.npz")
    vectors = Embeddings.load(tmp_path / "vectors.npz").vectors
    assert vectors.shape == (3, 512)
    enrol(small[2], images, tmp_path / "people.npz", name="Ada")
    identify(small[2], tmp_path / "people.npz", images, output=tmp_path / "answers.csv")
    assert (tmp_path / "answers.csv").read_text().count("Ada") >= 3


def drop_half(state):
    for name in list(state)[::2]:
        del state[name]


def spoil(name, tensor):
    return lambda state: state.update({name: tensor})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_half, r"\d+ of 565 tensors are missing \(backbone"),
        (
            spoil("conv5.conv.weight", torch.ones(128, 64, 1, 1)),
            r"1 tensors have another shape .*\(128, 64, 1, 1\)",
        ),
        (
            spoil("conv5.bn.weight", torch.full((128,), torch.nan)),
            "conv5.bn.weight holds values that are not finite",
        ),
        (spoil("conv6.weight", torch.ones(1)), r"1 tensors belong to another network \(.*conv6.weight\)"),
        (lambda state: state.clear(), "holds no tensors by name"),
        (spoil("fc.1.running_mean", torch.ones(1).expand(512)), "fc.1.running_mean claims more values"),
    ],
    ids=["half", "shape", "nan", "foreign", "empty", "expanded"],
)
def test_a_file_that_does_not_fit_is_refused_in_one_sentence(tmp_path, change, message):
    path, _ = written(tmp_path, *SMALL, change)
    with pytest.raises(InputError, match=message) as refused:
        import_file(path, *SMALL, tmp_path / "ours.ckpt")
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "ours.ckpt").exists()


class Whole(torch.nn.Linear):
    """A module saved as it is, which only its own code could read."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no tensors by name but a list"),
        ({}, "holds no tensors by name but a dict"),
        (7, "holds no tensors by name but a int"),
        (Whole(2, 2), "it holds more than tensors, which is never loaded"),
        ({CHECKPOINT_KEY: {}, "state_dict": {"a": torch.ones(1)}}, "is a checkpoint of reid-lightning"),
        (
            {"state_dict": {"heads.weight": torch.ones(CLASSES, 2)}},
            "the names of fast-reid; use --from fastreid",
        ),
        ({"base.conv1.weight": torch.ones(1)}, "the names of BoT .*; use --from bot"),
    ],
    ids=["list", "empty", "number", "module", "ours", "fastreid", "bot"],
)
def test_a_file_of_something_else_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(InputError, match=message):
        import_file(tmp_path / "file.pth", *SMALL, tmp_path / "ours.ckpt")


def test_damaged_and_compressed_files_are_refused(small, tmp_path):
    (tmp_path / "cut.pth").write_bytes(small[0].read_bytes()[:5000])
    with pytest.raises(InputError, match=r"cut.pth cannot be read \(\w+\): it is damaged"):
        import_file(tmp_path / "cut.pth", *SMALL, tmp_path / "ours.ckpt")
    with (
        zipfile.ZipFile(small[0]) as archive,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
    with pytest.raises(InputError, match="is compressed and may expand"):
        import_file(tmp_path / "bomb.pth", *SMALL, tmp_path / "ours.ckpt")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("torchrid", "osnet_x0_25", "ours.ckpt"), "--from must be one of torchreid, "),
        (("torchreid", "osnet", "ours.ckpt"), "--name must be one of osnet_x1_0, "),
        (("fastreid", "mgn_R50-ibn", "ours.ckpt"), "MGN joins the vectors of three branches"),
        (("bot", "se_resnet50", "ours.ckpt"), "squeeze-and-excitation"),
        ((*SMALL, "ours.pth"), "must end in .ckpt"),
    ],
)
def test_wrong_arguments_are_refused_before_the_file_is_read(tmp_path, arguments, message):
    project, name, output = arguments
    with pytest.raises(InputError, match=message):
        import_file(tmp_path / "absent.pth", project, name, tmp_path / output)


def test_the_file_is_not_overwritten(small):
    with pytest.raises(InputError, match="name another file to write"):
        import_file(small[2], *SMALL, small[2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stem": "resnet"}, "stem must be one of torchvision, fastreid, bot, got resnet"),
        ({"name": "resnet18", "non_local": True}, "non_local must be false but for resnet50 and resnet101"),
        ({"weights": "imagenet"}, "weights must be a file or null, got imagenet"),
    ],
)
def test_settings_of_a_published_resnet_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        published_resnet(**settings)


def test_a_non_local_layer_is_frozen_with_its_block():
    backbone = published_resnet(non_local=True, frozen_layers=1 + 3 + 4)
    assert len(backbone.layers) == 1 + 16
    frozen = {name.split(".")[0] for name, p in backbone.body.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1", "layer2", "NL_2"}
