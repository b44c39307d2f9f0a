"""Write a file in the form of CUHK03's release, as MATLAB 7.3 lays it out."""

from pathlib import Path

import h5py
import numpy as np


def write_release(path: Path, boxes: dict[str, list[dict[tuple[int, int], np.ndarray]]], test_sets) -> Path:
    """Write images by (person, image), both from 1, of each pair of cameras, and tables of (pair, person)."""
    with h5py.File(path, "w") as file:

        def store(array):
            name = f"#refs#/{len(file.get('#refs#', ()))}"
            return file.create_dataset(name, data=array).ref

        def cell(references, shape):
            return np.array(references, dtype=h5py.ref_dtype).reshape(shape)

        for name, pairs in boxes.items():
            cells = []
            for images in pairs:
                people = max(person for person, _ in images)
                # MATLAB's (people, 10) lies transposed; an empty image is its size, (0, 0).
                references = [
                    store(images[person, number].T if (person, number) in images else np.zeros(2, np.uint64))
                    for number in range(1, 11)
                    for person in range(1, people + 1)
                ]
                cells.append(store(cell(references, (10, people))))
            file[name] = cell(cells, (1, len(cells)))
        tables = [store(np.array(table, dtype=np.float64).T) for table in test_sets]
        file["testsets"] = cell(tables, (1, len(tables)))
    return path
