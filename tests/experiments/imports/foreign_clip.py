"""Files of CLIP-ReID under their names, and what its vision transformer makes of an image, in plain torch."""

import torch
from foreign_solider import linear, norm, pair
from torch.nn import functional

WIDTH, HEADS, PROJECTED, TEXT = 768, 12, 512, 512


def blocks(prefix, width):
    shapes = {}
    for number in range(12):
        name = f"{prefix}transformer.resblocks.{number}"
        shapes |= {
            f"{name}.attn.in_proj_weight": (3 * width, width),
            f"{name}.attn.in_proj_bias": (3 * width,),
        }
        shapes |= pair(f"{name}.attn.out_proj", width, width)
        shapes |= pair(f"{name}.ln_1", width) | pair(f"{name}.ln_2", width)
        shapes |= pair(f"{name}.mlp.c_fc", 4 * width, width) | pair(f"{name}.mlp.c_proj", width, 4 * width)
    return shapes


def shapes_of(classes, grid=(16, 8), texts=True):
    """Return the shapes of a file by name.

    Args:
        classes: Training identities.
        grid: Rows and columns of patches.
        texts: Whether a text encoder took part, which the baseline has not.
    """
    shapes = {
        "image_encoder.class_embedding": (WIDTH,),
        "image_encoder.positional_embedding": (grid[0] * grid[1] + 1, WIDTH),
        "image_encoder.proj": (WIDTH, PROJECTED),
        "image_encoder.conv1.weight": (WIDTH, 3, 16, 16),
        "classifier.weight": (classes, WIDTH),
        "classifier_proj.weight": (classes, PROJECTED),
    }
    shapes |= pair("image_encoder.ln_pre", WIDTH) | pair("image_encoder.ln_post", WIDTH)
    shapes |= blocks("image_encoder.", WIDTH)
    for neck, size in (("bottleneck", WIDTH), ("bottleneck_proj", PROJECTED)):
        parts = ("weight", "bias", "running_mean", "running_var")
        shapes |= {f"{neck}.{part}": (size,) for part in parts} | {f"{neck}.num_batches_tracked": ()}
    if texts:
        shapes |= blocks("text_encoder.", TEXT) | pair("text_encoder.ln_final", TEXT)
        shapes |= {
            "text_encoder.positional_embedding": (77, TEXT),
            "text_encoder.text_projection": (TEXT, PROJECTED),
            "prompt_learner.cls_ctx": (classes, 4, TEXT),
            "prompt_learner.token_prefix": (1, 5, TEXT),
            "prompt_learner.token_suffix": (1, 68, TEXT),
        }
    return shapes


def block(state, name, x):
    weight, bias = (state[f"{name}.attn.in_proj_{part}"] for part in ("weight", "bias"))
    flat = norm(state, f"{name}.ln_1", x) @ weight.T + bias
    query, key, value = (part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in flat.chunk(3, 2))
    weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)
    x = x + linear(state, f"{name}.attn.out_proj", (weights @ value).transpose(1, 2).flatten(2))
    hidden = linear(state, f"{name}.mlp.c_fc", norm(state, f"{name}.ln_2", x))
    return x + linear(state, f"{name}.mlp.c_proj", hidden * (1.702 * hidden).sigmoid())


def parts(state, images, stride):
    """Return the class token of images in [0, 1], and its projection."""
    x = functional.conv2d((images - 0.5) / 0.5, state["image_encoder.conv1.weight"], stride=stride)
    token = state["image_encoder.class_embedding"].expand(len(x), 1, -1)
    x = torch.cat([token, x.flatten(2).mT], 1) + state["image_encoder.positional_embedding"]
    x = norm(state, "image_encoder.ln_pre", x)
    for number in range(12):
        x = block(state, f"image_encoder.transformer.resblocks.{number}", x)
    token = norm(state, "image_encoder.ln_post", x[:, 0])
    return token, token @ state["image_encoder.proj"]


def retrieval_vectors(state, images, stride=16, after=False):
    """Return what CLIP-ReID compares: both parts before their normalizations, or after (`TEST.NECK_FEAT`)."""
    vectors = parts(state, images, stride)
    if after:
        necks = ("bottleneck", "bottleneck_proj")
        vectors = [
            (vector - state[f"{neck}.running_mean"])
            / (state[f"{neck}.running_var"] + 1e-5).sqrt()
            * state[f"{neck}.weight"]
            + state[f"{neck}.bias"]
            for neck, vector in zip(necks, vectors, strict=True)
        ]
    return functional.normalize(torch.cat(tuple(vectors), 1))
