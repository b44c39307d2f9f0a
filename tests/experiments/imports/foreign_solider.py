"""Files of SOLIDER-REID under their names, and what its Swin makes of an image, in plain torch.

The positions of the padded map are sorted into windows by where the shift moves them; those that came round the map's edge
are on another side, and sides do not see each other.
"""

import math

import torch
from torch.nn import functional

SIZES = {
    "tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "small": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "base": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
}
WINDOW = 7


def pair(name, *shape):
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def shapes_of(name, classes, reduced=None):
    """Return the shapes of a file by name.

    Args:
        name: As SOLIDER has it.
        classes: Training identities.
        reduced: Dimensions of the reduced feature (`REDUCE_FEAT_DIM`); None for none.
    """
    width, depths, heads = SIZES[name.split("_")[1]]
    shapes = pair("base.patch_embed.projection", width, 3, 4, 4) | pair("base.patch_embed.norm", width)
    for stage, depth in enumerate(depths):
        channels = width * 2**stage
        for number in range(depth):
            block = f"base.stages.{stage}.blocks.{number}"
            shapes |= pair(f"{block}.norm1", channels) | pair(f"{block}.norm2", channels)
            shapes[f"{block}.attn.w_msa.relative_position_bias_table"] = (169, heads[stage])
            shapes[f"{block}.attn.w_msa.relative_position_index"] = (49, 49)
            shapes |= pair(f"{block}.attn.w_msa.qkv", 3 * channels, channels)
            shapes |= pair(f"{block}.attn.w_msa.proj", channels, channels)
            shapes |= pair(f"{block}.ffn.layers.0.0", 4 * channels, channels)
            shapes |= pair(f"{block}.ffn.layers.1", channels, 4 * channels)
        if stage < 3:
            shapes |= pair(f"base.stages.{stage}.downsample.norm", 4 * channels)
            shapes[f"base.stages.{stage}.downsample.reduction.weight"] = (2 * channels, 4 * channels)
        shapes |= pair(f"base.norm{stage}", channels)
        for part in ("w", "b"):
            shapes |= pair(f"base.semantic_embed_{part}.{stage}", width * 2 ** min(stage + 1, 3), 2)
    size = 8 * width
    if reduced is not None:
        shapes["fcneck.weight"] = (reduced, size)
        size = reduced
    parts = ("weight", "bias", "running_mean", "running_var")
    shapes |= {f"bottleneck.{part}": (size,) for part in parts} | {"bottleneck.num_batches_tracked": ()}
    return shapes | {"classifier.weight": (classes, size)}


def norm(state, name, x):
    mean, var = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    return (x - mean) / (var + 1e-5).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(state, name, x):
    return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0)


def attended(state, name, x, heads, shift):
    """Return the attention of (B, H, W, C) normed positions."""
    batch, height, width, channels = x.shape
    rows, columns = (math.ceil(length / WINDOW) * WINDOW for length in (height, width))
    padded = x.new_zeros(batch, rows, columns, channels)
    padded[:, :height, :width] = x
    row, column = torch.arange(rows).repeat_interleave(columns), torch.arange(columns).repeat(rows)
    row, column = (row - shift) % rows, (column - shift) % columns  # where the shift moves a position
    window = row // WINDOW * columns + column // WINDOW
    side = (row >= rows - shift).long() * 2 + (column >= columns - shift).long()  # what came round the edge
    members = window.argsort(stable=True).view(-1, WINDOW**2)  # of each window
    row, column, side = row[members], column[members], side[members]
    offsets = [at[:, :, None] - at[:, None] + WINDOW - 1 for at in (row, column)]
    bias = state[f"{name}.relative_position_bias_table"][offsets[0] * (2 * WINDOW - 1) + offsets[1]]
    flat = linear(state, f"{name}.qkv", padded.flatten(1, 2)[:, members])
    query, key, value = flat.unflatten(-1, (3, heads, -1)).permute(3, 0, 1, 4, 2, 5)
    scores = query @ key.mT / math.sqrt(channels // heads) + bias.permute(0, 3, 1, 2)
    hidden = (side[:, :, None] != side[:, None])[:, None]
    weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
    mixed = linear(state, f"{name}.proj", (weights @ value).transpose(2, 3).flatten(3))
    result = torch.empty(batch, rows * columns, channels)
    result[:, members] = mixed
    return result.view(padded.shape)[:, :height, :width]


def block(state, name, x, heads, shift):
    x = x + attended(state, f"{name}.attn.w_msa", norm(state, f"{name}.norm1", x), heads, shift)
    hidden = functional.gelu(linear(state, f"{name}.ffn.layers.0.0", norm(state, f"{name}.norm2", x)))
    return x + linear(state, f"{name}.ffn.layers.1", hidden)


def merged(state, stage, x, semantic_weight):
    """Join 2 x 2 positions, channel by channel, and control them by the semantic weight."""
    name = f"base.stages.{stage}.downsample"
    joined = torch.stack([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], dim=-1).flatten(-2)
    x = linear(state, f"{name}.reduction", norm(state, f"{name}.norm", joined))
    control = torch.tensor([semantic_weight, 1 - semantic_weight], dtype=x.dtype)
    if f"base.semantic_embed_w.{stage}.weight" not in state:
        return x
    scale, shift = (linear(state, f"base.semantic_embed_{part}.{stage}", control) for part in ("w", "b"))
    return x * functional.softplus(scale) + shift


def retrieval_vectors(state, name, images, semantic_weight=0.2):
    """Return what SOLIDER-REID compares of images in [0, 1]."""
    _, depths, heads = SIZES[name.split("_")[1]]
    weight, bias = (state[f"base.patch_embed.projection.{part}"] for part in ("weight", "bias"))
    x = functional.conv2d((images - 0.5) / 0.5, weight, bias, stride=4).permute(0, 2, 3, 1)
    x = norm(state, "base.patch_embed.norm", x)
    for stage, depth in enumerate(depths):
        for number in range(depth):
            x = block(state, f"base.stages.{stage}.blocks.{number}", x, heads[stage], 3 * (number % 2))
        if stage < 3:
            x = merged(state, stage, x, semantic_weight)
    x = norm(state, "base.norm3", x).mean((1, 2))
    return functional.normalize(x @ state["fcneck.weight"].T if "fcneck.weight" in state else x)
