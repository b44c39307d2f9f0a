"""The LightningModule: how to step, log and evaluate; it does not know what a loss is."""

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from reid_lightning import __version__
from reid_lightning.config.renamed import task_facts, update_checkpoint
from reid_lightning.distributed.gather import all_gather_with_grad, mean_over_processes
from reid_lightning.engine.batch import Batch
from reid_lightning.engine.checkpoint_entry import (
    CHECKPOINT_KEY,
    TRAINING_KEY,
    calibration_of,
    require_identities_of,
    require_weights_of,
)
from reid_lightning.engine.collapse import CollapseWatch, watch_for_collapse
from reid_lightning.engine.collected import CollectedRows
from reid_lightning.engine.defaults import default_objective, default_schedule
from reid_lightning.engine.finite_terms import FiniteTerms
from reid_lightning.engine.objective import Objective, Step
from reid_lightning.engine.optimizers import OptimizerFactory
from reid_lightning.engine.retrieval_metric import RetrievalEvaluation
from reid_lightning.engine.run_length import run_length
from reid_lightning.errors import InputError
from reid_lightning.models.backbone import takes_one_size
from reid_lightning.models.camera_statistics import CameraStatistics, require_layers
from reid_lightning.models.features import Features
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.retrieval.calibration import Calibration
from reid_lightning.retrieval.evaluation import EvaluationRows, calibrate_rows, embed, map_interval
from reid_lightning.retrieval.protocol import OWN_SIZE, EvaluationProtocol
from reid_lightning.retrieval.ranking import Ranking
from reid_lightning.systems.task import Run, Task

log = logging.getLogger("reid_lightning")


class ReIDModule(LightningModule):
    """Trains a network with an objective and ranks a gallery with its embeddings.

    It trains with a `ReIDDataModule` or with any loaders whose batches are dictionaries (`engine.batch.Batch` says which
    fields are read). Defaults are those of `conf/config.yaml`.

    Args:
        network: Maps images to `Features`.
        objective: What is minimized; its tasks are judged at every evaluation. None: the identity's cross-entropy, where
            the network has a classifier, plus a batch-hard triplet loss.
        optimizer: Called as `optimizer(network, objective)`, with both modules; returns the `torch.optim.Optimizer`.
            None: AdamW, `OptimizerFactory()`.
        scheduler: Called as `scheduler(optimizer, steps_per_epoch=..., epochs=...)`; returns the learning-rate scheduler,
            which is stepped per optimizer step. `epochs` is a fraction where `max_steps` ends the run within an epoch.
            None: half a cosine after a warm-up of one epoch.
        protocol: How embeddings are compared and scored; None: `EvaluationProtocol()`.
        config: The resolved run config as plain containers; it travels in the checkpoint.
        identity_labels: "source/person_id" -> label; it travels in the checkpoint.
    """

    def __init__(
        self,
        network: ReIDNetwork,
        objective: Objective | None = None,
        optimizer: Callable[..., torch.optim.Optimizer] | None = None,
        scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler] | None = None,
        protocol: EvaluationProtocol | None = None,
        config: Mapping[str, Any] | None = None,
        identity_labels: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.objective = default_objective(network) if objective is None else objective
        self.protocol = protocol = protocol or EvaluationProtocol()
        if protocol.scales != OWN_SIZE and takes_one_size(network.backbone):
            raise InputError(
                f"evaluation.scales={list(protocol.scales)} needs a network that takes images of any size, and this "
                "backbone takes those of one size; set evaluation.scales=[1.0], or choose a convolutional backbone"
            )
        if protocol.camera_statistics is not None:
            require_layers(network)
        self.config = dict(config or {})
        self.identity_labels = dict(identity_labels or {})
        self._optimizer = optimizer or OptimizerFactory()
        self._scheduler = scheduler or default_schedule()
        self.validation = RetrievalEvaluation(protocol)
        self.test = RetrievalEvaluation(protocol)
        self.data_fingerprint: str | None = None  # of the training data; it travels in the checkpoint
        self.evaluated: tuple[Ranking | None, EvaluationRows] | None = (
            None  # the last evaluation; no ranking of strangers
        )
        self.validation_summary: dict[str, float] = {}  # of the last validation; a checkpoint holds its own
        self.validation_interval: list[float] | None = None  # of its mAP
        self.calibration: Calibration | None = None  # of its people; it travels in the checkpoint
        self.evaluated_data: Any = None  # whose cameras are measured where a trainer has loaders alone
        self._camera_statistics: CameraStatistics | None = None  # of the evaluation at work
        self._last_step: dict[str, Tensor] = {}  # of the training, what was looked at last
        self._epoch_is_logged = False
        self._resumed = False
        self.start_numbers: dict[
            str, float
        ] = {}  # what tasks said of the weights that a training started from
        for task in self.tasks:
            task.reset()  # which makes its metric, before the module moves to a device

    @property
    def tasks(self) -> list[Task]:
        """The tasks beside the retrieval."""
        return list(self.objective.tasks.values())  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Features:
        """Return the features of (B, 3, H, W) images, uint8 or float in [0, 1]."""
        return self.network(images)

    # ---------------------------------------------------------------- training

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the weighted sum of all terms."""
        batch = self._labelled(Batch.of(batch))
        features = self.network(batch["images"], batch.get("cameras"))
        outcome = self.objective(self.network, features, batch, all_gather_with_grad)
        self._terms.add(self.trainer.global_step, outcome.terms)
        if (logs := self._is_log_step()) or self.trainer.is_last_batch:
            self._log_step(outcome, features, batch)
            self._epoch_is_logged |= logs
        return outcome.total

    def _labelled(self, batch: Batch) -> Batch:
        """Return a batch with the labels that a task has found, where one does."""
        for task in self.tasks:
            labels = task.labels(batch)
            if labels is not None:
                batch = Batch({**batch, "labels": labels})
        return batch

    def _is_log_step(self) -> bool:
        return (self.trainer.global_step + 1) % self.trainer.log_every_n_steps == 0  # type: ignore[attr-defined]

    @torch.no_grad()
    def _log_step(self, outcome: Step, features: Features, batch: dict[str, Tensor]) -> None:
        """Look at a step as a whole: all its numbers come to the host in one piece, and no other step waits for them.

        Lightning keeps every value that it is given, a device's or not, and turns it into a number at every step.
        """
        self._terms.check(self.current_epoch)
        values = {"loss": outcome.total, **outcome.terms, **outcome.diagnostics}
        for task in self.tasks:
            values |= task.diagnostics(self.network, features, batch)
        stacked = torch.stack([value.detach().float() for value in values.values()])
        on_host = mean_over_processes(stacked).cpu()
        logged = {f"train/{name}": value for name, value in zip(values, on_host, strict=True)}
        self.log("train/loss", logged.pop("train/loss"), prog_bar=True)
        rates = [group["lr"] for group in self._torch_optimizer().param_groups]
        logged["train/lr"] = torch.tensor(max(rates))
        self.log_dict(logged)
        self._last_step = {"train/loss": on_host[0], **logged}
        watch_for_collapse(self._collapse, self.objective.losses, outcome, features, batch["labels"])

    def _torch_optimizer(self) -> torch.optim.Optimizer:
        optimizer = self.optimizers(use_pl_optimizer=False)
        return optimizer[0] if isinstance(optimizer, list) else optimizer

    def on_fit_start(self) -> None:
        """Let tasks prepare the first epoch, before the loader draws from it; a resumed run has done so."""
        self.start_numbers = self._prepare_epoch(resumed=self._resumed)
        self._resumed = False

    def _prepare_epoch(self, resumed: bool = False) -> dict[str, float]:
        """Let tasks prepare the epoch that comes next, and return what they say of these weights, as it is logged."""
        preparing = [task for task in self.tasks if task.prepares_epochs]
        if not preparing:
            return {}
        trainer: Any = self.trainer
        run = Run(
            config=self.config,
            output_dir=Path(trainer.default_root_dir),
            network=self.network,
            datamodule=trainer.datamodule,
            protocol=self.protocol,
            device=self.device,
            resumed=resumed,
            steps=int(trainer.fast_dev_run) or None,
            precision=trainer.strategy.precision_plugin.forward_context,
        )
        return {
            f"val/{task.name}/{name}": value
            for task in preparing
            for name, value in task.before_epoch(run).items()
        }

    def on_train_start(self) -> None:
        """Start looking for terms that are not finite, and for collapse."""
        self._terms = FiniteTerms()
        self._collapse = CollapseWatch()
        self._last_step = {}

    def on_train_epoch_start(self) -> None:
        """Begin an epoch of which nothing has been logged yet."""
        self._epoch_is_logged = False

    def on_train_epoch_end(self) -> None:
        """Stop on a term that is not finite, and log an epoch of fewer steps than lie between two entries."""
        self._terms.check(self.current_epoch)
        if not self._epoch_is_logged and self._last_step:
            self._log_evaluation(self._last_step)
        if any(task.prepares_epochs for task in self.tasks):
            # Numbers of all processes are reduced when they are first asked for, which the console does in the first
            # process alone: the others must do so before they exchange anything else.
            _ = self.trainer.callback_metrics
            self._log_evaluation(self._prepare_epoch())

    def configure_optimizers(self) -> Any:
        """Return one optimizer over network and losses, and the schedule, stepped per optimizer step."""
        optimizer = self._optimizer(self.network, self.objective)
        steps_per_epoch, epochs = run_length(self.trainer)
        scheduler = self._scheduler(optimizer, steps_per_epoch=steps_per_epoch, epochs=epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    # -------------------------------------------------------------- evaluation

    def embed(self, images: Tensor) -> Tensor:
        """Return the (B, D) float32 retrieval vectors that the protocol compares."""
        return embed(self.network, images, self.network(images), self.protocol)[0]

    def _update(self, metric: RetrievalEvaluation, batch: dict[str, Tensor]) -> None:
        batch = Batch.of(batch)
        network = partial(self.network, cameras=batch.get("cameras"))
        with self._by_camera(batch["camera_ids"], "val" if metric is self.validation else "test"):
            features = network(batch["images"])
            vectors, extra = embed(network, batch["images"], features, self.protocol)
        metric.update(
            vectors,
            batch["person_ids"],
            batch["camera_ids"],
            batch["index"],
            batch["is_query"],
            batch.get("tracklet_ids"),
            extra,
        )
        for task in self.tasks:
            task.update(self.network, features, batch)

    def _by_camera(self, cameras: Tensor, stage: str) -> AbstractContextManager[None]:
        """Normalize by the statistics of each camera, where the protocol says so; the first batch measures them.

        Raises:
            InputError: The data are not of this package, or the network has no batch normalization.
        """
        count = self.protocol.camera_statistics
        if count is None:
            return nullcontext()
        if self._camera_statistics is None:
            data: Any = self.evaluated_data or getattr(self.trainer, "datamodule", None)
            if not hasattr(data, "images_of_cameras"):
                raise InputError(
                    f"evaluation.camera_statistics={count} needs the data module of this package; leave it out"
                )
            images = {
                camera: (batch.to(self.device) for batch in batches)
                for camera, batches in data.images_of_cameras(stage, count).items()
            }
            self._camera_statistics = CameraStatistics.measure(self.network, images)
        return self._camera_statistics.applied(cameras)

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation's embeddings."""
        self._forget(self.validation)

    def on_test_epoch_start(self) -> None:
        """Forget the last test's embeddings."""
        self._forget(self.test)

    def _forget(self, metric: RetrievalEvaluation) -> None:
        metric.reset()
        self._camera_statistics = None
        for task in self.tasks:
            task.reset()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Collect the embeddings of a batch."""
        self._update(self.validation, batch)

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Collect the embeddings of a batch, or take what has been collected elsewhere."""
        if isinstance(batch, CollectedRows):
            batch.put_into(self)
        else:
            self._update(self.test, batch)

    def on_validation_epoch_end(self) -> None:
        """Rank the validation gallery and log the numbers."""
        if not self.trainer.sanity_checking:
            self._rank(self.validation, "val")
            self._score_tasks("val")

    def on_test_epoch_end(self) -> None:
        """Rank the test gallery."""
        self._rank(self.test, "test")
        self._score_tasks("test")

    def _rank(self, metric: RetrievalEvaluation, stage: str) -> None:
        try:
            ranking = metric.compute()
        except InputError:
            if not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
                raise
            return  # the first batches alone hold no query with a match
        assert metric.rows is not None
        self.evaluated = ranking, metric.rows
        if ranking is None:
            return
        summary = ranking.summary(self.protocol.ranks)
        if stage == "val":
            self.validation_summary = summary
            self.validation_interval = map_interval(ranking, metric.rows)
            self.calibration = calibrate_rows(metric.rows, self.protocol)
        self._log_evaluation({f"{stage}/{name}": value for name, value in summary.items()})

    def _score_tasks(self, stage: str) -> None:
        for task in self.tasks:
            self._log_evaluation(
                {f"{stage}/{task.name}/{name}": value for name, value in task.compute().items()}
            )

    def _log_evaluation(self, values: Mapping[str, float | Tensor]) -> None:
        """Log numbers that all processes have computed from the rows of all of them.

        Lightning warns about numbers that are not reduced over processes; the maximum of equal ones changes no digit.
        """
        self.log_dict(values, sync_dist=True, reduce_fx="max")

    # -------------------------------------------------------------- checkpoint

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the network elsewhere: version, config, identities."""
        checkpoint[CHECKPOINT_KEY] = {
            "version": __version__,
            "config": self.config,
            "identity_labels": self.identity_labels,
            "data": self.data_fingerprint,
            "validation": self.validation_summary,
            "validation_interval": self.validation_interval,
            "calibration": self.calibration.as_dict() if self.calibration else None,
            "tasks": {task.name: task.saved() for task in self.tasks},
        }
        training = {task.name: task.saved_training() for task in self.tasks}
        if any(training.values()):
            checkpoint[TRAINING_KEY] = training

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up what the checkpoint says of its own validation and tasks."""
        update_checkpoint(checkpoint)
        require_weights_of(checkpoint, self.state_dict())
        require_identities_of(checkpoint, self.identity_labels)
        entry = checkpoint[CHECKPOINT_KEY]
        known = entry.get("data"), self.data_fingerprint
        if None not in known and known[0] != known[1] and self.global_rank == 0:
            log.warning(
                "resumed run differs from its checkpoint: the data have other rows, columns or image files than "
                "those that it was trained on"
            )
        self.config = self.config or entry["config"]
        self.identity_labels = self.identity_labels or entry["identity_labels"]
        self.validation_summary = entry["validation"]
        self.validation_interval = entry.get("validation_interval")
        self.calibration = calibration_of(entry)
        self._resumed = True
        if any(value.dtype == torch.float64 for value in checkpoint["state_dict"].values()):
            self.double()  # Lightning widens the weights after it has loaded them, which would round them to 32 bits
        training = checkpoint.get(TRAINING_KEY) or {}
        for task in self.tasks:
            task.restore(task_facts(entry).get(task.name, {}))
            task.restore_training(training.get(task.name, {}))

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: str | Path,
        *,
        network: ReIDNetwork | None = None,
        objective: Objective | None = None,
        optimizer: Callable[..., torch.optim.Optimizer] | None = None,
        scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler] | None = None,
        protocol: EvaluationProtocol | None = None,
        map_location: Any = None,
        strict: bool | None = None,
    ) -> "ReIDModule":
        """Return a module with the weights of a checkpoint.

        A checkpoint of `train.py` says itself how its network is built: `reid_lightning.load_module(path)` reads it.

        Args:
            checkpoint_path: The file.
            network: Built as the one that was trained; its weights are replaced.
            objective: Built as the one that was trained; as of the class, like what follows.
            optimizer: For further training.
            scheduler: For further training.
            protocol: How embeddings are compared and scored.
            map_location: Where tensors are loaded to, as of `torch.load`.
            strict: Whether the names of the weights must match exactly; None: they must.

        Raises:
            InputError: No network is given.
        """
        if network is None:
            raise InputError(
                f"the network is not given: use reid_lightning.load_module({str(checkpoint_path)!r}), which builds it from "
                "the checkpoint of a run, or pass network= as it was built for the training"
            )
        return super().load_from_checkpoint(
            checkpoint_path,
            map_location=map_location,
            strict=strict,
            weights_only=True,
            network=network,
            objective=objective,
            optimizer=optimizer,
            scheduler=scheduler,
            protocol=protocol,
        )
