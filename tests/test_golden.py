"""What every experiment composes to, compared key by key with the files in `tests/golden/`.

After an intended change: `python -m pytest tests/test_golden.py --update-golden`, and read the difference in Git.
A file holds what differs from `default.yaml`, the config of a run without any choice, so that a changed default
touches that one file. A table's file describes its first job, and then each other choice against the first.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reid_lightning.config.resolve import CONF

GOLDEN = Path(__file__).parent / "golden"
EXPERIMENTS = CONF / "experiment"


def is_experiment(file: Path) -> bool:
    """Tell an experiment from a recipe, which others start from, and from an option of an experiment's own group."""
    folder = file.parent.relative_to(EXPERIMENTS)
    return file.stem != "recipe" and (len(folder.parts) < 2 or folder.name == "tables")


NAMES = sorted(
    str(file.relative_to(EXPERIMENTS).with_suffix(""))
    for file in EXPERIMENTS.rglob("*.yaml")
    if is_experiment(file)
)


def flat(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys of a plain config that hold no further keys, and their values."""
    if isinstance(config, dict) and config:
        for key, value in config.items():
            yield from flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, config


def difference(config: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """Return what makes one config of another: the keys that are set, and the uppermost ones that are gone."""
    mine, theirs = dict(flat(config)), dict(flat(base))
    inner = {key.rsplit(".", depth)[0] for key in mine for depth in range(key.count(".") + 1)}
    gone = set()
    for key in theirs.keys() - inner:
        parts = key.split(".")
        above = next(
            ".".join(parts[:end]) for end in range(1, len(parts) + 1) if ".".join(parts[:end]) not in inner
        )
        if above.rpartition(".")[0] not in mine:  # else its group was replaced by a value
            gone.add(above)
    changed = {key: value for key, value in sorted(mine.items()) if key not in theirs or theirs[key] != value}
    return {"set": changed} | ({"gone": sorted(gone)} if gone else {})


def other_choices(axes: dict[str, Any]) -> Iterator[str]:
    """Yield the choices of a sweep that its first job does not make."""
    for key, values in axes.items():
        if key != "seed" and not str(values).startswith("glob("):
            yield from (f"{key}={value}" for value in str(values).split(",")[1:])


def described(compose, name: str) -> dict[str, Any]:
    """Return what an experiment's golden file has to hold."""

    def composed(*overrides):
        return compose(*overrides, output_dir="OUTPUT")

    default = composed()
    if name == "default":
        return dict(sorted(flat(default)))
    experiment = f"experiment={name}"
    written = yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text()) or {}
    axes = written.get("hydra", {}).get("sweeper", {}).get("params", {})
    first = composed(experiment, "data.weights=null")
    content: dict[str, Any] = difference(first, default)
    if axes:
        content["sweep"] = axes
    jobs = {choice: difference(composed(experiment, choice), first) for choice in other_choices(axes)}
    return content | ({"choices": jobs} if jobs else {})


@pytest.mark.parametrize("name", ["default", *NAMES])
def test_an_experiment_composes_to_its_golden_file(compose, request, name):
    found, file = described(compose, name), GOLDEN / f"{name}.yaml"
    if request.config.getoption("--update-golden"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(found, sort_keys=False, default_flow_style=None, width=120))
    golden = dict(flat(yaml.safe_load(file.read_text())))
    now = dict(flat(found))
    lines = [
        f"{key}: {golden.get(key, 'absent')!r} in the file, {now.get(key, 'absent')!r} composed"
        for key in sorted(golden.keys() | now.keys())
        if key not in golden or key not in now or golden[key] != now[key]
    ]
    assert not lines, f"{file.relative_to(GOLDEN.parents[1])}\n" + "\n".join(lines)


def test_every_golden_file_has_its_experiment():
    files = {str(file.relative_to(GOLDEN).with_suffix("")) for file in GOLDEN.rglob("*.yaml")}
    assert files == {"default", *NAMES}


def test_a_difference_names_what_is_set_and_what_is_gone():
    base = {
        "lr": 1,
        "loss": {"triplet": {"margin": 0.3, "weight": 1}},
        "miner": {"share": 0.5},
        "heads": None,
    }
    config = {"lr": 2, "loss": {"circle": {"margin": 0.25}}, "miner": None, "heads": {"size": 3}}
    assert difference(config, base) == {
        "set": {"heads.size": 3, "loss.circle.margin": 0.25, "lr": 2, "miner": None},
        "gone": ["loss.triplet"],
    }
    assert difference(base, base) == {"set": {}}
