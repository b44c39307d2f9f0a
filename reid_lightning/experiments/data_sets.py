"""Which models are evaluated on which data sets: the arguments of `reid evaluate` taken apart."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reid_lightning.config.resolve import CONF, quoted
from reid_lightning.errors import InputError
from reid_lightning.experiments.model_places import comes_along, local_path

OWN = "own data"


@dataclass(frozen=True)
class DataSet:
    """A data set of a comparison.

    Attributes:
        name: What a table calls it.
        overrides: What chooses it; none stands for the data of each model's own training.
    """

    name: str
    overrides: tuple[str, ...] = ()


def take_apart(first: str | Path, arguments: Sequence[str]) -> tuple[list[Path], list[DataSet], list[str]]:
    """Return checkpoints, data sets and further overrides of a command line.

    What exists as a file or folder, or ends in `.ckpt`, is a checkpoint, and so is a model of the package or of Hugging
    Face. `data=A:DIR,B:FILE` names several data sets, each with its `data.root` after a colon, where it has one.

    Args:
        first: The first checkpoint.
        arguments: What follows: further checkpoints and Hydra overrides.

    Raises:
        InputError: A data set is named twice, or `data.root` is given beside several.
    """
    checkpoints, sets, others = [local_path(str(first))], [DataSet(OWN)], []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if os.path.exists(argument) or (not equals and argument.endswith(".ckpt")):
            checkpoints.append(Path(argument))
        elif not equals and (comes_along(argument) or argument.startswith("hf://")):
            checkpoints.append(local_path(argument))
        elif key == "data" and equals and (found := data_sets(value)):
            sets = found
        else:
            others.append(argument)
    if len(sets) > 1 and any(one.startswith("data.root=") for one in others):
        raise InputError(
            "data.root is that of one data set, and there are several: give each its own, as in "
            "data=market1501:DIR,table:FILE"
        )
    return checkpoints, sets, others


def data_sets(value: str) -> list[DataSet]:
    """Return the data sets of the value of `data=`; none where it is a choice as a training takes it.

    Examples:
        >>> [one.overrides for one in data_sets("market1501:/data/m,table:a.csv,pedestrians")]
        [('data=market1501', 'data.root=/data/m'), ('data=table', 'data.root=a.csv'), ('data=pedestrians',)]
        >>> data_sets("market1501"), data_sets("[market1501,table]")
        ([], [])
    """
    options = sorted((file.stem for file in (CONF / "data").glob("*.yaml")), key=len, reverse=True)
    start = re.compile(rf"(?:^|,)({'|'.join(map(re.escape, options))})(?=:|,|$)")
    found = list(start.finditer(value))
    if not found or found[0].start() or (len(found) == 1 and found[0].end() == len(value)):
        return []
    sets: list[DataSet] = []
    for match, following in zip(found, [*found[1:], None], strict=True):
        root = value[match.end() : following.start() if following else len(value)].removeprefix(":")
        if value[match.end() : match.end() + 1] == ":" and not root:
            raise InputError(f"data={value}: the place of {match[1]} is missing after the colon")
        place = (f"data.root={quoted(root) if _needs_quotes(root) else root}",) if root else ()
        sets.append(DataSet(match[1], (f"data={match[1]}", *place)))
    return _told_apart(sets, value)


def _needs_quotes(root: str) -> bool:
    return re.fullmatch(r"[\w./~-]+", root) is None and root[:1] not in "'\""


def _told_apart(sets: list[DataSet], value: str) -> list[DataSet]:
    """Give sets of one kind the names of their files or folders too."""
    if len({one.overrides for one in sets}) < len(sets):
        raise InputError(f"data={value} names a data set twice: leave one out")
    kinds = [one.name for one in sets]
    named = []
    for one in sets:
        if kinds.count(one.name) > 1 and len(one.overrides) > 1:
            root = Path(one.overrides[1].removeprefix("data.root=").strip("'\""))
            one = DataSet(f"{one.name}:{root.name}", one.overrides)
        named.append(one)
    names = [one.name for one in named]
    return [
        DataSet(f"{one.name} ({place + 1})", one.overrides) if names.count(one.name) > 1 else one
        for place, one in enumerate(named)
    ]


def names_of(checkpoints: Sequence[Path]) -> list[str]:
    """Return short names of checkpoints that tell them apart: that of the run's folder, with the file's where it takes that.

    Examples:
        >>> names_of([Path("a/checkpoints/best.ckpt"), Path("b/checkpoints/best.ckpt"), Path("osnet.ckpt")])
        ['a', 'b', 'osnet']
        >>> names_of([Path("a/checkpoints/best.ckpt"), Path("a/checkpoints/last.ckpt")])
        ['a/best', 'a/last']
    """
    short = [_run_of(path) for path in checkpoints]
    for longer in (lambda path: f"{_run_of(path)}/{path.stem}", str):
        if len(set(short)) == len(short):
            break
        repeated = {name for name in short if short.count(name) > 1}
        short = [
            longer(path) if name in repeated else name for path, name in zip(checkpoints, short, strict=True)
        ]
    return short


def _run_of(path: Path) -> str:
    absolute = path.absolute()
    if absolute.parent.name == "checkpoints" and not path.is_dir():
        return absolute.parent.parent.name
    return absolute.name.removesuffix(".ckpt")
