"""Data sets joined into one table, and the images of its rows."""

from collections.abc import Callable, Mapping
from os import PathLike
from typing import Literal

import numpy as np
import pandas as pd

from reid_lightning.data.attributes import AttributeSchema
from reid_lightning.data.cache_file import CachedImages
from reid_lightning.data.decoding import FILTERS
from reid_lightning.data.fingerprint import fingerprint
from reid_lightning.data.image_cache import DecodedImages, missing_images, open_images, refuse_damaged
from reid_lightning.data.readers.table_file import read_table_file
from reid_lightning.data.table import concatenate_tables
from reid_lightning.errors import InputError

Source = Callable[[], pd.DataFrame] | pd.DataFrame | str | PathLike[str]


class Sources:
    """Reads the tables once, and opens the images once; both when they are first asked for.

    Args:
        sources: As of `ReIDDataModule`, like what follows.
        attributes: Which columns of the table are attributes.
        image_size: Height and width in pixels.
        interpolation: How images are resized.
        cache: Whether images are decoded once into the image cache.
        cache_limit: Gigabytes.
        damaged: "error" or "skip".

    Attributes:
        left_out: `path` and `reason` of each image that is left out because it is missing or damaged.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        attributes: AttributeSchema,
        image_size: tuple[int, int],
        interpolation: str,
        cache: bool,
        cache_limit: float,
        damaged: Literal["error", "skip"],
    ) -> None:
        if interpolation not in FILTERS:
            raise ValueError(f"interpolation must be one of {', '.join(FILTERS)}, got {interpolation!r}")
        if damaged not in ("error", "skip"):
            raise ValueError(f"damaged must be error or skip, got {damaged!r}")
        self._sources, self._attributes = sources, attributes
        self._image_size, self._interpolation = image_size, interpolation
        self._cache, self._cache_limit = cache, cache_limit
        self.skips_damaged = damaged == "skip"
        self.left_out = pd.DataFrame({"path": [], "reason": []}, dtype="string")
        self._table: pd.DataFrame | None = None
        self._images: CachedImages | DecodedImages | None = None

    def share(self, joined: pd.DataFrame) -> None:
        """Take the table from the job that has joined it before; it is not changed."""
        self._table = joined

    def table(self) -> pd.DataFrame:
        """Return the rows of all sources; nobody may change them.

        Raises:
            InputError: A table cannot be used.
        """
        if self._table is None:
            tables = {name: _table_of(name, source) for name, source in self._sources.items()}
            self._table = concatenate_tables(tables, self._attributes)
        return self._table

    def images(self) -> CachedImages | DecodedImages:
        """Return the images of the table's rows; rows that are left out leave the table, too.

        Raises:
            InputError: As of `table`, or an image is missing or damaged and not skipped, or all are.
        """
        if self._images is None:
            paths = self.table()["path"].tolist()
            if self._cache:
                images = open_images(
                    paths,
                    self._image_size,
                    self._cache_limit,
                    skip_damaged=self.skips_damaged,
                    interpolation=self._interpolation,
                )
            else:
                images = DecodedImages(paths, self._image_size, missing_images(paths), self._interpolation)
                if not self.skips_damaged:
                    refuse_damaged(images.damaged, len(paths))
            self._images = self._without_damaged(images) if images.damaged else images
        return self._images

    def fingerprint(self) -> str:
        """Return a hash of the tables and the sizes of their images, wherever these lie."""
        tables = {str(source): table for source, table in self.table().groupby("source")}
        return fingerprint(tables, times=False)

    def _without_damaged(self, images: CachedImages | DecodedImages) -> CachedImages | DecodedImages:
        """Leave rows without an image out of the table."""
        table, rows = self.table(), sorted(images.damaged)
        reasons = [images.damaged[row] for row in rows]
        self.left_out = pd.DataFrame({"path": table["path"].iloc[rows].tolist(), "reason": reasons})
        if len(rows) == len(table):
            raise InputError(
                f"All {len(rows):,} images are missing or damaged; the first: {images.damaged[rows[0]]}"
            )
        kept = np.setdiff1d(np.arange(len(table)), rows)
        self._table = table.iloc[kept].reset_index(drop=True)
        return images.select(kept)


def _table_of(name: str, source: Source) -> pd.DataFrame:
    if isinstance(source, pd.DataFrame):
        return source
    if isinstance(source, str | PathLike):
        return read_table_file(str(source))
    if callable(source):
        return source()
    raise InputError(
        f"sources[{name!r}] is a {type(source).__name__}: give a reader, a table (pandas DataFrame) or the path of a CSV, "
        "TSV or Parquet file."
    )
