"""Contrast with a memory of clusters: every image is near its cluster's vector and far from those of all others.

What is trained is a set of groups of images that nobody has named; the memory holds a unit vector of each.
"""

import torch
from torch import Tensor
from torch.nn import functional

from reid_lightning.distances import unit_vectors


def cluster_nce(queries: Tensor, labels: Tensor, memory: Tensor, temperature: float = 0.05) -> Tensor:
    """Return the ClusterNCE loss (Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification", 2021).

    `L = -log( exp(q·φ₊ / τ) / Σ_k exp(q·φ_k / τ) )`, the mean over images: `q` is a unit embedding, `φ_k` the unit vector
    of cluster k, `φ₊` that of the image's own cluster.

    Args:
        queries: (B, D) unit embeddings.
        labels: (B,) cluster of each.
        memory: (C, D) unit vectors.
        temperature: τ.

    Examples:
        >>> cluster_nce(torch.eye(2), torch.tensor([0, 1]), torch.eye(2), temperature=1.0)
        tensor(0.3133)
    """
    return functional.cross_entropy(queries @ memory.T / temperature, labels)


def camera_proxy_contrast(
    queries: Tensor,
    labels: Tensor,
    memory: Tensor,
    clusters: Tensor,
    cameras: Tensor,
    temperature: float = 0.07,
    negatives: int = 50,
) -> tuple[Tensor, Tensor]:
    """Return both terms of camera-aware proxies (Wang et al., "Camera-aware Proxies for Unsupervised Person Re-ID", 2021).

    A proxy is the part of a cluster that one camera has seen. Within a camera, an image is told from the proxies of that
    camera (here as a mean over images). Across cameras, each proxy of its cluster in another camera is told
    from all of these and the nearest proxies of other clusters; an image whose cluster one camera has seen counts 0.

    Args:
        queries: (B, D) unit embeddings.
        labels: (B,) proxy of each.
        memory: (C, D) unit vectors of the proxies.
        clusters: (C,) cluster of each proxy.
        cameras: (C,) camera of each proxy.
        temperature: τ.
        negatives: How many proxies of other clusters count as negatives; the nearest ones are taken.

    Returns:
        The term within cameras, and that across cameras.
    """
    logits = queries @ memory.T / temperature
    here = cameras[None, :] == cameras[labels][:, None]
    within = functional.cross_entropy(logits.masked_fill(~here, -torch.inf), labels)
    same = clusters[None, :] == clusters[labels][:, None]
    positives = same & ~here
    count = min(negatives, logits.shape[1])
    hardest = logits.masked_fill(same, -torch.inf).topk(count, dim=1).values
    against = torch.cat([logits.masked_fill(~positives, -torch.inf), hardest], dim=1)
    known = positives.any(dim=1)
    # A row without any finite entry would turn gradients into NaN.
    bottom = torch.where((against > -torch.inf).any(dim=1, keepdim=True), against, 0.0).logsumexp(dim=1)
    share = positives / positives.sum(dim=1, keepdim=True).clamp(min=1)
    top = (torch.where(positives, logits, 0.0) * share).sum(dim=1)
    return within, torch.where(known, bottom - top, 0.0).mean()


def means_of_groups(vectors: Tensor, groups: Tensor, count: int) -> Tensor:
    """Return the (count, D) unit vectors of the means of groups.

    Args:
        vectors: (N, D) unit embeddings.
        groups: (N,) group of each, -1 for none.
        count: Number of groups.

    Examples:
        >>> means_of_groups(torch.eye(3), torch.tensor([0, 0, -1]), 1)
        tensor([[0.7071, 0.7071, 0.0000]])
    """
    slots = torch.where(groups >= 0, groups, count)
    sums = vectors.new_zeros(count + 1, vectors.shape[1]).index_add_(0, slots, vectors)
    return unit_vectors(sums[:count])


@torch.no_grad()
def moved_by_all(memory: Tensor, queries: Tensor, labels: Tensor, momentum: float) -> Tensor:
    """Return the memory after a batch: `φ ← m φ + (1 - m) q` for its images in their order (Dai et al. 2021).

    Args:
        memory: (C, D) unit vectors.
        queries: (B, D) unit embeddings.
        labels: (B,) group of each.
        momentum: m, the share that stays.

    Examples:
        >>> moved_by_all(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([0]), 0.0)
        tensor([[0., 1.]])
    """
    same = labels[:, None] == labels[None, :]
    later = same.triu(diagonal=1).sum(dim=1)
    shares = (1 - momentum) * torch.as_tensor(momentum, dtype=queries.dtype) ** later
    counts = memory.new_zeros(len(memory)).index_add_(0, labels, torch.ones_like(labels, dtype=memory.dtype))
    added = torch.zeros_like(memory).index_add_(0, labels, (queries * shares[:, None]).to(memory.dtype))
    kept = torch.as_tensor(momentum, dtype=memory.dtype) ** counts
    return torch.where(counts[:, None] > 0, unit_vectors(kept[:, None] * memory + added), memory)


@torch.no_grad()
def moved_by_hardest(memory: Tensor, queries: Tensor, labels: Tensor, momentum: float) -> Tensor:
    """Return the memory after a batch: `φ ← m φ + (1 - m) q` with each group's image least similar to it.

    Images that are equally hard count as their mean. Arguments are those of `moved_by_all`.
    """
    similar = (queries * memory[labels]).sum(dim=1)
    least = torch.full_like(memory[:, 0], torch.inf).scatter_reduce_(
        0, labels, similar.to(memory.dtype), "amin"
    )
    hard = (similar.to(memory.dtype) == least[labels]).to(memory.dtype)
    counts = torch.zeros_like(least).index_add_(0, labels, hard)
    sums = torch.zeros_like(memory).index_add_(0, labels, queries.to(memory.dtype) * hard[:, None])
    moved = momentum * memory + (1 - momentum) * sums / counts.clamp(min=1)[:, None]
    return torch.where(counts[:, None] > 0, unit_vectors(moved), memory)
