"""Groups of images that respect what people have said of pairs of them."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from reid_lightning.errors import require
from reid_lightning.retrieval.clustering import by_size
from reid_lightning.retrieval.links import Integers, Links

Matrix = NDArray[np.float32]
_BEYOND = 2.0**40  # of two images that must not meet: their groups' mean exceeds any threshold


def constrained_groups(far: Matrix, threshold: float, links: Links) -> Integers:
    """Group images by average linkage so that every answer holds.

    Two images are asked for the sake of their groups, so that "same" joins whole groups. First, groups are formed in which
    nobody meets whom he must not (cannot-links count between all images that are one person by the answers). Then groups
    that an answer calls the same are joined; where another answer forbids it, only the images that the answers speak of
    leave their groups together. Last, the joined groups are compared again, until none within the threshold may join.

    Args:
        far: (N, N) distances, symmetric, zero on the diagonal.
        threshold: Largest mean distance of two groups that join.
        links: What is known, of N images.

    Returns:
        (N,) number of each image's group, from 0 on, larger groups first, and of equal ones that with the earlier image.

    Raises:
        ValueError: The threshold is negative, or the shapes do not fit.

    Examples:
        >>> places = np.array([0.0, 0.1, 1.0, 1.1], np.float32)
        >>> far = np.abs(places[:, None] - places)
        >>> constrained_groups(far, 0.5, Links.of([], 4)).tolist()
        [0, 0, 1, 1]
        >>> from reid_lightning.retrieval.links import Link
        >>> constrained_groups(far, 0.5, Links.of([Link(0, 2, "same")], 4)).tolist()
        [0, 0, 0, 0]
    """
    require(threshold >= 0, "threshold", ">= 0", threshold)
    require(far.shape == (len(links.components),) * 2, "far", "(N, N) of the N images of links", far.shape)
    if len(far) == 1:
        return np.zeros(1, np.int64)
    first, second = links.forbidden()
    spread = far.astype(np.float64)
    spread[first, second] = spread[second, first] = _BEYOND
    tree = linkage(squareform(spread, checks=False), method="average")
    groups = fcluster(tree, threshold, criterion="distance").astype(np.int64)
    return by_size(_merged(far, threshold, links, _joined(groups, links)))


def group_distances(far: Matrix, groups: Integers) -> NDArray[np.float64]:
    """Return the mean distance of the images of each two groups, (G, G); on the diagonal among all of a group."""
    count = int(groups.max()) + 1
    member = sparse.csr_array(
        (np.ones(len(groups), np.float32), (groups, np.arange(len(groups)))), shape=(count, len(groups))
    )
    sums = member @ (member @ far).T  # far is symmetric
    sizes = np.bincount(groups, minlength=count).astype(np.float64)
    return np.asarray(sums, np.float64) / np.outer(sizes, sizes)


def _joined(groups: Integers, links: Links) -> Integers:
    """Join whole groups that an answer calls the same, or where that is forbidden only the images that it speaks of."""
    groups = groups.copy()
    for first, second in links.same.tolist():
        one, other = int(groups[first]), int(groups[second])
        if one == other:
            continue
        both = (groups == one) | (groups == other)
        known = set(links.components[both].tolist())
        if any(a in known and b in known for a, b in links.apart):
            groups[links.components == links.components[first]] = int(groups.max()) + 1
        else:
            groups[both] = one
    return groups


def _merged(far: Matrix, threshold: float, links: Links, groups: Integers) -> Integers:
    """Join the two nearest groups until none that may join are within the threshold (average linkage)."""
    groups = np.unique(groups, return_inverse=True)[1].reshape(-1).astype(np.int64)
    between = group_distances(far, groups)
    sizes = np.bincount(groups).astype(np.float64)
    np.fill_diagonal(between, np.inf)
    for one, other in links.groups_apart(groups):
        between[one, other] = between[other, one] = np.inf
    while True:
        one, other = divmod(int(between.argmin()), len(between))
        if between[one, other] > threshold:
            return groups
        mean = (sizes[one] * between[one] + sizes[other] * between[other]) / (sizes[one] + sizes[other])
        mean[[one, other]] = np.inf
        between[one] = between[:, one] = mean
        between[other] = between[:, other] = np.inf
        sizes[one] += sizes[other]
        groups[groups == other] = one
