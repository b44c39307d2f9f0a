"""What people look like, as a model sees it: what `Model.describe` and `reid describe` do."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from reid_lightning.data.annotations import AttributeForm
from reid_lightning.data.attributes import AttributeSchema
from reid_lightning.errors import InputError
from reid_lightning.experiments.quiet import quiet
from reid_lightning.inference.answers import as_table, is_csv, require_answers, write_answers
from reid_lightning.inference.backends import Backend
from reid_lightning.inference.embed import list_images
from reid_lightning.inference.load import load
from reid_lightning.reporting.cards import Card, CardLine, cards
from reid_lightning.reporting.cells import write_csv
from reid_lightning.reporting.sheet import require_sheet
from reid_lightning.reporting.terminal import as_it_is

IMAGES_SHOWN = 40  # on a picture


@dataclass(frozen=True, eq=False)
class Description:
    """What a model says of images.

    Attributes:
        schema: The attributes and their classes; None where the model answers none.
        classes: (N, A) int64 most probable class of each attribute; -1 where there was no image.
        confidence: (N, A) its probability, as the head's softmax states it.
        traits: Names of the traits that are numbers.
        values: (N, T) these numbers, in the traits' own units.
        form: Columns and coding of the annotations that were trained on.
    """

    schema: AttributeSchema | None
    classes: Tensor
    confidence: Tensor
    traits: tuple[str, ...]
    values: Tensor
    form: AttributeForm | None

    def at(self, rows: Sequence[int], count: int) -> "Description":
        """Return a description of `count` images, of which the first `len(rows)` of these are the given ones.

        Of the others nothing is known: their classes are -1, and their numbers NaN.
        """

        def placed(values: Tensor, unknown: float) -> Tensor:
            full = values.new_full((count, values.shape[1]), unknown)
            full[list(rows)] = values[: len(rows)]
            return full

        return replace(
            self,
            classes=placed(self.classes, -1),
            confidence=placed(self.confidence, torch.nan),
            values=placed(self.values, torch.nan),
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return plain values of each image: `attributes` with `class` and `confidence` by name, and `traits` by name."""
        attributes = () if self.schema is None else tuple(self.schema)
        return [
            {
                "attributes": {
                    attribute.name: {
                        "class": attribute.classes[code] if code >= 0 else None,
                        "confidence": round(sure, 4) if code >= 0 else None,
                    }
                    for attribute, code, sure in zip(attributes, codes, confident, strict=True)
                },
                "traits": {
                    name: round(value, 4) if isfinite(value) else None
                    for name, value in zip(self.traits, values, strict=True)
                },
            }
            for codes, confident, values in zip(
                self.classes.tolist(), self.confidence.tolist(), self.values.tolist(), strict=True
            )
        ]

    def annotations(self) -> pd.DataFrame:
        """Return the columns and the coding of the annotations that were trained on, then the traits."""
        traits = pd.DataFrame(self.values.double().numpy(), columns=list(self.traits))
        if self.schema is None or self.form is None:
            return traits
        return pd.concat([self.form.write(self.classes.numpy(), self.schema), traits], axis=1)


def describe_batches(engine: Backend, batches: Iterable[Tensor]) -> Description:
    """Return what a model says of batches of images.

    Args:
        engine: Of the model.
        batches: (B, 3, H, W) each, on the model's device.

    Raises:
        InputError: The model predicts neither attributes nor traits.
    """
    schema = engine.schema
    if schema is None and not engine.traits:
        raise InputError(
            "The model predicts neither attributes nor traits: train one with attributes=market12, or with task=traits"
            + ("." if engine.name == "torch" else ", and export it with --attributes.")
        )
    codes, confident, values = [], [], []
    for batch in batches:
        found = engine.answer(batch)
        empty = torch.empty(len(batch), 0)
        best = []
        if schema is not None and found.attributes is not None:
            best = [block.max(dim=1) for block in found.attributes.split(list(schema.sizes), dim=1)]
        codes.append(torch.stack([each.indices for each in best], 1).cpu() if best else empty.long())
        confident.append(torch.stack([each.values for each in best], 1).cpu() if best else empty)
        values.append(empty if found.traits is None else found.traits.cpu())
    form = None if schema is None else engine.form or AttributeForm.of_schema(schema)
    return Description(schema, torch.cat(codes), torch.cat(confident), engine.traits, torch.cat(values), form)


def describe(
    images: Path,
    checkpoint: Path,
    overrides: Sequence[str] = (),
    output: Path | None = None,
    as_page: bool = False,
    sheet: Path | None = None,
    trust: Sequence[str] = (),
) -> Description:
    """Say what the people of images look like, a line for each image.

    Args:
        images: An image, a folder, or a table with a column `path`.
        checkpoint: A checkpoint file written by a run, or the folder of a saved model.
        overrides: Hydra overrides of the checkpoint's config.
        output: A `.csv` file in the columns and the coding of the annotations that were trained on, followed by the
            traits and each attribute's `confidence_NAME`; any other for JSON lines; None prints JSON lines.
        as_page: Whether a table is printed instead.
        sheet: Picture of the first images, with their descriptions.
        trust: Packages of your own that the checkpoint's config may name; their code is run.

    Raises:
        InputError: There are no images, the model predicts neither attributes nor traits, or the output cannot be written.
    """
    quiet()
    if output is not None:
        require_answers(output)
    if sheet is not None:
        require_sheet(sheet)
    paths = list_images(images)["path"].tolist()
    found = load(checkpoint, trust=trust, overrides=overrides).describe(paths)
    rows = [{"image": path, **row} for path, row in zip(paths, found.rows(), strict=True)]
    titles = {attribute.name: attribute.title for attribute in found.schema or ()}
    if as_page:
        _print(rows, titles)
    if is_csv(output):
        assert output is not None
        sure = [
            {f"confidence_{name}": answer["confidence"] for name, answer in row["attributes"].items()}
            for row in rows
        ]
        images_ = as_table([{"image": path} for path in paths])
        write_csv(pd.concat([images_, found.annotations(), pd.DataFrame(sure)], axis=1), output)
    elif output is not None or not (as_page or sheet):
        write_answers(rows, output)
    if sheet is not None:
        shown = [Card(Path(row["image"]), _lines(row, titles)) for row in rows[:IMAGES_SHOWN]]
        cards(shown, sheet)
    return found


def _lines(row: Mapping[str, Any], titles: Mapping[str, str]) -> tuple[CardLine, ...]:
    """Return the description of an image, a line for each attribute and trait."""
    said = [
        CardLine(titles.get(name, name), each["class"], each["confidence"])
        for name, each in row["attributes"].items()
    ]
    numbers = ((name, "" if value is None else f"{value:.4g}") for name, value in row["traits"].items())
    return (*said, *(CardLine(name, value, None) for name, value in numbers))


def _print(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> None:
    """Print a line for each image and attribute or trait: side by side, twelve attributes fit no terminal."""
    page = Table(show_edge=False, pad_edge=False)
    for title in ("image", "attribute", "answer"):
        page.add_column(title)
    page.add_column("confidence", justify="right")
    for row in rows:
        lines = _lines(row, titles)
        for place, line in enumerate(lines):
            image = Path(row["image"]).name if place == 0 else ""
            sure = "" if line.confidence is None else f"{100 * line.confidence:.0f} %"
            page.add_row(
                *map(as_it_is, (image, line.name, line.answer, sure)), end_section=place == len(lines) - 1
            )
    Console().print(page)
