"""A trained model evaluated on its own data or on any other."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import RichProgressBar

from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.engine.module import ReIDModule
from reid_lightning.errors import InputError
from reid_lightning.experiments.checkpoint import load_module
from reid_lightning.experiments.checks import check_data
from reid_lightning.experiments.factory import build_datamodule
from reid_lightning.experiments.quiet import quiet
from reid_lightning.files import folder_for, require_output
from reid_lightning.results.data_facts import warn_of_images
from reid_lightning.results.ranked_embeddings import embeddings_of
from reid_lightning.results.rankings import NEAREST
from reid_lightning.results.reports.rankings import RankingsReport
from reid_lightning.results.run_result import run_of, write_results
from reid_lightning.results.summary import RunResult, Stopwatch

_RANKINGS = f"{RankingsReport.__module__}.{RankingsReport.__qualname__}"


@dataclass(frozen=True)
class EvaluationSettings:
    """How a model is evaluated, and what is kept of it.

    Attributes:
        overrides: Hydra overrides; `data=market1501 data.root=DIR` evaluates on another data set.
        embeddings: `.npz` file for what was ranked: vectors, paths, people and cameras (see `Embeddings`); None: no file.
        trust: Packages of your own that the checkpoint's config may name; their code is run.
        rankings: Gallery images per query in `rankings.csv`, 0 for no such file; None: as the config's reports say, or 20.

    Raises:
        InputError: `rankings` is negative.
    """

    overrides: Sequence[str] = ()
    embeddings: str | Path | None = None
    trust: Sequence[str] = ()
    rankings: int | None = None

    def __post_init__(self) -> None:
        if self.rankings is not None and self.rankings < 0:
            raise InputError(f"--rankings must not be negative, got {self.rankings}")


@dataclass(frozen=True)
class Evaluation:
    """A trained model and a test set, before anything is embedded.

    Attributes:
        module: The model.
        config: Its resolved config, with the overrides.
        datamodule: After its setup; images are decoded.
        output_dir: Receives metrics, per-query results and pictures.
        embeddings: `.npz` file for what is ranked; None for no such file.
        watch: Seconds per stage so far.
    """

    module: ReIDModule
    config: dict[str, Any]
    datamodule: ReIDDataModule
    output_dir: Path
    embeddings: Path | None
    watch: Stopwatch

    @classmethod
    def of(
        cls, path: str | Path, output_dir: str | Path, settings: EvaluationSettings | None = None
    ) -> "Evaluation":
        """Load the model and the data; errors are those of `evaluate`."""
        quiet()
        settings = settings or EvaluationSettings()
        watch, embeddings = Stopwatch(), settings.embeddings
        with folder_for(output_dir):
            if embeddings is not None:
                require_output(embeddings, (".npz",))
            module, config = load_module(path, settings.overrides, settings.trust)
            config["output_dir"] = str(output_dir)
            config["data"] = config["data"] | {"validation": None}  # nothing is trained
            config["reports"] = _with_rankings(config["reports"] or {}, settings.rankings)
            require_sources(config["data"]["sources"])
        with watch.stage("data"):
            datamodule = build_datamodule(config)
            datamodule.setup("test")
            check_data(config, datamodule)
            datamodule.prepare_data()  # decodes images, so it comes after what the tables alone tell
        module.evaluated_data = datamodule
        return cls(
            module, config, datamodule, Path(output_dir), Path(embeddings) if embeddings else None, watch
        )

    def write(self, trainer: Trainer) -> RunResult:
        """Write what is left of the test that a trainer has run."""
        if self.embeddings is not None and self.module.evaluated is not None:
            rows, distance = self.module.evaluated[1], self.module.protocol.distance
            embeddings_of(rows, self.datamodule.table, distance).save(self.embeddings)
        run = run_of(trainer, self.module, self.datamodule, self.output_dir, self.config, self.watch)
        return write_results(run, trainer, self.module, self.watch.seconds)


def evaluate(
    path: str | Path,
    output_dir: str | Path,
    overrides: Sequence[str] = (),
    embeddings: str | Path | None = None,
    trust: Sequence[str] = (),
    rankings: int | None = None,
) -> RunResult:
    """Rank a test set with the model of a checkpoint and write the run's pages.

    Args:
        path: A checkpoint file written by a run, or the folder of a saved model.
        output_dir: Receives metrics, per-query results and pictures.
        overrides: As of `EvaluationSettings`, like what follows.
        embeddings: File for what was ranked.
        trust: Packages whose code may be run.
        rankings: Gallery images per query in `rankings.csv`.

    Raises:
        InputError: The checkpoint or the data cannot be used, or a result cannot be written.
    """
    return evaluate_as(path, output_dir, EvaluationSettings(overrides, embeddings, trust, rankings))


def evaluate_as(path: str | Path, output_dir: str | Path, settings: EvaluationSettings) -> RunResult:
    """Do what `evaluate` does, with its settings as one value."""
    evaluation = Evaluation.of(path, output_dir, settings)
    warn_of_images(evaluation.datamodule, evaluation.output_dir)
    trainer = evaluating(evaluation.config)
    with evaluation.watch.stage("test"):
        trainer.test(evaluation.module, evaluation.datamodule, verbose=False)
    return evaluation.write(trainer)


def evaluating(config: Mapping[str, Any], device: int | None = None, alone: bool = False) -> Trainer:
    """Return a trainer that evaluates in one process and leaves nothing.

    Args:
        config: Says on what kind of device, and in what precision.
        device: Number of the GPU; None: the first.
        alone: Whether other processes of torchrun or SLURM are none of its business.
    """
    return Trainer(
        accelerator=config["trainer"]["accelerator"],
        devices=1 if device is None else [device],
        precision=config["trainer"]["precision"],
        logger=False,
        callbacks=[RichProgressBar(refresh_rate=5, leave=False)],
        enable_checkpointing=False,
        enable_model_summary=False,
        plugins=[LightningEnvironment()] if alone else None,
    )


def _with_rankings(reports: Mapping[str, Any], nearest: int | None) -> dict[str, Any]:
    """Return the reports with that of the nearest images, or without it."""
    others = {name: node for name, node in reports.items() if name != RankingsReport.name}
    if nearest == 0:
        return others
    chosen = reports.get(RankingsReport.name) if nearest is None else None
    return others | {RankingsReport.name: chosen or {"_target_": _RANKINGS, "nearest": nearest or NEAREST}}


def folder_of(checkpoint: str | Path, overrides: Sequence[str] = ()) -> Path:
    """Return the folder for the results of an evaluation, below the run's: one for each set of overrides.

    That of a saved model lies beside it: the model's own folder may be published, and results show people.
    A checkpoint that lies in no run, such as an imported one, has a folder of its own beside it.

    Examples:
        >>> folder_of("run/checkpoints/best.ckpt").as_posix()
        'run/evaluation'
        >>> folder_of("run/checkpoints/best.ckpt", ["data=faces"]).as_posix()
        'run/evaluation_data-faces_e476df'
        >>> folder_of("models/osnet.ckpt").as_posix()
        'models/osnet/evaluation'
    """
    text = ",".join(sorted(overrides))
    digest = hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=3).hexdigest()
    shown = re.sub(r"[^A-Za-z0-9.-]+", "_", text.replace("=", "-"))[:60].strip("_")
    name = "_".join(["evaluation", shown, digest] if overrides else ["evaluation"])
    path = Path(checkpoint)
    if path.is_dir():
        model = path.absolute()
        return model.with_name(f"{model.name}_{name}")
    run = path.parent.parent if path.parent.name == "checkpoints" else path.with_suffix("")
    return run / name


def require_sources(sources: Mapping[str, Any]) -> None:
    """Refuse data that is not there: a generated set is written into its root, which the checkpoint may have named."""
    for name, node in sources.items():
        root = node.get("root")
        if root is None:
            continue
        place = Path(str(root)).expanduser()
        if not (place.is_file() or (place.is_dir() and any(place.iterdir()))):
            raise InputError(
                f"the data to evaluate on, data.sources.{name}.root={root}, is not there or empty: name its place with "
                f"data.sources.{name}.root=DIR, or evaluate on other data, as with data=market1501 data.root=DIR"
            )
