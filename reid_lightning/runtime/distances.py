"""Distances of vectors in numpy, as `reid_lightning.distances` has them in torch."""

import numpy as np
from numpy.typing import NDArray


def distances(a: NDArray[np.floating], b: NDArray[np.floating], distance: str) -> NDArray[np.float32]:
    """Return the (N, M) distances of (N, D) and (M, D) vectors in float32.

    Args:
        a: Vectors.
        b: Others.
        distance: "cosine", "euclidean" or "sqeuclidean".

    Examples:
        >>> distances(np.array([[3.0, 0]]), np.array([[0, 4.0], [6, 0]]), "euclidean").tolist()
        [[5.0, 3.0]]
    """
    left, right = np.asarray(a, np.float32), np.asarray(b, np.float32)
    if distance == "cosine":
        return np.maximum(1 - unit(left) @ unit(right).T, 0)
    squares = (left * left).sum(1)[:, None] + (right * right).sum(1) - 2 * (left @ right.T)
    squares = np.maximum(squares, 0)
    return squares if distance == "sqeuclidean" else np.sqrt(squares)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows of length 1; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)
