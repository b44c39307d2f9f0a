"""Windows of a Swin that are padded before they are shifted."""

import pytest
import torch
from timm.models.swin_transformer import SwinTransformerBlock

from reid_lightning.models.swin_windows import pad_windows
from reid_lightning.models.timm_backbone import TimmBackbone

SIDE, CHANNELS = 4, 6


def blocks(resolution, shift):
    """The same block twice: timm's, and one that pads first."""
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        block = SwinTransformerBlock(CHANNELS, resolution, 2, None, SIDE, shift, always_partition=True)
        torch.nn.init.normal_(block.attn.relative_position_bias_table)
        torch.nn.init.normal_(block.attn.qkv.bias)
        found.append(block.eval())
    pad_windows(found[1])
    return found


def attended(block, x, shift):
    """Return what positions attend to, pair by pair, in plain loops over the windows of the padded map."""
    _, height, width, _ = x.shape
    rows, columns = (-(-length // SIDE) * SIDE for length in (height, width))
    padded = torch.zeros(rows, columns, CHANNELS)
    padded[:height, :width] = x[0]
    windows = {}
    for row in range(rows):
        for column in range(columns):
            shifted = (row - shift) % rows, (column - shift) % columns
            sides = tuple(at >= length - shift for at, length in zip(shifted, (rows, columns), strict=True))
            key = shifted[0] // SIDE, shifted[1] // SIDE, *sides
            windows.setdefault(key, []).append((row, column, *shifted))
    result = torch.zeros(rows, columns, CHANNELS)
    for members in windows.values():
        query, key, value = block.attn.qkv(torch.stack([padded[m[0], m[1]] for m in members])).chunk(3, -1)
        heads = []
        for head in range(2):
            part = slice(3 * head, 3 * head + 3)
            scores = query[:, part] @ key[:, part].T / 3**0.5
            for i, one in enumerate(members):
                for j, other in enumerate(members):
                    offset = (one[2] - other[2] + SIDE - 1) * (2 * SIDE - 1) + one[3] - other[3] + SIDE - 1
                    scores[i, j] += block.attn.relative_position_bias_table[offset, head]
            heads.append(scores.softmax(-1) @ value[:, part])
        mixed = block.attn.proj(torch.cat(heads, -1))
        for member, vector in zip(members, mixed, strict=True):
            result[member[0], member[1]] = vector
    return result[None, :height, :width]


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("size", [(8, 4), (6, 5), (9, 3), (3, 1)])
@torch.no_grad()
def test_a_block_attends_within_the_windows_of_the_padded_map(size, shift):
    timms, ours = blocks(size, shift)
    x = torch.randn(1, *size, CHANNELS)
    expected = x + attended(ours, ours.norm1(x), shift)
    expected = expected + ours.mlp(ours.norm2(expected))
    torch.testing.assert_close(ours(x), expected)
    alike = torch.allclose(timms(x), expected, atol=1e-5)
    assert alike == (shift == 0 or size == (8, 4))  # why the option exists


def test_a_backbone_pads_its_windows_and_keeps_their_size():
    padded = TimmBackbone("swin_tiny_patch4_window7_224", None, (64, 32), pad_windows=True)
    assert padded.body.layers[3].blocks[1].attn.window_size == (7, 7)
    assert padded.body.layers[3].blocks[1].shift_size == (3, 3)
    images = torch.randn(1, 3, 64, 32, requires_grad=True)
    maps = padded(images)
    assert maps.shape == (1, 768, 2, 1)
    maps[:, 0].sum().backward()
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swinv2_tiny_window8_256", "resnet18"])
def test_only_a_swin_has_windows_to_pad(name):
    with pytest.raises(ValueError, match=f"^pad_windows must be false for {name}"):
        TimmBackbone(name, None, (64, 32), pad_windows=True)
