"""What a JSON or YAML file of a run's folder holds, from any source: plain values with an end."""

import json
from pathlib import Path
from typing import Any

import yaml

from reid_lightning.files import read_own

MOST_BYTES = {".json": 16_000_000, ".yaml": 1_000_000}
"""YAML is read at half a megabyte a second, and no run writes more than a few kilobytes."""
MOST_VALUES = 1_000_000


class _Plain(yaml.SafeLoader):
    """Reads what a run writes: no merge keys, with which a few lines stand for more than any memory holds."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.YAMLError("merge keys are not read")


def read_plain(file: Path, otherwise: Any = None) -> Any:
    """Return what a JSON or YAML file holds; something else where it is missing, no file, broken or endless.

    Args:
        file: Its ending, `.json` or `.yaml`, tells which it is.
        otherwise: What is returned then.

    Examples:
        >>> read_plain(Path("/proc/x.yaml"), {}), read_plain(Path("nowhere.json"))
        ({}, None)
    """
    try:
        text = read_own(file, MOST_BYTES[file.suffix]).decode()
        content = json.loads(text) if file.suffix == ".json" else yaml.load(text, _Plain)
    except (OSError, ValueError, RecursionError, MemoryError, yaml.YAMLError):
        return otherwise
    return content if _has_end(content) else otherwise


def read_mapping(file: Path) -> dict[str, Any]:
    """Return the mapping that a JSON or YAML file holds, with keys of text alone; an empty one where it holds none."""
    content = read_plain(file, {})
    return (
        {key: value for key, value in content.items() if isinstance(key, str)}
        if isinstance(content, dict)
        else {}
    )


def _has_end(content: Any) -> bool:
    """Tell whether content has an end: references in YAML let a small file stand for more than any memory holds."""
    count, waiting = 0, [content]
    while waiting:
        value = waiting.pop()
        count += 1
        if count > MOST_VALUES:
            return False
        if isinstance(value, dict | list):
            waiting += value.values() if isinstance(value, dict) else value
    return True
