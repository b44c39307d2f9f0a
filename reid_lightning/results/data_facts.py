"""What a run says about its images: which were left out, and which occur twice."""

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.reporting.cells import write_csv

log = logging.getLogger("reid_lightning")

LEFT_OUT = "damaged.csv"


@rank_zero_only
def warn_of_images(datamodule: ReIDDataModule, output_dir: Path) -> None:
    """Warn of images that occur twice and of those left out, and list the latter in the run's folder.

    Args:
        datamodule: After `setup`.
        output_dir: Receives `damaged.csv` with `path` and `reason` where images were left out.
    """
    for sentence in datamodule.content.sentences():
        log.warning(sentence)
    if len(datamodule.left_out):
        file = output_dir / LEFT_OUT
        write_csv(datamodule.left_out, file)
        log.warning("%s; %s lists them", describe_left_out(datamodule), file)


def describe_left_out(datamodule: ReIDDataModule) -> str:
    """Return in words how many images are left out, "" for none."""
    count = len(datamodule.left_out)
    images = f"{count:,} missing or damaged image{'s' if count > 1 else ''}"
    return f"{images} left out" if count else ""


def facts_of_images(datamodule: ReIDDataModule) -> dict[str, Any]:
    """Return the same as numbers: images, images left out, and how many occur twice in which way."""
    content = datamodule.content
    return {
        "images": len(datamodule.table),
        "left_out": len(datamodule.left_out),
        "compared": content.compared,
        **content.counts,
    }
