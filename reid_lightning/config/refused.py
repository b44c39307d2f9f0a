"""What Hydra refuses, in our words."""

import re
from collections.abc import Sequence

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException

from reid_lightning.config.suggest import hints
from reid_lightning.errors import InputError

REFUSED = (HydraException, OmegaConfBaseException)


def in_our_words(error: Exception, arguments: Sequence[str]) -> list[str] | None:
    """Return the sentence for what Hydra or OmegaConf refuses, and further ones for what else is wrong.

    Args:
        error: One of `REFUSED`.
        arguments: The command line without the program.

    Returns:
        None where the error is one of the program, whose traceback is needed.
    """
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, InputError):
            return [str(cause)]
    if isinstance(error, InstantiationException) or not all(isinstance(cause, REFUSED) for cause in causes):
        return None
    return hints(arguments) or [_sentence(error)]


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__
    return found


_UNKNOWN = (
    "there is no setting {key}; `python train.py --cfg job` shows all, and +{key}=... adds one of your own"
)
_SEVERAL = "{line} is several values: add --multirun to run each"
_WORDS = (  # of Hydra, as regular expressions, and ours
    (
        r"Ambiguous value for argument '(?P<line>(?P<key>[^=\n]*)=(?P<value>.*))'",
        _SEVERAL + ", or write {key}=[{value}] for a list, or '{key}=\"{value}\"' for text",
    ),
    (r"Sweep parameters '(?P<line>.*)' requires --multirun", _SEVERAL),
    (
        r"Sweeping over Hydra's configuration is not supported : '(?P<line>.*)'",
        "{line} cannot be swept over: give Hydra's own settings one value",
    ),
    (r"An item is already at '(?P<key>[^']*)'", "{key} is there already: write {key}=... without +"),
    (
        r"Could not delete from config. '(?P<key>[^']*)' does not exist",
        "~{key} removes nothing: there is no setting {key}",
    ),
    (
        r"Could not delete from config. The value of '(?P<key>[^']*)' is (?P<is>.*) and not (?P<value>.*)\.",
        "~{key}={value} removes nothing: {key} is {is}",
    ),
    (r"Could not delete '(?P<key>[^']*)'", "~{key} removes nothing: no option of {key} is chosen"),
    (r"Could not override '(?P<key>[^']*)'", _UNKNOWN),
    (r"Cannot find primary config '(?P<key>[^']*)'", "there is no config {key}.yaml; correct --config-name"),
    (
        r"Primary config (?:directory|module).* not found",
        "there is no folder of configs there; correct --config-path",
    ),
    (
        r"Additional config directory '(?P<key>[^']*)' not found",
        "there is no folder {key}; correct --config-dir",
    ),
    (r"Error merging override (?P<line>.*)", "{line} does not fit: the setting is of another kind"),
    (
        r"config group '(?P<key>[^']*)' does not exist",
        "there is no group {key}; `reid list` shows all groups",
    ),
    (r"Could not (?:find|load) '(?P<key>[^']*)'", "there is no option {key}; `reid list` shows the groups"),
    (r"Multiple values for (?P<key>\S*)\.", "{key} is chosen more than once: leave out all but one"),
)


def _sentence(error: Exception) -> str:
    for pattern, words in _WORDS:
        if found := re.search(pattern, str(error)):
            return words.format(**found.groupdict())
    key = getattr(error, "full_key", None)
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"{key}: {first}" if key else first
