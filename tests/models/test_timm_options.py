"""Options of `backbone=timm`."""

import pytest
import timm
import torch
from torch.nn import functional

from reid_lightning.models.convolutional_backbones import resnet
from reid_lightning.models.timm_backbone import TimmBackbone

SIZE = (64, 32)


def maps(backbone, size=SIZE):
    torch.manual_seed(1)
    with torch.no_grad():
        return backbone.eval()(torch.randn(2, 3, *size))


@pytest.mark.parametrize(("stride", "grid"), [(12, (21, 10)), (14, (18, 9)), (16, (16, 8))])
def test_overlapping_patches_have_transreids_grid(stride, grid):
    backbone = TimmBackbone("vit_tiny_patch16_224", None, (256, 128), patch_stride=stride)
    assert maps(backbone, (256, 128)).shape == (2, 192, *grid)
    assert backbone.body.pos_embed.shape == (1, 1 + grid[0] * grid[1], 192)


@pytest.mark.parametrize(
    ("name", "patch", "size"),
    [
        ("test_vit", 16, SIZE),
        ("deit_tiny_distilled_patch16_224", 16, SIZE),
        ("eva02_tiny_patch14_224", 14, (84, 28)),
    ],
)
def test_a_stride_of_the_patch_changes_nothing(name, patch, size):
    found = []
    for stride in (None, patch):
        torch.manual_seed(0)
        found.append(maps(TimmBackbone(name, None, size, patch_stride=stride), size))
    assert torch.equal(*found)


def test_overlapping_patches_take_position_embeddings_and_patches_of_a_file(tmp_path):
    torch.manual_seed(0)
    source = timm.create_model("test_vit", img_size=(160, 160), num_classes=0)
    torch.save(source.state_dict(), tmp_path / "vit.pth")
    backbone = TimmBackbone("test_vit", str(tmp_path / "vit.pth"), SIZE, patch_stride=8).eval()
    body = backbone.body
    prefix, patches = source.pos_embed[:, :1], source.pos_embed[:, 1:]
    square = patches.transpose(1, 2).unflatten(2, (10, 10))
    expected = (
        functional.interpolate(square, (7, 3), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
    )
    torch.testing.assert_close(body.pos_embed, torch.cat([prefix, expected], 1))
    images = torch.randn(1, 3, *SIZE)
    unfolded = functional.unfold(images, 16, stride=8)  # (1, 3 x 16 x 16, 21)
    weight = source.patch_embed.proj.weight.flatten(1)
    tokens = (weight @ unfolded).transpose(1, 2) + source.patch_embed.proj.bias
    with torch.no_grad():
        torch.testing.assert_close(body.patch_embed(images).flatten(1, 2), tokens, rtol=1e-4, atol=1e-5)


def test_overlapping_patches_are_for_plain_transformers():
    for name in ("resnet10t", "swin_tiny_patch4_window7_224"):
        with pytest.raises(ValueError, match=rf"^patch_stride must be null for {name}: only plain vision"):
            TimmBackbone(name, None, SIZE, patch_stride=2)
    with pytest.raises(
        ValueError, match=r"^patch_stride must be 1 to 16, the side of a patch of test_vit, got 17"
    ):
        TimmBackbone("test_vit", None, SIZE, patch_stride=17)


CONVOLUTIONAL = ["resnet10t", "resnet18d", "convnext_atto", "regnetx_002", "mobilenetv3_small_050", "tf_efficientnet_lite0", "test_efficientnet"]  # fmt: skip


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_an_undone_last_stride_doubles_the_map_and_keeps_the_weights(name):
    torch.manual_seed(0)
    whole = TimmBackbone(name, None)
    torch.manual_seed(0)
    finer = TimmBackbone(name, None, last_stride=1)
    before, after = whole.body.state_dict(), finer.body.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    for size in (SIZE, (96, 64)):
        rows, columns = maps(whole, size).shape[2:]
        assert maps(finer, size).shape[2:] == (2 * rows, 2 * columns)
    assert finer.training is False


def test_an_undone_last_stride_is_that_of_the_strong_baseline():
    torch.manual_seed(0)
    ours = resnet("resnet18", None, last_stride=1)
    finer = TimmBackbone("resnet18", None, SIZE, last_stride=1)
    finer.body.load_state_dict(ours.body.state_dict())
    torch.testing.assert_close(maps(finer), maps(ours))


@pytest.mark.parametrize("name", ["test_vit", "swin_tiny_patch4_window7_224"])
def test_a_transformer_has_no_last_stride(name):
    with pytest.raises(
        ValueError, match=rf"^last_stride must be 2 for {name}: it has no strided convolution"
    ):
        TimmBackbone(name, None, SIZE, last_stride=1)


def test_drop_path_rises_to_the_rate_and_is_refused_where_there_is_none():
    backbone = TimmBackbone("test_vit", None, SIZE, drop_path_rate=0.1)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in backbone.body.blocks]
    assert rates == pytest.approx([0.1 * i / 5 for i in range(6)])
    with pytest.raises(ValueError, match=r"^drop_path_rate must be null for vgg11, which skips no blocks"):
        TimmBackbone("vgg11", None, drop_path_rate=0.1)
    with pytest.raises(ValueError, match="^drop_path_rate must be >= 0 and < 1, got 1"):
        TimmBackbone("test_vit", None, drop_path_rate=1)
