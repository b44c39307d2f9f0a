"""Arguments that several commands take."""

from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Hydra overrides, such as data=market1501 data.root=DIR.")
]
Trust = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PACKAGE",
        help="Package of your own that the checkpoint's config names; its code is run. May be repeated.",
    ),
]
