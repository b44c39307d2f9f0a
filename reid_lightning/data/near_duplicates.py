"""Images that look the same though their pixels differ: a perceptual hash finds them, a thumbnail confirms them."""

from dataclasses import dataclass

import numpy as np

MOST_BITS = 10
"""Bits of 64 in which the hashes of near-duplicates differ at most."""
LEAST_CORRELATION = 0.95
"""Of the gray thumbnails of near-duplicates.

Measured on Market-1501: copies in half the size, of JPEG quality 30 or with 20 % more contrast differ in 6 bits at most and
correlate with 0.97 or more, so that all of 300 are found; of copies cropped by 3 % on each side about one in twenty is.
Between training and test no pair is within both limits. The closest, different people in white shirts before the dark
background of camera 6, correlate with 0.933.
"""
MOST_IMAGES = 60_000
"""Of one side that are compared; of more it is every k-th."""
_BLOCK = 128
_AT_ONCE = 4096


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of rows, the most alike first.

    Attributes:
        pairs: (P, 2) int64, a row of the first and a row of the second side; each row of the first is in one pair at most.
        correlations: Of their gray thumbnails, (P,).
        compared: How many images of the two sides were compared.
    """

    pairs: np.ndarray
    correlations: np.ndarray
    compared: tuple[int, int]


def near_duplicates(
    hashes: np.ndarray, gray: np.ndarray, first: np.ndarray, second: np.ndarray, checksums: np.ndarray
) -> NearDuplicates:
    """Find images of one side that have a near-duplicate, but no exact one, on the other.

    For each image of the first side it is the one with the closest hash on the second. Hashes are compared block by block,
    so that memory grows with the number of images and not with its square.

    Args:
        hashes: Perceptual hashes, (N,) uint64.
        gray: Gray thumbnails, (N, H, W) uint8.
        first: Rows of one side.
        second: Rows of the other.
        checksums: Of the pixels, (N,).
    """
    first, second = _spread(first), _spread(second)
    compared = len(first), len(second)
    best, distance = _closest(hashes[first], hashes[second])
    near = distance <= MOST_BITS
    pairs = np.stack([first[near], second[best[near]]], axis=1) if near.any() else np.zeros((0, 2), np.int64)
    pairs = pairs[checksums[pairs[:, 0]] != checksums[pairs[:, 1]]]
    parts = np.array_split(pairs, len(pairs) // _AT_ONCE + 1)
    correlations = np.concatenate([_correlations(gray[part[:, 0]], gray[part[:, 1]]) for part in parts])
    order = np.argsort(-correlations, kind="stable")
    order = order[correlations[order] >= LEAST_CORRELATION]
    return NearDuplicates(pairs[order], correlations[order], compared)


def _spread(rows: np.ndarray) -> np.ndarray:
    step = -(-len(rows) // MOST_IMAGES) or 1
    return rows[::step].astype(np.int64)


def _closest(hashes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return place and distance in bits of the closest of the others, (N,) each; 65 bits if there is none."""
    best, distance = np.zeros(len(hashes), np.int64), np.full(len(hashes), 65, np.int64)
    if not len(others):
        return best, distance
    for start in range(0, len(hashes), _BLOCK):
        block = slice(start, start + _BLOCK)
        bits = np.bitwise_count(hashes[block, None] ^ others[None])
        best[block] = bits.argmin(axis=1)
        distance[block] = np.take_along_axis(bits, best[block, None], axis=1)[:, 0]
    return best, distance


def _correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of pairs of thumbnails, 0 where one has a single color."""
    a, b = (
        side.reshape(len(side), int(np.prod(side.shape[1:]))).astype(np.float32) for side in (first, second)
    )
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.where(norms > 0, (a * b).sum(axis=1) / np.maximum(norms, 1e-9), 0.0)
