"""Charts and tables of the data page, from the numbers of `data.overview`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from reid_lightning.data.image_facts import ImageFacts
from reid_lightning.data.overview import Overview
from reid_lightning.reporting.charts import Chart, Line, Mark, histogram, line_chart

MOST_CAMERAS = 40  # listed
MOST_PAIRED = 20  # in the matrix


def charts(seen: Overview, facts: ImageFacts, image_size: Sequence[int]) -> list[Chart]:
    """Return histograms of people, tracklets and image sizes; those of which there is nothing are left out.

    Args:
        seen: The table's numbers.
        facts: Of its images.
        image_size: Height and width that a run resizes to.
    """
    drawn = []
    counted = (
        (seen.images, "Images per person", "images", "people in percent"),
        (
            seen.cameras_of_person[seen.cameras_of_person > 0],
            "Cameras per person",
            "cameras",
            "people in percent",
        ),
        (seen.tracklets, "Images per tracklet", "images", "tracklets in percent"),
    )
    for values, title, x_label, y_label in counted:
        if len(values):
            drawn.append(_histogram(values, title, x_label, y_label, _summary(values)))
    heights, widths, _ = facts.sizes[facts.sizes[:, 0] > 0].T
    for values, title, wanted in ((heights, "Height", image_size[0]), (widths, "Width", image_size[1])):
        if len(values):
            smaller = 100 * float((values < wanted).mean())
            caption = f"{_summary(values)} {smaller:.1f} % are enlarged to {wanted} pixels."
            marks = [Mark(wanted, f"a run: {wanted}")]
            drawn.append(
                _histogram(values, f"{title} of images", "pixels", "images in percent", caption, marks)
            )
    return drawn


def _histogram(
    values: np.ndarray, title: str, x_label: str, y_label: str, caption: str, marks: Sequence[Mark] = ()
) -> Chart:
    """A histogram in bins of whole numbers; what lies above the 99.5th percentile is in the last one."""
    low, high = int(values.min()), int(np.ceil(np.quantile(values, 0.995)))
    places = [int(mark.at) for mark in marks]
    low = min([low, *places])
    if places and max(places) >= high - (high - low) / 3:  # room for the mark's words
        high = max([high, *places]) + max(4, (max([high, *places]) - low) // 2)
    step = max(1, -(-(high - low + 1) // 40))
    edges = [low + step * place - 0.5 for place in range((high - low) // step + 2)]
    if above := int((values > edges[-1]).sum()):
        caption += f" The last bin holds {above:,} larger ones."
    outline = histogram(np.minimum(values, int(edges[-1])).tolist(), edges)
    return line_chart(
        [Line(title, outline, filled=True)],
        title=title,
        x_label=x_label,
        y_label=y_label,
        caption=caption,
        x_whole=True,
        marks=marks,
    )


def _summary(values: np.ndarray) -> str:
    return (
        f"{values.min():,} to {values.max():,}, median {np.median(values):,.10g}, mean {values.mean():,.1f}."
    )


def camera_table(seen: Overview, one_source: bool) -> dict[str, Any] | None:
    """Return images of each camera and split, those with the most images where there are many; None without cameras."""
    if not len(seen.cameras):
        return None
    total = seen.cameras.sum(axis=1)
    kept = set(total.sort_values(ascending=False, kind="stable").index[:MOST_CAMERAS])
    rows = [
        {"name": _short(name, one_source), "counts": [int(value) for value in row], "total": int(sum(row))}
        for name, row in zip(seen.cameras.index, seen.cameras.to_numpy(), strict=True)
        if name in kept
    ]
    return {"splits": list(seen.cameras.columns), "rows": rows, "cameras": len(total)}


def pair_table(seen: Overview, one_source: bool) -> dict[str, Any] | None:
    """Return the people seen by both of two cameras, with their share of the largest number; None below two cameras."""
    if len(seen.cameras) < 2:
        return None
    order = np.argsort(-seen.cameras.sum(axis=1).to_numpy(), kind="stable")[:MOST_PAIRED]
    order = np.sort(order)
    counts = seen.pairs[np.ix_(order, order)]
    largest = max(1, int(counts.max()))
    names = [_short(seen.cameras.index[place], one_source) for place in order]
    rows = [
        {"name": name, "cells": [(int(value), round(float(value) / largest, 3)) for value in row]}
        for name, row in zip(names, counts, strict=True)
    ]
    return {"names": names, "rows": rows, "cameras": len(seen.cameras)}


def attribute_table(seen: Overview) -> dict[str, Any] | None:
    """Return the images and the share of each attribute class in each split; None where no attribute is known."""
    table = seen.attributes
    splits = list(table.columns[2:])
    if table.empty or not table[splits].to_numpy().sum():
        return None
    known = table.groupby("attribute", sort=False)[splits].transform("sum")
    rows = []
    for place, (attribute, name, *counts) in enumerate(table.itertuples(index=False, name=None)):
        shares = [
            (int(count), 100 * count / total if total else None)
            for count, total in zip(counts, known.iloc[place], strict=True)
        ]
        first = place == 0 or table["attribute"].iloc[place - 1] != attribute
        rows.append({"attribute": attribute if first else "", "name": name, "shares": shares})
    return {"splits": splits, "rows": rows}


def _short(key: str, one_source: bool) -> str:
    return key.split("/", 1)[1] if one_source else key
