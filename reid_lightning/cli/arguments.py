"""Arguments that several commands take."""

from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Hydra overrides, such as data=market1501 data.root=DIR.")
]
