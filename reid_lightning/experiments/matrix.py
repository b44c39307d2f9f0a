"""Several trained models on several data sets: one table, one page."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from reid_lightning.errors import InputError
from reid_lightning.experiments.checkpoint import load_module
from reid_lightning.experiments.data_sets import DataSet, names_of, take_apart
from reid_lightning.experiments.evaluate import EvaluationSettings, evaluate_as, folder_of
from reid_lightning.experiments.latency import measure_latency
from reid_lightning.experiments.shared_evaluation import evaluate_part
from reid_lightning.files import require_writable
from reid_lightning.results.matrix import Cell, ModelCost, write_matrix

log = logging.getLogger("reid_lightning")

LONGEST = 100  # characters of a model's or data set's name in that of a folder


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes:
        checkpoints: The models.
        sets: The data sets.
        settings: Of all evaluations.
    """

    checkpoints: Sequence[Path]
    sets: Sequence[DataSet]
    settings: EvaluationSettings = field(default_factory=EvaluationSettings)
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        absolute = [path.absolute() for path in self.checkpoints]
        if len(set(absolute)) < len(absolute):
            raise InputError(
                f"{next(p for p in self.checkpoints if absolute.count(p.absolute()) > 1)} is named twice"
            )
        object.__setattr__(self, "names", names_of(self.checkpoints))


def evaluate_all(
    checkpoint: Path,
    arguments: Sequence[str],
    output_dir: Path | None = None,
    settings: EvaluationSettings | None = None,
    part: str | None = None,
) -> int:
    """Do what `reid evaluate` is asked: one evaluation, or those of several models and data sets.

    Args:
        checkpoint: The first model.
        arguments: Further models, and Hydra overrides (`data_sets.take_apart`).
        output_dir: Folder for the results; None: that of `evaluate.folder_of`.
        settings: Of all evaluations, without overrides; vectors are those of one model and one data set.
        part: As of `shared_evaluation.evaluate_part`, for one model and one data set; None does all of it.

    Returns:
        The exit code: 1 if some pairs of a model and a data set failed, 0 otherwise.

    Raises:
        InputError: As of `evaluate` and `evaluate_matrix`, or vectors or a part of several evaluations are asked
            for.
    """
    checkpoints, sets, overrides = take_apart(checkpoint, arguments)
    # A model of the package or of Hugging Face lies where no results belong.
    named = Path("outputs") / checkpoint.name if checkpoints[0] != checkpoint.expanduser() else checkpoint
    settings = replace(settings or EvaluationSettings(), overrides=overrides)
    if len(checkpoints) == len(sets) == 1:
        chosen = _on(sets[0], settings)
        folder = output_dir or folder_of(named, chosen.overrides)
        if part is None:
            evaluate_as(checkpoints[0], folder, chosen)
        else:
            evaluate_part(checkpoints[0], folder, part, chosen)
        return 0
    if part is not None:
        raise InputError(
            "--part shares the evaluation of one model on one data set, and there are several: evaluate each by itself"
        )
    if settings.embeddings is not None:
        raise InputError(
            "--embeddings holds the vectors of one model on one data set, and there are several: leave it out"
        )
    folder = output_dir or folder_of(named, arguments)
    cells = evaluate_matrix(Comparison(checkpoints, sets, settings), folder)
    return int(any(cell.error for cell in cells))


def evaluate_matrix(compared: Comparison, output_dir: Path) -> list[Cell]:
    """Evaluate every model on every data set, and write what they have in common.

    A folder for each pair receives what `evaluate` writes; `matrix.csv`, `matrix.json` and `report.html` the comparison. A
    pair that cannot be evaluated is named with its reason, and the others are done.

    Returns:
        A cell for each pair, models outside.

    Raises:
        InputError: No pair could be evaluated, or the folder cannot be written to.
    """
    require_writable(output_dir)
    folders = folders_of(compared)
    cells: list[Cell] = []
    costs: list[ModelCost] = []
    for name, checkpoint in zip(compared.names, compared.checkpoints, strict=True):
        costs.append(_cost(name, checkpoint, compared))
        for data in compared.sets:
            log.info("%s on %s", name, data.name)
            cells.append(_cell(name, checkpoint, data, compared, output_dir, folders[name, data.name]))
    write_matrix(costs, cells, compared.settings.overrides, output_dir)
    if all(cell.error for cell in cells):
        raise InputError(f"nothing could be evaluated; {cells[0].model} on {cells[0].data}: {cells[0].error}")
    return cells


def _on(data: DataSet, settings: EvaluationSettings) -> EvaluationSettings:
    """Return the settings of an evaluation on one of the data sets."""
    return replace(settings, overrides=[*data.overrides, *settings.overrides])


def _cell(
    name: str, checkpoint: Path, data: DataSet, compared: Comparison, output_dir: Path, folder: str
) -> Cell:
    try:
        found = evaluate_as(checkpoint, output_dir / folder, _on(data, compared.settings))
    except Exception as error:  # of one pair; the others are done
        said = " ".join(str(error).split()) or "it does not say why"
        reason = said if isinstance(error, InputError) else f"{type(error).__name__}: {said}"
        log.warning("%s on %s failed: %s", name, data.name, reason)
        return Cell(name, data.name, folder, error=reason)
    return Cell(
        name,
        data.name,
        folder,
        dict(found.test),
        found.intervals.get("test"),
        found.protocol,
        note=found.note,
    )


def _cost(name: str, checkpoint: Path, compared: Comparison) -> ModelCost:
    """Return what a model costs; unknown where it cannot be loaded, which its evaluations say."""
    try:
        module, config = load_module(checkpoint, compared.settings.overrides, compared.settings.trust)
        height, width = config["data"]["image_size"]
        found = measure_latency(module, (height, width), config["trainer"]["accelerator"])
    except Exception as error:
        log.warning("%s cannot be timed: %s", name, " ".join(str(error).split()))
        return ModelCost(name, str(checkpoint))
    return ModelCost(
        name,
        str(checkpoint),
        sum(parameter.numel() for parameter in module.network.parameters()),
        _bytes(checkpoint) / 1e6,
        (height, width),
        found.milliseconds,
        found.images_per_second,
        found.device,
    )


def _bytes(checkpoint: Path) -> int:
    if checkpoint.is_dir():
        return sum(file.stat().st_size for file in checkpoint.glob("*.safetensors"))
    return checkpoint.stat().st_size


def folders_of(compared: Comparison) -> dict[tuple[str, str], str]:
    """Return the folder of each model and data set; of names that look alike as folders, by a number."""
    found: dict[tuple[str, str], str] = {}
    for name in compared.names:
        for data in compared.sets:
            plain = f"{_as_folder(name)}_on_{_as_folder(data.name)}"
            taken, folder, number = {other.lower() for other in found.values()}, plain, 2
            while folder.lower() in taken:
                folder, number = f"{plain}_{number}", number + 1
            found[name, data.name] = folder
    return found


def _as_folder(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_.")[:LONGEST] or "model"
