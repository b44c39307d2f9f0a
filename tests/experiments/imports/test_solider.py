"""Models of SOLIDER-REID."""

import pytest
import torch
from foreign import CLASSES, drawn, shapes_of
from foreign_solider import retrieval_vectors
from foreign_solider import shapes_of as shapes_with

from reid_lightning.errors import InputError
from reid_lightning.experiments.checkpoint import load_module, read_checkpoint
from reid_lightning.experiments.imports.write import import_file

TINY = "swin_tiny_patch4_window7_224"


def difference(checkpoint, state):
    """Return the largest difference of the vectors of two images, as a share of the largest value."""
    module, _ = load_module(checkpoint)
    images = torch.rand(2, 3, 384, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, theirs = module.embed(images), retrieval_vectors(state, TINY, images)
    assert theirs.std(0).max() > 1e-3 * theirs.abs().max()  # it depends on the image
    return float((ours - theirs).abs().max() / theirs.abs().max())


def imported(folder, state):
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, folder / "theirs.pth")
    return import_file(folder / "theirs.pth", "solider", TINY, folder / "ours.ckpt")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The tensors of a small file, what it became, and the checkpoint."""
    folder = tmp_path_factory.mktemp("solider")
    state = drawn(shapes_of("solider", TINY))
    return state, imported(folder, state), folder / "ours.ckpt"


def test_the_checkpoint_gives_soliders_own_vectors(tiny):
    state, _, checkpoint = tiny
    assert difference(checkpoint, state) < 1e-5


def test_evaluation_and_feed_are_soliders(tiny):
    module, config = load_module(tiny[2])
    assert (module.protocol.feature, module.protocol.distance) == ("before_neck", "euclidean")
    assert module.protocol.normalize
    assert config["data"]["image_size"] == [384, 128]
    assert (config["feed"]["mean"], config["feed"]["std"]) == ([0.5] * 3, [0.5] * 3)
    assert config["feed"]["interpolation"] == "bilinear"


def test_what_no_vector_reads_is_listed_and_the_semantic_weight_is_said(tiny):
    entry = read_checkpoint(tiny[2])[1]["imported"]
    kinds = {name.removesuffix(".weight").removesuffix(".bias") for name in entry["unused"]}
    assert kinds == {
        "classifier",
        "base.norm0",
        "base.norm1",
        "base.norm2",
        "base.semantic_embed_w.3",
        "base.semantic_embed_b.3",
        *(
            f"base.stages.{stage}.blocks.{number}.attn.w_msa.relative_position_index"
            for stage, depth in enumerate((2, 2, 6, 2))
            for number in range(depth)
        ),
    }
    assert entry["notes"] == [
        "The semantic weight is 0.2, which SOLIDER's results are trained and tested with; the file does not say it"
    ]


@pytest.mark.slow
def test_a_reduced_feature_without_semantic_weight_is_imported(tmp_path):
    shapes = shapes_with(TINY, CLASSES, reduced=512)
    state = drawn({name: shape for name, shape in shapes.items() if "semantic" not in name})
    assert imported(tmp_path, state).notes == [
        "The network has no semantic weight: its merged patches are neither scaled nor shifted"
    ]
    module, _ = load_module(tmp_path / "ours.ckpt")
    assert module.network.embedding_size == 512
    assert difference(tmp_path / "ours.ckpt", state) < 1e-5


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_the_pretrained_backbone_is_refused(tmp_path, prefix):
    state = {f"{prefix}stages.0.blocks.0.attn.w_msa.qkv.weight": torch.ones(3, 1)}
    torch.save({"state_dict": state}, tmp_path / "theirs.pth")
    with pytest.raises(InputError, match="SOLIDER's pre-trained backbone, not a model of re-identification"):
        import_file(tmp_path / "theirs.pth", "solider", TINY, tmp_path / "ours.ckpt")


def test_a_file_of_solider_is_known_by_its_names(tmp_path):
    torch.save({"base.stages.0.blocks.0.norm1.weight": torch.ones(1)}, tmp_path / "theirs.pth")
    with pytest.raises(InputError, match="the names of SOLIDER-REID; use --from solider"):
        import_file(tmp_path / "theirs.pth", "bot", "resnet50", tmp_path / "ours.ckpt")
