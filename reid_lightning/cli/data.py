"""Commands that look at data sets before training."""

from pathlib import Path
from typing import Annotated

import typer

from reid_lightning.cli.arguments import ConfigDir, Overrides, with_config_dir


def check(overrides: Overrides = None, config_dir: ConfigDir = None) -> None:
    """Read a data set as a run would: count images, identities and cameras, and find damaged and repeated images."""
    from reid_lightning.experiments.inspect_data import print_counts

    print_counts(with_config_dir(overrides, config_dir))


def sheet(
    output: Annotated[Path, typer.Argument(help="PNG file to write.")],
    overrides: Overrides = None,
    people: Annotated[int, typer.Option(help="Rows: identities.")] = 8,
    config_dir: ConfigDir = None,
) -> None:
    """Draw a contact sheet of a data set: people x cameras, or x images where cameras are unknown."""
    from reid_lightning.experiments.inspect_data import draw_sheet

    draw_sheet(output, with_config_dir(overrides, config_dir), people)
    print(output)


def show(
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option(help="Folder of the page.")] = Path("data_page"),
    table: Annotated[
        Path | None, typer.Option(help="CSV or Parquet file for the table with the size of each image.")
    ] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Write a page of a data set: counts, charts, what is wrong with it, validation, and its people."""
    from reid_lightning.experiments.show_data import show_data

    print(show_data(with_config_dir(overrides, config_dir), output, table))


def people(
    folder: Annotated[Path, typer.Argument(help="New folder, with a folder of images per person.")],
    number: Annotated[int, typer.Option("--people", help="Number of people.")] = 20,
    cameras: Annotated[
        int, typer.Option(help="Number of cameras; `_c1` in a file's name is the camera.")
    ] = 6,
    seed: Annotated[int, typer.Option(help="Seed of people, cameras and images.")] = 0,
) -> None:
    """Write images of generated people, a folder per person: something to try the other commands on."""
    from reid_lightning.data.pedestrians.folders import write_people

    print(f"{folder}: {write_people(folder, number, cameras, seed):,} images of {number:,} people")


def scene(
    folder: Annotated[Path, typer.Argument(help="New folder, with a sequence per camera.")],
    cameras: Annotated[int, typer.Option(help="Cameras.")] = 2,
    frames: Annotated[int, typer.Option(help="Frames of each camera; 10 per second.")] = 300,
    people: Annotated[int, typer.Option(help="People who walk through the scene.")] = 24,
    seed: Annotated[int, typer.Option(help="Seed of people, walks, cameras and detections.")] = 0,
    missed: Annotated[
        float, typer.Option(help="Share of the fully visible people that the detector misses.")
    ] = 0.06,
    jitter: Annotated[
        float,
        typer.Option(help="Standard deviation of a detection's edges, as a fraction of the box."),
    ] = 0.03,
    false_boxes: Annotated[float, typer.Option(help="Mean number of false detections per frame.")] = 0.2,
) -> None:
    """Draw a street with walking people, seen by several cameras: frames, who is where, and noisy detections."""
    from reid_lightning.data.pedestrians.street.plan import SceneSettings
    from reid_lightning.data.pedestrians.street.write import write_scene
    from reid_lightning.errors import InputError

    try:
        settings = SceneSettings(cameras, frames, people, seed, missed, jitter, false_boxes)
    except ValueError as error:
        raise InputError(f"--{str(error).replace('_', '-', 1)}.") from None
    print(write_scene(folder, settings))
