from pathlib import Path

import cv2
import numpy as np


def write_image(path: Path, seed: int = 0, size: tuple[int, int] = (24, 12)) -> Path:
    """Write a smooth random picture, so that JPEG keeps it recognizable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 2, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(coarse, size[::-1]))
    return path


def write_market_tree(root: Path, train: int = 6, test: int = 3, shots: int = 2, cameras: int = 2) -> Path:
    """Write a Market-1501 tree with junk, a distractor and a Thumbs.db; every image differs."""
    count = 0
    for folder, identities in {
        "bounding_box_train": range(1, train + 1),
        "query": range(101, 101 + test),
        "bounding_box_test": range(101, 101 + test),
    }.items():
        for identity in identities:
            for camera in range(1, cameras + 1):
                for _ in range(1 if folder == "query" else shots):
                    count += 1
                    write_image(root / folder / f"{identity:04d}_c{camera}s1_{count:06d}_00.jpg", count)
    write_image(root / "bounding_box_test" / "0000_c1s1_000001_00.jpg", 10_001)
    write_image(root / "bounding_box_test" / "-1_c1s1_000001_00.jpg", 10_002)
    (root / "bounding_box_test" / "Thumbs.db").write_bytes(b"not an image")
    return root
