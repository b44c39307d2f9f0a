"""Arguments that several commands take, and how settings are told from images."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Hydra overrides, such as data=market1501 data.root=DIR.")
]
ModelOverrides = Annotated[
    list[str] | None,
    typer.Argument(help="Hydra overrides of the model's config, such as evaluation.flip=true."),
]
Trust = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PACKAGE",
        help="Your own package that the checkpoint's config names; its code is run. May be repeated.",
    ),
]
Override = Annotated[  # as earlier versions took settings where images may be several
    list[str] | None, typer.Option("--override", metavar="KEY=VALUE", hidden=True)
]
ConfigDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Folder with your own options, with the layout of conf/: DIR/data/mine.yaml."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a model in the folder.")]

_SETTING = re.compile(r"(\+{1,2}|~)?[A-Za-z_][\w./@-]*=.*", re.DOTALL)


def with_config_dir(overrides: Sequence[str] | None, config_dir: Path | None) -> list[str]:
    """Return settings that also find the options of a folder, as `--config-dir` of a training does.

    Raises:
        InputError: There is no such folder.
    """
    from reid_lightning.config.resolve import quoted
    from reid_lightning.errors import InputError

    if config_dir is None:
        return list(overrides or [])
    if not config_dir.is_dir():
        raise InputError(f"there is no folder {config_dir}; correct --config-dir")
    return [f"hydra.searchpath=[{quoted(config_dir.absolute())}]", *(overrides or [])]


def apart(arguments: Sequence[str], override: Sequence[str] | None) -> tuple[list[Path], list[str]]:
    """Return the files of a command line, and the settings: what is written KEY=VALUE and is not the name of a file.

    Args:
        arguments: Files and settings.
        override: Further settings, of `--override`.

    Examples:
        >>> apart(["a.jpg", "evaluation.flip=true"], None)
        ([PosixPath('a.jpg')], ['evaluation.flip=true'])
    """
    settings = [one for one in arguments if _SETTING.fullmatch(one) and not os.path.lexists(one)]
    return [Path(one) for one in arguments if one not in settings], [*settings, *(override or [])]
