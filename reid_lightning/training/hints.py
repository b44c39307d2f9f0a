"""The nearest right name for a misspelt key or option on the command line."""

import difflib
from collections.abc import Sequence

import hydra
from hydra.errors import HydraException

from reid_lightning.training.configuration import CONF, leaves, nearest_key, plain_unresolved


def hints(arguments: Sequence[str]) -> list[str]:
    """Return a sentence for every override that names a key or option that does not exist.

    Args:
        arguments: The command line without the program.

    Examples:
        >>> hints(["loss.triplet.margn=1", "backbone=resnet5"])[0]
        "Did you mean 'backbone=resnet50' instead of 'backbone=resnet5'?"
    """
    overrides = dict(
        argument.split("=", 1)
        for argument in arguments
        if "=" in argument and argument[0] not in "+~-" and not argument.startswith("hydra")
    )
    options = {folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in CONF.iterdir()}
    found = []
    for group in overrides.keys() & options.keys():
        for option in overrides[group].strip("[]").split(","):
            near = difflib.get_close_matches(option, options[group], 1, 0.5)
            if near and option not in options[group]:
                found.append(f"Did you mean '{group}={near[0]}' instead of '{group}={option}'?")
    if not found:
        found += _key_hints([key for key in overrides if key not in options], overrides, options)
    return found


def _key_hints(keys: Sequence[str], overrides: dict[str, str], options: dict[str, list[str]]) -> list[str]:
    choices = [
        f"{key}={value}"
        for key, value in overrides.items()
        if key in options and ("," not in value or value[0] == "[")
    ]
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose("config", choices)
    except HydraException:
        return []
    known = dict.fromkeys(options) | plain_unresolved(config)
    nearest = {key: nearest_key(key, known) for key in keys if key not in dict(leaves(known))}
    return [
        f"Did you mean '{near}' instead of '{key}'?" for key, near in nearest.items() if near and near != key
    ]
