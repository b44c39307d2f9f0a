"""Options of `backbone=timm`."""

import pytest
import timm
import torch
from torch.nn import functional

from reid_lightning.engine.optimizers import OptimizerFactory
from reid_lightning.errors import InputError
from reid_lightning.experiments.checks import check_weights
from reid_lightning.models.convolutional_backbones import osnet, resnet
from reid_lightning.models.lora import add_lora, merge_lora
from reid_lightning.models.necks import BNNeck
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.models.pooling import AveragePooling, TokenPooling
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


CONVOLUTIONAL = [
    "resnet10t",
    "resnet18d",
    "convnext_atto",
    "regnetx_002",
    "mobilenetv3_small_050",
    "tf_efficientnet_lite0",
    "test_efficientnet",
]


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
    with pytest.raises(ValueError, match=r"^drop_path_rate must be >= 0 and < 1, got 1"):
        TimmBackbone("test_vit", None, drop_path_rate=1)


TOKENS = [
    "test_vit",
    "deit_tiny_distilled_patch16_224",
    "eva02_tiny_patch14_224",
    "vit_tiny_patch16_224",
    "cait_xxs24_224",
    "convit_tiny",
    "xcit_nano_12_p16_224",
]


@pytest.mark.parametrize("name", TOKENS[:4])
def test_the_class_token_is_timms_own(name):
    check_token(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", TOKENS[4:])
def test_the_class_token_is_timms_own_in_more_families(name):
    check_token(name)


def check_token(name):
    """Compare with what timm's own head pools, under the weights of a model that normalizes before pooling."""
    size = (224, 224)
    torch.manual_seed(0)
    backbone = TimmBackbone(name, None, size).eval()
    settings = {"img_size": size} if "test" in name else {}
    theirs = timm.create_model(name, num_classes=0, global_pool="token", **settings).eval()
    theirs.load_state_dict(backbone.body.state_dict(), strict=False)
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        encoded = backbone.encode(images)
        expected = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
        torch.testing.assert_close(encoded.token, expected)
        assert torch.equal(encoded.map, backbone(images))


def test_token_pooling_takes_the_token_and_a_descriptor_does_not_lose_it():
    class Descriptor(torch.nn.Module):
        gives = "descriptor"

        def forward(self, backbone, images):
            last = backbone(images)
            return last, last.mean((2, 3))

    backbone = TimmBackbone("test_vit", None, SIZE)
    network = ReIDNetwork(backbone, TokenPooling(), classifier=None, descriptor=lambda backbone: Descriptor())
    images = torch.rand(2, 3, *SIZE)
    with torch.no_grad():
        features = network.eval()(images)
        encoded = backbone.encode(network.normalize(images))
    torch.testing.assert_close(features.before_neck, encoded.token)
    torch.testing.assert_close(features.extra["descriptor"], encoded.map.mean((2, 3)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: osnet(0.25),
        lambda: TimmBackbone("resnet10t", None),
        lambda: TimmBackbone("test_vit", None, SIZE, stages=[3, 5]),
    ],
)
def test_a_backbone_without_a_class_token_says_so(make):
    with pytest.raises(InputError, match=r"^pooling=token reads a class token, and this backbone gives none"):
        ReIDNetwork(make(), TokenPooling(), BNNeck, None)


@pytest.mark.parametrize(
    "name", ["vit_wee_patch16_reg1_gap_256", pytest.param("beit_base_patch16_224", marks=pytest.mark.slow)]
)
def test_weights_that_normalise_after_pooling_are_loaded(name, tmp_path):
    torch.manual_seed(0)
    source = timm.create_model(name, num_classes=0, img_size=SIZE)
    torch.nn.init.normal_(source.fc_norm.weight)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    body = TimmBackbone(name, str(tmp_path / "weights.pth"), SIZE).body
    assert torch.equal(body.norm.weight, source.fc_norm.weight)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_resnet"])
def test_gradients_computed_again_are_the_same(name):
    gradients = []
    for again in (False, True):
        torch.manual_seed(0)
        backbone = TimmBackbone(name, None, SIZE, gradient_checkpointing=again)
        torch.manual_seed(1)
        backbone(torch.randn(4, 3, *SIZE)).square().mean().backward()
        gradients.append({key: p.grad for key, p in backbone.body.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], gradient, msg=key)


def test_what_timm_cannot_checkpoint_is_said():
    with pytest.raises(ValueError, match=r"^gradient_checkpointing must be false for vgg11"):
        TimmBackbone("vgg11", None, gradient_checkpointing=True)


@pytest.mark.parametrize(
    ("name", "stages", "channels", "grid"),
    [
        ("test_resnet", [2, 3, 4], None, (2, 1)),
        ("test_convnext", [2, 3], None, (2, 1)),
        ("test_efficientnet", [3, 4], None, (2, 1)),
        ("test_vit", [1, 3, 5], 3 * 64, (4, 2)),
        ("swin_tiny_patch4_window7_224", [2, 3], 384 + 768, (2, 1)),
    ],
)
def test_stages_are_joined_along_the_channels(name, stages, channels, grid):
    torch.manual_seed(0)
    alone = TimmBackbone(name, None, SIZE).eval()
    torch.manual_seed(0)
    joined = TimmBackbone(name, None, SIZE, stages=stages).eval()
    found, last = maps(joined), maps(alone)
    assert found.shape == (2, joined.out_channels, *grid)
    assert channels in (None, joined.out_channels)
    torch.testing.assert_close(found[:, -last.shape[1] :], last)
    kept = {}
    handle = alone.depths[stages[0]].register_forward_hook(lambda m, i, o: kept.update(first=alone.as_map(o)))
    maps(alone)
    handle.remove()
    first = kept["first"]
    if name == "test_vit":  # its earlier maps pass the last norm, too
        first = alone.body.norm(first.movedim(1, -1)).movedim(-1, 1).detach()
    pooled = functional.adaptive_avg_pool2d(first, grid)
    torch.testing.assert_close(found[:, : first.shape[1]], pooled)


def test_stages_out_of_range_are_named():
    with pytest.raises(
        ValueError, match=r"^stages must be numbers from 0 to 5, the last of test_vit.*got \[1, 2\]"
    ):
        TimmBackbone("test_vit", None, SIZE, stages=[1, 2])


LORA = {"rank": 4, "alpha": 8}


def changed(name, **arguments):
    torch.manual_seed(0)
    backbone = TimmBackbone(name, None, SIZE, lora=LORA, **arguments)
    for key, parameter in backbone.named_parameters():
        if key.endswith(".up"):
            torch.nn.init.normal_(parameter, std=0.1)
    return backbone


@pytest.mark.parametrize(
    "name",
    [
        "test_vit",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("beit_base_patch16_224", "swin_tiny_patch4_window7_224")
        ),
    ],
)
def test_low_rank_changes_start_as_none_and_merge_into_the_weights(name):
    torch.manual_seed(0)
    plain = TimmBackbone(name, None, SIZE)
    torch.manual_seed(0)
    fresh = TimmBackbone(name, None, SIZE, lora=LORA)
    torch.testing.assert_close(maps(fresh), maps(plain))
    backbone = changed(name)
    before = maps(backbone)
    assert (before - maps(plain)).abs().max() > 1e-3
    merge_lora(backbone)
    torch.testing.assert_close(maps(backbone), before, rtol=1e-5, atol=1e-5)
    assert backbone.body.state_dict().keys() == plain.body.state_dict().keys()


def test_a_low_rank_change_is_that_of_the_paper():
    layer = torch.nn.Sequential()
    layer.fc1 = torch.nn.Linear(6, 5)
    before = layer.fc1.weight.detach().clone()
    add_lora(layer, rank=2, alpha=3)
    change = layer.fc1.parametrizations.weight[0]
    torch.nn.init.normal_(change.up)
    x = torch.randn(7, 6)
    expected = x @ before.T + layer.fc1.bias + 3 / 2 * (x @ change.down.T) @ change.up.T
    torch.testing.assert_close(layer.fc1(x), expected)


def test_only_norms_and_low_rank_changes_of_a_backbone_train():
    network = ReIDNetwork(changed("test_vit"), AveragePooling(), BNNeck, num_identities=3)
    trained = {key for key, p in network.named_parameters() if p.requires_grad and key.startswith("backbone")}
    assert trained
    assert all(key.endswith((".up", ".down")) or ".norm" in key for key in trained)
    assert len([key for key in trained if key.endswith(".up")]) == 6 * 4
    groups = OptimizerFactory(torch.optim.AdamW, lr=0.1, layer_decay=0.5).groups(network, torch.nn.Module())
    rates = {p: group["lr"] for group in groups for p in group["params"]}
    assert set(rates) == {p for p in network.parameters() if p.requires_grad}
    change = network.backbone.body.blocks[2].attn.qkv.parametrizations.weight[0]
    assert rates[change.up] == rates[change.down] == pytest.approx(0.1 * 0.5**3)
    again = ReIDNetwork(changed("test_vit"), AveragePooling(), BNNeck, num_identities=3)
    again.load_state_dict(network.state_dict())


def test_low_rank_settings_that_fit_nothing_are_named():
    for lora, message in [
        ({"rank": 0}, "rank >= 1"),
        ({"targets": ["nothing"]}, "targets among .*qkv.*got nothing"),
        ({"dropout": 0.1}, "rank, alpha and targets only, got dropout"),
    ]:
        with pytest.raises(ValueError, match=rf"^lora must have {message}"):
            TimmBackbone("test_vit", None, SIZE, lora=lora)


# The smallest model of families that differ in what they give: maps, tokens with and without a prefix, channels last.
FAMILIES = [
    "test_byobnet",
    "cait_xxs24_224",
    "convnext_atto",
    "test_mambaout",
    "edgenext_xx_small",
    "test_efficientnet",
    "efficientvit_m0",
    "eva02_tiny_patch14_224",
    "fastvit_t8",
    "ghostnet_050",
    "hiera_tiny_224",
    "hrnet_w18_small",
    "levit_128s",
    "gmlp_ti16_224",
    "mobilevitv2_050",
    "poolformerv2_s12",
    "repvgg_a0",
    "shvit_s1",
    "swin_tiny_patch4_window7_224",
    "starnet_s050",
    "tiny_vit_5m_224",
    "tnt_s_patch16_224",
    "twins_svt_small",
    "test_vit",
    "xcit_nano_12_p8_224",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_timm_give_maps(name):
    size = (256, 128) if name != "eva02_tiny_patch14_224" else (252, 126)
    torch.manual_seed(0)
    backbone = TimmBackbone(name, None, size)
    backbone.check_images()
    found = maps(backbone, size)
    assert found.shape[:2] == (2, backbone.out_channels)
    assert found.shape[2] == 2 * found.shape[3]
    parameters = {id(p) for layer in backbone.layers for p in layer.parameters()}
    assert parameters == {id(p) for p in backbone.parameters()}
    if name in ("hiera_tiny_224", "hrnet_w18_small"):
        return  # timm gives no normalized or no last map of these
    with torch.no_grad():
        torch.manual_seed(1)
        images = torch.randn(2, 3, *size)
        _, intermediates = backbone.body.forward_intermediates(images, 1, norm=True, output_fmt="NCHW")
    if intermediates[0].shape == found.shape:  # a last convolution may follow
        torch.testing.assert_close(found, intermediates[0])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("coat_tiny", "coat_tiny gives several outputs"),
        ("pit_ti_224", "pit_ti_224 gives 0 vectors of an image of 64 x 32 pixels"),
        (
            "crossvit_tiny_240",
            "images of 64 x 32 pixels, which crossvit_tiny_240 does not: The size of tensor",
        ),
        ("nest_tiny", "images of 64 x 32 pixels, got nest_tiny: Model only handles square inputs"),
    ],
)
def test_a_model_that_gives_no_map_is_refused_in_a_sentence(name, message):
    with pytest.raises(ValueError, match=rf"^name must be a model that .*{message}"):
        TimmBackbone(name, None, SIZE).check_images()


@pytest.mark.parametrize(
    "backbone",
    [["backbone=osnet_x0_25"], ["backbone=timm", "backbone.name=test_resnet"]],
)
def test_a_run_without_a_class_token_is_refused_before_images_are_decoded(compose, backbone):
    config = compose(*backbone, "pooling=token")
    with pytest.raises(InputError, match=r"^pooling=token reads a class token"):
        check_weights(config)


def test_a_run_with_images_that_a_model_cannot_take_is_refused_early(compose):
    config = compose("backbone=timm", "backbone.name=levit_128s", "backbone.patch_stride=12")
    with pytest.raises(InputError, match=r"^backbone\.patch_stride must be null for levit_128s"):
        check_weights(config)
    config = compose("backbone=timm", "backbone.name=coat_tiny")
    with pytest.raises(
        InputError, match=r"^backbone\.name must be a model that takes images of 96 x 48 pixels"
    ):
        check_weights(config)
