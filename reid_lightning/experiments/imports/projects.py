"""The projects whose files can be imported."""

from collections.abc import Mapping

from reid_lightning.errors import InputError
from reid_lightning.experiments.imports.bot import BOT
from reid_lightning.experiments.imports.clip_reid import CLIP_REID
from reid_lightning.experiments.imports.fastreid import FASTREID
from reid_lightning.experiments.imports.imported import Project, State
from reid_lightning.experiments.imports.solider import SOLIDER
from reid_lightning.experiments.imports.torchreid import TORCHREID
from reid_lightning.experiments.imports.transreid import TRANSREID

PROJECTS: Mapping[str, Project] = {
    "torchreid": TORCHREID,
    "fastreid": FASTREID,
    "bot": BOT,
    "transreid": TRANSREID,
    "solider": SOLIDER,
    "clip_reid": CLIP_REID,
}


def project_of(key: str, name: str) -> Project:
    """Return a project that has an importable network of a name.

    Raises:
        InputError: There is no such project, or it has no such network that can be imported.
    """
    if key not in PROJECTS:
        raise InputError(f"--from must be one of {', '.join(PROJECTS)}, got {key}")
    project = PROJECTS[key]
    if name in project.refused:
        raise InputError(
            f"--name {name} of {project.title} cannot be imported: {project.refused[name]}; what can: "
            + ", ".join(project.names)
        )
    if name not in project.names:
        raise InputError(f"--name must be one of {', '.join(project.names)} for --from {key}, got {name}")
    return project


def others_with(state: State, key: str) -> str:
    """Return the advice to use another project, where a file's names are not this one's but another's; else empty."""
    owners = [other for other, project in PROJECTS.items() if project.owns(state)]
    if not owners or key in owners:
        return ""
    return f"its tensors have the names of {PROJECTS[owners[0]].title}; use --from {owners[0]}"
