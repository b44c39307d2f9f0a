"""A folder laid out as that of the Trento course."""

from pathlib import Path

import cv2
import numpy as np


def write_trento_tree(
    root: Path, people: int = 8, shots: int = 4, gallery: int = 9, queries: int = 3
) -> Path:
    """Write a tree of the Trento course: 27 columns coded from 1, and a query and a test image of one name."""
    colors = [f"up{name}" for name in ["black", "white", "red", "purple", "yellow", "gray", "blue", "green"]]
    colors += [
        f"down{name}"
        for name in ["black", "white", "pink", "purple", "yellow", "gray", "blue", "green", "brown"]
    ]
    plain = ["age", "backpack", "bag", "handbag", "clothes", "down", "up", "hair", "hat", "gender"]
    lines = [",".join(["id", *plain, *colors])]
    for person in range(people):
        for shot in range(shots):
            name = f"{2 + 3 * person:04d}_c{1 + shot % 2}s1_{100 * shot:06d}_00.jpg"
            _write(root / "train" / name, 100 * person + shot)
        answers = [1 + person % 4, *(1 + (person >> bit) % 2 for bit in range(9))]
        yes = [1 + int(color == 1 + person % 8) for color in range(8)] + [
            1 + int(c == person % 9) for c in range(9)
        ]
        lines.append(",".join(map(str, [2 + 3 * person, *answers, *yes])))
    for folder, count in (("test", gallery), ("queries", queries)):
        for number in range(count):
            _write(root / folder / f"{number:06d}.jpg", 10_000 * len(folder) + number)
    (root / "annotations_train.csv").write_text("\n".join(lines) + "\n")
    return root


def _write(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 2, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(coarse, (12, 24)))
