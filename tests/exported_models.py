"""An untrained model and its exported file, with images to look at: fixtures that import when they are used."""

import pytest


@pytest.fixture(scope="session")
def export_images(tmp_path_factory):
    """Return a table of images of noise, coarse enough to survive resizing: six people, three images each."""
    import cv2
    import numpy as np
    import pandas as pd

    folder = tmp_path_factory.mktemp("images")
    rows = []
    for number in range(18):
        coarse = np.random.default_rng(number).integers(0, 256, (6, 3, 3), dtype=np.uint8)
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), cv2.resize(coarse, (20, 40)))
        rows.append({"path": str(path), "person_id": f"p{number // 3}", "camera_id": number % 3})
    table = folder / "images.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    return table


@pytest.fixture(scope="session")
def export_checkpoint(tmp_path_factory):
    """Return a checkpoint that answers attributes and a trait; its images are resized by a filter of Pillow."""
    from untrained import write_small_checkpoint

    overrides = ("attributes=market12", "task=traits", "feed.interpolation=bicubic")
    return write_small_checkpoint(tmp_path_factory.mktemp("model") / "model.ckpt", *overrides)


@pytest.fixture(scope="session")
def exported(export_checkpoint, export_images, tmp_path_factory):
    """Return the ONNX file of the checkpoint with all its answers."""
    from reid_lightning.inference.export.export import export

    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    return export(export_checkpoint, path, attributes=True, images=export_images)
