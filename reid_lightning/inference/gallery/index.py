"""An index of FAISS over a gallery's vectors: approximate search where reading all of them for a query takes too long."""

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.arguments import as_choice
from reid_lightning.distances import unit_vectors
from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path
from reid_lightning.inference.gallery.manifest import IndexEntry
from reid_lightning.inference.gallery.segments import file_digest
from reid_lightning.inference.gallery.snapshot import Snapshot
from reid_lightning.retrieval.neighbour_index import EXPLORED, LINKS, TRAINED_ON, load_faiss

IndexChoice = Literal["auto", "ivf_pq", "ivf_flat", "hnsw", "none"]

EXACT_UP_TO = 200_000  # vectors: a query is then compared with all of them in some hundredths of a second
STALE = 0.2  # share of vectors that are not in the index, from which on it is built again
MOST_LISTS = 1024
PROBED, LEAST_PROBED = 0.25, 32  # lists that are searched: a share of them, and how many at least
CODE_WIDTH = 8  # dimensions that share a byte of a code
ADDED_ROWS = 1 << 16  # vectors in memory while an index is built
TITLES = {"ivf_pq": "IVF-PQ", "ivf_flat": "IVF-FLAT", "hnsw": "HNSW"}
KINDS_IN_FOLDER = ("auto", "ivf_pq", "hnsw", "none")


def described(snapshot: Snapshot) -> str:
    """Say how a gallery is searched, and why."""
    index = snapshot.manifest.index
    if index is not None:
        return f"approximate by {TITLES.get(index.kind, index.kind)}, exact with --search exact or --where"
    if len(snapshot) > EXACT_UP_TO:
        return f"exact, although more than {EXACT_UP_TO:,} vectors; `reid gallery index` builds a faster, approximate search"
    return f"exact, since {EXACT_UP_TO:,} vectors or fewer"


def write_index(folder: Path, snapshot: Snapshot, kind: IndexChoice, number: int) -> IndexEntry | None:
    """Build an index of all vectors and write its file.

    Args:
        folder: The gallery, which the caller holds for changes.
        snapshot: Its state.
        kind: As in `Gallery.index`; "auto" keeps an index that holds most of the vectors.
        number: The change, which names the file.

    Returns:
        The gallery's index, an earlier one or a new one; None: none.

    Raises:
        InputError: The kind is not one of a folder's, or FAISS is not installed.
    """
    as_choice(kind, "kind", KINDS_IN_FOLDER)
    before = snapshot.manifest.index
    count = len(snapshot)
    if kind == "auto":
        if count <= EXACT_UP_TO and before is None:
            return None
        if before is not None and before.rows >= (1 - STALE) * count:
            return before
        kind = "ivf_pq" if before is None else before.kind  # type: ignore[assignment]
    if kind == "none" or not count:
        return None
    faiss = load_faiss(f"--kind {kind}")
    alive = np.flatnonzero(snapshot.alive)
    index = _empty(faiss, snapshot, alive, kind)
    for start in range(0, count, ADDED_ROWS):
        positions = alive[start : start + ADDED_ROWS]
        index.add_with_ids(_rows(snapshot, positions), snapshot.ids[positions])
    return _written(faiss, folder, index, IndexEntry(kind, number, count, snapshot.manifest.next_id, ""))


def without(folder: Path, entry: IndexEntry | None, ids: NDArray[np.int64], number: int) -> IndexEntry | None:
    """Take vectors out of an index; one that cannot forget (a graph), or cannot be read, is given up.

    Args:
        folder: The gallery, which the caller holds for changes.
        entry: Its index.
        ids: What is removed.
        number: The change, which names the new file.
    """
    if entry is None or not (ids < entry.up_to).any():
        return entry
    if entry.kind != "ivf_pq":
        return None
    try:
        faiss = load_faiss("The index of the gallery")
        index = read_index(folder, entry)
    except InputError:
        return None
    index.remove_ids(faiss.IDSelectorBatch(np.ascontiguousarray(ids)))
    if not index.ntotal:
        return None
    return _written(faiss, folder, index, IndexEntry(entry.kind, number, index.ntotal, entry.up_to, ""))


def read_index(folder: Path, entry: IndexEntry) -> Any:
    """Return an index of FAISS from its file.

    Raises:
        InputError: FAISS is not installed, or the file is missing or has been changed.
    """
    faiss = load_faiss("The index of the gallery")
    path = entry.path(folder)
    try:
        if file_digest(path) == entry.digest:
            return faiss.read_index(str(path))
        reason = "its content is not what was written"
    except FileNotFoundError:
        reason = "it is missing"
    except OSError as error:
        reason = error.strerror or str(error)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
    raise InputError(
        f"{path} cannot be used ({reason}); build it again with `reid gallery index`, or search with --search exact."
    )


def candidates(index: Any, snapshot: Snapshot, queries: Tensor, count: int) -> NDArray[np.int64]:
    """Return the (Q, count) positions that an index takes for the nearest, -1 if there is none."""
    rows = _as_compared(snapshot, queries).numpy()
    if hasattr(index, "index"):  # a graph, wrapped for ids
        load_faiss("The index").downcast_index(index.index).hnsw.efSearch = max(EXPLORED, 2 * count)
    else:
        index.nprobe = min(index.nlist, max(LEAST_PROBED, math.ceil(PROBED * index.nlist)))
    _, ids = index.search(rows, min(count, index.ntotal))
    return np.where(ids >= 0, snapshot.positions_of(ids), -1)


def _empty(faiss: Any, snapshot: Snapshot, alive: NDArray[np.int64], kind: str) -> Any:
    """Return a trained index without vectors."""
    count, width = len(alive), snapshot.manifest.dimension
    if kind == "hnsw":
        graph = faiss.IndexHNSWFlat(width, LINKS)
        graph.hnsw.efConstruction = EXPLORED
        wrapped = faiss.IndexIDMap(graph)
        wrapped.own_fields = True
        graph.this.disown()
        return wrapped
    lists = max(1, min(round(4 * math.sqrt(count)), count // TRAINED_ON, MOST_LISTS))
    bits = max(1, min(8, int(math.log2(max(2, count // TRAINED_ON)))))
    codes = next(width // size for size in range(min(CODE_WIDTH, width), 0, -1) if width % size == 0)
    quantizer = faiss.IndexFlatL2(width)
    index = faiss.IndexIVFPQ(quantizer, width, lists, codes, bits)
    index.own_fields = True
    quantizer.this.disown()
    random = np.random.default_rng(0)
    wanted = min(count, max(TRAINED_ON * lists, TRAINED_ON << bits))
    index.train(_rows(snapshot, np.sort(random.choice(alive, wanted, replace=False))))
    return index


def _rows(snapshot: Snapshot, positions: NDArray[np.int64]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = _as_compared(snapshot, torch.from_numpy(snapshot.vectors(positions))).numpy()
    return found


def _as_compared(snapshot: Snapshot, vectors: Tensor) -> Tensor:
    """Return vectors whose Euclidean distances are in the order of the gallery's distance."""
    return (unit_vectors(vectors) if snapshot.manifest.distance == "cosine" else vectors).contiguous()


def _written(faiss: Any, folder: Path, index: Any, entry: IndexEntry) -> IndexEntry:
    path = entry.path(folder)
    with atomic_path(path) as temporary:
        faiss.write_index(index, str(temporary))
    return IndexEntry(entry.kind, entry.number, entry.rows, entry.up_to, file_digest(path))
