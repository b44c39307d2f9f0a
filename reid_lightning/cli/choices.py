"""Commands of a run: train, and list what can be chosen."""

import sys
from typing import Annotated

import typer

from reid_lightning.cli.arguments import Overrides


def train(overrides: Overrides = None) -> None:
    """Train and evaluate; the same as train.py. `reid train --help` lists groups and options."""
    from reid_lightning.config.options import HELP_FLAGS, run_help

    if HELP_FLAGS & set(overrides or []):
        print(run_help("reid train"))
        return
    from reid_lightning.cli.train import main as train_main

    sys.argv = ["reid train", *(overrides or [])]
    train_main()


def list_options(
    group: Annotated[
        str | None, typer.Argument(help="A group, such as backbone; a pattern for all groups; or timm.")
    ] = None,
    pattern: Annotated[str | None, typer.Argument(help="Options whose names match, such as '*ibn*'.")] = None,
) -> None:
    """Show the groups of settings, or the options of one, with a sentence each."""
    from reid_lightning.config.options import listing

    print(listing(group, pattern))
