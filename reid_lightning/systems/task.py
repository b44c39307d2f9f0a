"""What a paper adds to a run, as one type: the general code loops over tasks and knows none of them by name.

A task is named by a `_target_` under the config's key `tasks`, which an option of any group may fill:

    # @package _global_
    tasks:
      NAME:
        _target_: reid_lightning.systems.NAME.task.NAMETask
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from reid_lightning.losses.spec import LossOutput
from reid_lightning.models.features import Features
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.reporting.page import Picture
from reid_lightning.reporting.tables import Table
from reid_lightning.retrieval.calibration import Calibration
from reid_lightning.retrieval.evaluation import EvaluationRows
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.retrieval.ranking import Ranking

if TYPE_CHECKING:  # the data module brings Lightning along, which a trained model does not need
    from reid_lightning.data.datamodule import ReIDDataModule
    from reid_lightning.data.dataset import Columns

Gather = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Run:
    """A run as tasks and reports see it, outside of its steps.

    Attributes:
        config: The resolved config, plain containers.
        output_dir: The run's folder.
        network: The network, with the weights that are judged.
        datamodule: After its setup; holds table and images.
        protocol: How embeddings are compared.
        device: Where the network is.
        ranking: Of the last evaluation; None where there was none, or where nobody is known whom it showed.
        rows: What was ranked then.
        resumed: Whether training continues from a checkpoint.
        steps: Do so many steps of everything and leave no files (a trial run); None for all.
        stage: Names a stage of the run, whose seconds are counted apart.
        calibration: What the model's distances mean, from its validation people; None where it is not known.
        losses: The metric losses that were trained, by name; empty where nothing was.
        miners: The miner of each, or None.
        precision: What the network computes in where the run has chosen a precision, as a context.
    """

    config: Mapping[str, Any]
    output_dir: Path
    network: ReIDNetwork
    datamodule: "ReIDDataModule"
    protocol: EvaluationProtocol
    device: torch.device
    ranking: Ranking | None = None
    rows: EvaluationRows | None = None
    resumed: bool = False
    steps: int | None = None
    stage: Callable[[str], AbstractContextManager[Any]] = nullcontext
    calibration: Calibration | None = None
    losses: Mapping[str, nn.Module] = field(default_factory=dict)
    miners: Mapping[str, Callable[[Tensor, Tensor], Any] | None] = field(default_factory=dict)
    precision: Callable[[], AbstractContextManager[Any]] = nullcontext

    @property
    def evaluated_splits(self) -> tuple[str, ...]:
        """The table's splits that the last evaluation has seen."""
        return ("query", "gallery") if self.datamodule.is_tested else ("val",)

    def uncompiled(self) -> AbstractContextManager[Any]:
        """Keep torch.compile out of a batch or two that are drawn: its graphs would take longer than the picture."""
        return torch.compiler.set_stance("force_eager") if self.config.get("compile") else nullcontext()


@dataclass(frozen=True)
class Plan:
    """What a task is built from.

    Attributes:
        settings: Its own node under `tasks`, without `_target_`.
        config: The whole config, plain containers.
        network: The network that it is trained with.
        datamodule: After its setup; None where a checkpoint brings what the training data said.
    """

    settings: Mapping[str, Any]
    config: Mapping[str, Any]
    network: ReIDNetwork
    datamodule: "ReIDDataModule | None"


class Report:
    """What is measured, written and drawn after the last evaluation of a run, in its first process.

    Attributes:
        name: Key of its scores in `metrics.json`.
        needs_people: Whether it compares people, so that it is left out of a test set without identities.
        needs_evaluation: Whether it looks at the last evaluation, so that it is left out where there was none.
    """

    name: str
    needs_people: ClassVar[bool] = True
    needs_evaluation: ClassVar[bool] = True

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        """Refuse settings that cannot go together, before any work.

        Raises:
            InputError: Names the keys and what to change.
        """

    def scores(self, run: Run) -> dict[str, float]:
        """Return its numbers, as fractions where they are shares; empty where nothing can be measured."""
        return {}

    def write(self, run: Run, scores: Mapping[str, float]) -> None:
        """Write further files into the run's folder."""

    def figures(self, run: Run, scores: Mapping[str, float]) -> list[Picture]:
        """Draw into the run's folder; the pictures stand on the page and go to the loggers."""
        return []

    def tables(self, run: Run, scores: Mapping[str, float]) -> Mapping[str, Table]:
        """Return tables for the loggers that show some, by name."""
        return {}

    def line(self, scores: Mapping[str, float]) -> str | None:
        """Return what the console and the page say of its scores, as "title: numbers"."""
        return None


class Task(Report, nn.Module):
    """A task of the training: terms of the loss, and numbers of every evaluation.

    What is a parameter, a buffer or a module of a task is trained by the optimizer and travels in checkpoints.

    Attributes:
        name: The task's key in the config, which is set when a run builds it; a class may have one to be used alone.
        weights: Factor of each term that it trains, by the term's name; empty if it trains nothing.
        own_settings: Whether its node under `tasks` may hold settings; otherwise those of other groups are its own.
        gives_labels: Whether it finds the labels that unlabelled data are trained with.
        prepares_epochs: Whether it has work to do before each epoch, see `before_epoch`.
        monitors: Numbers of `before_epoch` that choose a checkpoint where no validation people are known, as they are
            logged; larger is better.
    """

    name = "task"
    needs_people = False
    own_settings: ClassVar[bool] = True
    gives_labels: ClassVar[bool] = False
    prepares_epochs: ClassVar[bool] = False
    monitors: ClassVar[tuple[str, ...]] = ()
    weights: Mapping[str, float]

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.weights = dict(weights or {})

    @classmethod
    def from_config(cls, plan: Plan) -> "Task":
        """Return the task of a run."""
        return cls(**plan.settings)

    @classmethod
    def branches(cls, node: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the branches of the network that it brings, by the names of `ReIDNetwork`'s arguments."""
        return {}

    @classmethod
    def of_network(cls, node: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the keys of the network (`config/keys.py`) do not tell; a resumed run must not differ in it."""
        return {}

    @classmethod
    def columns(cls, node: Mapping[str, Any]) -> "Columns":
        """Return what batches carry for it: by name, what makes an array (N, ...) of a table of N rows."""
        return {}

    @classmethod
    def check_data(
        cls, node: Mapping[str, Any], config: Mapping[str, Any], datamodule: "ReIDDataModule"
    ) -> None:
        """Refuse data that it cannot be trained on, before the network is built.

        Raises:
            InputError: Says what is missing and what to do.
        """

    def before_fit(self, run: Run) -> None:
        """Learn what has to be known before the training, in the first process."""

    def before_epoch(self, run: Run) -> dict[str, float]:
        """Prepare the epoch that comes next, in all processes, before its loader is opened.

        It is called when the training starts, and at the end of every epoch before its checkpoint is written, so that what
        it finds is of the weights that the checkpoint holds. A resumed run (`run.resumed`) starts with what
        `restore_training` has taken up, and must not find it again.

        Returns:
            Numbers that are alike in all processes; they are logged as `val/NAME/...`.
        """
        return {}

    def labels(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        """Return the (B,) labels that a training batch is trained with; None: those of the table."""
        return None

    def saved_training(self) -> dict[str, Any]:
        """Return what a resumed training needs beside `saved`, as plain values and tensors; a trained model does not."""
        return {}

    def restore_training(self, saved: Mapping[str, Any]) -> None:
        """Take up what `saved_training` gave; empty where the checkpoint has none."""

    def losses(
        self, network: ReIDNetwork, features: Features, batch: Mapping[str, Tensor], gather: Gather
    ) -> dict[str, LossOutput]:
        """Return its terms of a training batch, with autocast off; half types are the task's to promote.

        Args:
            network: The network.
            features: Of this process's B images.
            batch: The batch (`data/dataset.py`).
            gather: Joins a tensor of all processes along dimension 0, with gradients.
        """
        return {}

    def diagnostics(
        self, network: ReIDNetwork, features: Features, batch: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return scalars of a training batch that is logged, as `train/NAME`; none may wait for the device."""
        return {}

    def reset(self) -> None:
        """Forget the last evaluation."""

    def update(self, network: ReIDNetwork, features: Features, batch: Mapping[str, Tensor]) -> None:
        """Take in a batch of an evaluation."""

    def compute(self) -> dict[str, float]:
        """Return the evaluation's numbers, over all processes; they are logged as `val/NAME/...` and `test/NAME/...`."""
        return {}

    def saved(self) -> dict[str, Any]:
        """Return plain facts that travel in a checkpoint beside the weights."""
        return {}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take up the facts of a checkpoint."""


def task_nodes(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the name and the node of every task of a plain config, in their order."""
    for name, node in (config.get("tasks") or {}).items():
        if node:
            yield name, node
