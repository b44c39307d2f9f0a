"""What `reid search` does: rank a gallery for images, as a table, CSV, JSON lines and a picture."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pandas as pd
from rich.console import Console
from rich.table import Table
from torch import Tensor

from reid_lightning.errors import InputError
from reid_lightning.experiments.quiet import quiet
from reid_lightning.files import atomic_path
from reid_lightning.inference.answers import counted, is_csv, require_answers, short_path
from reid_lightning.inference.gallery.attributes import Wish, agreements
from reid_lightning.inference.gallery.gallery import Gallery
from reid_lightning.inference.gallery.images import image_rows, load_model, preprocessing_line
from reid_lightning.inference.gallery.search import Hits, Search
from reid_lightning.inference.options import require_choice, require_option
from reid_lightning.reporting.cells import write_csv
from reid_lightning.reporting.ranked_lists import RankedImage, RankedList, ranked_lists
from reid_lightning.reporting.sheet import require_sheet
from reid_lightning.reporting.terminal import as_it_is, json_line, say

QUERIES_SHOWN, IMAGES_SHOWN = 20, 10  # on a picture
QUERIES_AT_ONCE = 1024


def search(
    address: Path | str,
    images: Sequence[Path],
    checkpoint: Path | None,
    *,
    top: int = 20,
    where: str | None = None,
    how: Search = "auto",
    rerank: bool = False,
    like: str | None = None,
    like_weight: float = 1.0,
    like_least: float | None = None,
    output: Path | None = None,
    csv: Path | None = None,
    json: Path | None = None,
    sheet: Path | None = None,
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
) -> pd.DataFrame:
    """Find the images of a gallery that are nearest to each of some images.

    Args:
        address: The gallery.
        images: Images, folders and tables, see `images.image_rows`; none: the attributes of `like` alone are searched for.
        checkpoint: The model that the gallery was built with; None where there are no images.
        top: Number of results for each image.
        where: A condition on the gallery's images, see `filters.parse_condition`.
        how: As in `Gallery.search`.
        rerank: As in `Gallery.search`.
        like: What people are to look like, see `Gallery.wish`.
        like_weight: As in `Gallery.wish`.
        like_least: As in `Gallery.wish`.
        output: File for the answers: as `csv` where it ends in `.csv`, else as `json`.
        csv: File for a row per answer.
        json: File with a line of JSON per image.
        sheet: Picture of the first images and their results.
        overrides: Hydra overrides of the checkpoint's config.
        trust: Packages of your own that the checkpoint's config may name; their code is run.

    Returns:
        A row per answer: `query`, `rank`, `distance` and the gallery's columns. Where the gallery holds attributes,
        `agrees` and `differs` say which of those wished for, or of the query's own, an answer has and has not.

    Raises:
        InputError: The gallery was built with another model, the condition or the attributes cannot be read, an image cannot
            be read, or an output cannot be written.
    """
    require_option("--top", top >= 1, "be 1 or more", top)
    require_choice("--search", how, get_args(Search))
    for file in (output, csv, json):
        if file is not None:
            require_answers(file)
    if sheet is not None:
        require_sheet(sheet)
    quiet()
    gallery = Gallery(address)
    gallery.condition(where)  # for its check, before any work
    wish = None if like is None else gallery.wish(like, like_weight, like_least)
    if wish is None and (like_weight != 1 or like_least is not None):
        raise InputError(
            "--like-weight and --like-least need --like, which gives the attributes to search for."
        )
    if not images and wish is None:
        raise InputError("Nothing is searched for: give images, --like, or both.")
    if not images and (rerank or how == "index"):
        option = "--rerank" if rerank else "--search index"
        raise InputError(f"{option} is for the vectors of images, and none are given: leave it out.")
    if images and checkpoint is None:
        raise InputError("Give --model to search for images: the model that the gallery was built with.")
    parts, said = [], ""
    if checkpoint is None or not images:
        queries = pd.DataFrame({"path": [like]})
        hits = gallery.search(None, top, where, like=wish)
        parts.append(answers(gallery, [str(like)], hits, wish))
        said = hits.how
    else:
        queries = image_rows(images)
        model = load_model(checkpoint, overrides, trust)
        gallery.require_model(model.fingerprint, preprocessing_line(model))
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            paths = queries["path"].iloc[start : start + QUERIES_AT_ONCE].tolist()
            vectors, looks = model.embed_with_attributes(paths)
            hits = gallery.search(vectors, top, where, how, rerank, wish)
            parts.append(answers(gallery, paths, hits, wish, looks))
            said = hits.how
    found = pd.concat(parts, ignore_index=True)
    say(f"{address}: {counted(len(gallery), 'image')}, search: {said}", "dim")
    if found.empty:
        limits = {"--where": where, "--like-least": like_least}
        given = " and ".join(f"{name} {value}" for name, value in limits.items() if value is not None)
        say(
            f"nothing found: no image of the gallery fulfills {given}" if given else "nothing found", "yellow"
        )
    as_csv = is_csv(output)
    for file in (csv, output if as_csv else None):
        if file is not None:
            write_csv(found, file)
    for file in (json, None if as_csv else output):
        if file is not None:
            _write_lines(queries["path"].tolist(), found, file)
    if sheet is not None:
        _draw(queries, found, sheet, bool(images))
    if output is None and csv is None and json is None and not found.empty:
        _print(found, wish is not None)
    return found


def answers(
    gallery: Gallery,
    queries: Sequence[str],
    hits: Hits,
    wish: Wish | None = None,
    looks: Tensor | None = None,
) -> pd.DataFrame:
    """Return a row per hit: what was asked, its rank from 1, its distance and all that is known of the image.

    Args:
        gallery: That was searched.
        queries: (Q,) what was asked.
        hits: What was found.
        wish: Attributes that were wished for.
        looks: (Q, C) attributes of the queries, which the hits' are compared with where none were wished for.
    """
    there = hits.ids >= 0
    rows, ranks = there.nonzero()
    known = gallery.rows(hits.ids[there])
    first = pd.DataFrame(
        {
            "query": [queries[row] for row in rows.tolist()],
            "rank": ranks + 1,
            "distance": hits.distances[there].round(6),
        }
    )
    found = pd.concat([first, known.reset_index(drop=True)], axis=1)
    if wish is not None:
        told = wish.told(gallery.looks(hits.ids[there]))
    elif looks is not None and gallery.manifest.attributes is not None:
        told = agreements(looks[rows], gallery.looks(hits.ids[there]), gallery.manifest.attributes)
    else:
        return found
    return found.assign(agrees=[one for one, _ in told], differs=[other for _, other in told])


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's values as JSON knows them, without those that are not known."""
    values = {}
    for name, value in row.items():
        if pd.isna(value):
            continue
        if isinstance(value, pd.Timestamp):
            value = value.isoformat()
        elif isinstance(value, float) and name == "frame_id":
            value = int(value)
        values[name] = round(value, 6) if isinstance(value, float) else value
    return values


def _write_lines(queries: Sequence[str], found: pd.DataFrame, output: Path) -> None:
    lists: dict[str, list[dict[str, Any]]] = {query: [] for query in queries}
    for row in found.to_dict("records"):
        lists[row.pop("query")].append(_plain(row))  # type: ignore[arg-type]
    with atomic_path(output) as temporary, temporary.open("w") as file:
        file.writelines(json_line({"image": query, "found": hits}) + "\n" for query, hits in lists.items())


def _draw(queries: pd.DataFrame, found: pd.DataFrame, output: Path, of_images: bool) -> None:
    people = queries["person_id"] if "person_id" in queries.columns else pd.Series(pd.NA, queries.index)
    lists = []
    for query, person in list(zip(queries["path"], people, strict=True))[:QUERIES_SHOWN]:
        own = found[found["query"] == query].head(IMAGES_SHOWN)
        images = tuple(
            RankedImage(
                Path(str(row["path"])), _same(person, row["person_id"]), row["distance"], _caption(row)
            )
            for row in own.to_dict("records")
        )
        asked = ("" if pd.isna(person) else str(person)) if of_images else query
        lists.append(RankedList(Path(query) if of_images else None, asked, None, images))
    ranked_lists(lists, output)


def _same(one: Any, other: Any) -> bool | None:
    return None if pd.isna(one) or pd.isna(other) else bool(one == other)


def _caption(row: Mapping[Any, Any]) -> str:
    return " ".join(str(row[name]) for name in ("person_id", "camera_id") if not pd.isna(row[name]))


def _print(found: pd.DataFrame, wished: bool) -> None:
    page = Table(show_edge=False, pad_edge=False)
    columns = ["rank", "distance", "id", "person_id", "camera_id", "time", "path"]
    if wished:  # all attributes of two images are too many for a terminal
        columns[-1:-1] = ["agrees", "differs"]
    shown = [name for name in columns if found[name].notna().any() or name in ("rank", "distance", "path")]
    for name in shown:
        page.add_column(
            name, justify="right" if name in ("rank", "distance", "id") else "left", overflow="fold"
        )
    for query, rows in found.groupby("query", sort=False):
        page.add_row(*[""] * (len(shown) - 1), as_it_is(f"{short_path(str(query))}:", "bold"))
        for row in rows.to_dict("records"):
            row["path"] = short_path(str(row["path"]))
            page.add_row(*(as_it_is(_cell(row[name])) for name in shown))
    Console(file=sys.stdout).print(page)


def _cell(value: Any) -> str:
    if pd.isna(value):
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
