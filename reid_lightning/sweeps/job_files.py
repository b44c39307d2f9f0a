"""Find the jobs of a sweep, without slow imports."""

from pathlib import Path

from reid_lightning.errors import InputError


def job_files(folder: Path) -> list[Path]:
    """Return `.hydra/overrides.yaml` of every job below a folder, in no order.

    Raises:
        InputError: There is none.
    """
    found = [path for path in folder.rglob(".hydra/overrides.yaml") if path.is_file()]
    if not found:
        raise InputError(f"{folder} holds no jobs of a sweep; name the folder that --multirun has written")
    return found
