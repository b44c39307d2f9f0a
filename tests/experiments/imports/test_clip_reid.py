"""Models of CLIP-ReID."""

import pytest
import torch
from foreign import CLASSES, drawn
from foreign_clip import retrieval_vectors, shapes_of

from reid_lightning.errors import InputError
from reid_lightning.experiments.checkpoint import load_module, read_checkpoint
from reid_lightning.experiments.imports.clip_reid import read
from reid_lightning.experiments.imports.write import import_file

NAME = "ViT-B-16"


def written(folder, state):
    torch.save(state, folder / "theirs.pth")
    return folder / "theirs.pth", "clip_reid", NAME, folder / "ours.ckpt"


@pytest.mark.slow
@pytest.mark.parametrize(("grid", "stride"), [((16, 8), 16), ((21, 10), 12)])
def test_the_checkpoint_gives_clip_reids_own_vectors(tmp_path, grid, stride):
    state = drawn(shapes_of(CLASSES, grid, texts=stride == 16))
    imported = import_file(*written(tmp_path, state))
    left = {name for name in state if name.startswith(("text_encoder.", "prompt_learner.", "classifier"))}
    assert set(imported.unused) == left
    module, config = load_module(tmp_path / "ours.ckpt")
    assert (module.protocol.feature, module.protocol.distance) == ("before_neck", "euclidean")
    assert module.protocol.normalize
    assert config["backbone"]["patch_stride"] == (None if stride == 16 else stride)
    assert (config["feed"]["mean"], config["feed"]["std"]) == ([0.5] * 3, [0.5] * 3)
    assert read_checkpoint(tmp_path / "ours.ckpt")[1]["imported"]["project"] == "clip_reid"
    images = torch.rand(2, 3, 256, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, theirs = module.embed(images), retrieval_vectors(state, images, stride)
        assert theirs.std(0).max() > 1e-3 * theirs.abs().max()  # it depends on the image
        assert float((ours - theirs).abs().max() / theirs.abs().max()) < 1e-5
        after = torch.nn.functional.normalize(module.network(images).embedding)
        theirs = retrieval_vectors(state, images, stride, after=True)
        assert float((after - theirs).abs().max() / theirs.abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("positions", "size", "stride"),
    [
        (129, "[256,128]", "null"),
        (211, "[256,128]", "12"),
        (193, "[384,128]", "null"),
        (311, "[384,128]", "12"),
        (257, "[256,256]", "null"),
        (442, "[256,256]", "12"),
    ],
)
def test_size_and_stride_follow_from_the_number_of_positions(positions, size, stride):
    state = {"image_encoder.positional_embedding": torch.ones(positions, 4)}
    imported = read(state, NAME)
    assert f"data.image_size={size}" in imported.overrides
    assert f"backbone.patch_stride={stride}" in imported.overrides
    assert imported.weights["backbone.body.pos_embed"].shape == (1, positions, 4)


def test_both_necks_become_one():
    state = {"image_encoder.positional_embedding": torch.ones(129, 4)}
    for neck, value, size in (("bottleneck", 1.0, 3), ("bottleneck_proj", 2.0, 2)):
        state |= {
            f"{neck}.running_var": torch.full((size,), value),
            f"{neck}.num_batches_tracked": torch.tensor(7),
        }
    weights = read(state, NAME).weights
    assert weights["neck.norm.running_var"].tolist() == [1, 1, 1, 2, 2]
    assert weights["neck.norm.num_batches_tracked"] == 7
    assert not any("bottleneck" in name for name in weights)


def test_a_neck_without_its_twin_is_not_passed_over():
    state = {
        "image_encoder.positional_embedding": torch.ones(129, 4),
        "bottleneck_proj.weight": torch.ones(2),
    }
    assert "bottleneck_proj.weight" in read(state, NAME).weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cv_embed": torch.ones(6, 4)}, "was trained with SIE"),
        (
            {"image_encoder.positional_embedding": torch.ones(130, 4)},
            "its 130 position embeddings are those of no",
        ),
    ],
)
def test_what_cannot_be_imported_is_refused_with_the_reason(tmp_path, change, message):
    state = {"image_encoder.positional_embedding": torch.ones(129, 4)} | change
    with pytest.raises(InputError, match=message) as refused:
        import_file(*written(tmp_path, state))
    assert "theirs.pth cannot be imported as ViT-B-16 of CLIP-ReID" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_resnet_of_clip_is_refused(tmp_path):
    state = {"image_encoder.attnpool.positional_embedding": torch.ones(129, 4)}
    path, project, name, output = written(tmp_path, state)
    with pytest.raises(InputError, match="has no image_encoder"):
        import_file(path, project, name, output)
    with pytest.raises(InputError, match="it pools by attention beside the mean"):
        import_file(path, project, "RN50", output)


def test_a_file_of_clip_reid_is_known_by_its_names(tmp_path):
    torch.save({"image_encoder.proj": torch.ones(2, 1)}, tmp_path / "theirs.pth")
    with pytest.raises(InputError, match="the names of CLIP-ReID; use --from clip_reid"):
        import_file(
            tmp_path / "theirs.pth", "solider", "swin_tiny_patch4_window7_224", tmp_path / "ours.ckpt"
        )
