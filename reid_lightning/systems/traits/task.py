"""Traits that are numbers, such as height and age: columns of any table, answered by a head beside the identity."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from reid_lightning.distances import promote
from reid_lightning.errors import InputError
from reid_lightning.losses.spec import LossOutput
from reid_lightning.models.features import Features
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.reporting.page import Picture
from reid_lightning.systems.task import Gather, Plan, Run, Task
from reid_lightning.systems.traits.page import scatter
from reid_lightning.systems.traits.values import SPREAD, TrainingValues, trait_values

if TYPE_CHECKING:  # the data module brings Lightning along, and the metric torchmetrics
    from reid_lightning.data.datamodule import ReIDDataModule
    from reid_lightning.data.dataset import Columns
    from reid_lightning.systems.traits.metric import TraitErrors, TraitEvaluation


class TraitsTask(Task):
    """Regression of numeric traits from the vector before the neck (HiQo Solutions / BSU 2019: age, height, weight).

    Each trait is learned in standard deviations of its training values. Without bins a linear output is the answer, trained
    by smooth L1 (Girshick 2015, eq. 3). With bins a softmax over their centers is trained by cross-entropy, a value's
    weight being shared by its two neighboring centers, and the expected center is the answer (Rothe et al. 2018, DEX). An
    unknown value trains nothing.

    Args:
        traits: Columns of the table.
        weight: Factor of the loss.
        bins: Number of bins, from the smallest to the largest training value; None for smooth L1.
        beta: Error from which on smooth L1 is linear, in standard deviations.
        in_features: Dimensions of the vector before the neck.
        training: What the training values are; None where a checkpoint brings it.

    Raises:
        ValueError: A setting is out of range.
    """

    name = "traits"

    facts: Tensor  # (T, 5): see `TrainingValues`

    def __init__(
        self,
        traits: Sequence[str],
        weight: float = 1.0,
        bins: int | None = None,
        beta: float = 1.0,
        in_features: int = 512,
        training: TrainingValues | None = None,
    ) -> None:
        super().__init__({"traits": weight})
        if not traits:
            raise ValueError("traits must name at least one column, got none")
        if not weight > 0:
            raise ValueError(f"weight must be > 0, got {weight}")
        if bins is not None and (type(bins) is not int or bins < 2):
            raise ValueError(f"bins must be a whole number of at least 2 or null, got {bins}")
        if not beta > 0:
            raise ValueError(f"beta must be > 0, got {beta}")
        self.traits, self.bins, self.beta = tuple(traits), bins, beta
        self.head = nn.Linear(in_features, len(self.traits) * (bins or 1))
        facts = training.facts if training else torch.zeros(len(self.traits), len(TrainingValues.NAMES))
        self.register_buffer("facts", facts)
        self.evaluated: TraitErrors | None = None  # the last evaluation
        self.metric: TraitEvaluation | None = None  # see `evaluation`

    @property
    def evaluation(self) -> "TraitEvaluation":
        """The metric, made when it is first used: inference needs none, and importing torchmetrics takes a second."""
        if self.metric is None:
            from reid_lightning.systems.traits.metric import TraitEvaluation

            self.metric = TraitEvaluation(self.traits)
        return self.metric

    @classmethod
    def from_config(cls, plan: Plan) -> "TraitsTask":
        """Return the task, its scales taken from the training images."""
        training = None
        if plan.datamodule is not None:
            train = plan.datamodule.table[plan.datamodule.table["split"] == "train"]
            training = TrainingValues.of(trait_values(train, plan.settings["traits"]))
        return cls(**plan.settings, in_features=plan.network.embedding_size, training=training)

    @classmethod
    def of_network(cls, node: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the traits in their order, and the bins."""
        return {"traits": {"names": node.get("traits"), "bins": node.get("bins")}}

    @classmethod
    def columns(cls, node: Mapping[str, Any]) -> "Columns":
        """Return the traits of a table's rows, as a batch's field `traits`, (B, T) with NaN where unknown."""
        traits = node.get("traits")
        if (
            not isinstance(traits, list | tuple)
            or not traits
            or not all(isinstance(name, str) for name in traits)
        ):
            raise ValueError(f"traits must be a list of columns, as in [height], got {traits}")
        return {"traits": partial(trait_values, traits=traits)}

    @classmethod
    def check_data(
        cls, node: Mapping[str, Any], config: Mapping[str, Any], datamodule: "ReIDDataModule"
    ) -> None:
        """Refuse a training set that lacks a trait, or where it has a single value."""
        table = datamodule.table
        train = table[table["split"] == "train"]
        for trait in node["traits"]:
            if trait not in table.columns:
                raise InputError(
                    f"tasks.traits.traits names {trait}, which is not a column of {', '.join(datamodule.sources)}; add it "
                    "to your own table (data=table), or name other columns as in tasks.traits.traits=[height]"
                )
            if trait in datamodule.attributes.names:
                raise InputError(
                    f"tasks.traits.traits names {trait}, which is an attribute and holds the codes of its classes; call the "
                    "numbers otherwise, as age_years"
                )
            values = trait_values(train, [trait])
            if len(set(values[~np.isnan(values)])) < 2:
                raise InputError(
                    f"tasks.traits.traits names {trait}, of which the training images have no two different values; fill "
                    "the column, or leave the trait out"
                )

    def losses(
        self, network: ReIDNetwork, features: Features, batch: Mapping[str, Tensor], gather: Gather
    ) -> dict[str, LossOutput]:
        """Return the mean over traits of their loss over the known values of the batches of all processes."""
        outputs = self.head(features.before_neck)
        with torch.autocast(outputs.device.type, enabled=False):
            outputs, targets = gather(promote(outputs)), self._scaled(gather(batch["traits"]))
            known = ~targets.isnan()
            costs = self._costs(outputs, torch.where(known, targets, 0.0).to(outputs.dtype))
            means = torch.where(known, costs, 0.0).sum(dim=0) / known.sum(dim=0).clamp(min=1)
            value = means.sum() / known.any(dim=0).sum().clamp(min=1)
        return {"traits": LossOutput(value)}

    def _costs(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the (B, T) cost of (B, T x bins) outputs for (B, T) values in standard deviations."""
        if self.bins is None:
            return functional.smooth_l1_loss(outputs, targets, beta=self.beta, reduction="none")
        logarithms = outputs.unflatten(1, (len(self.traits), self.bins)).log_softmax(dim=2)
        centers = self._centers().to(outputs.dtype)
        step = (centers[:, 1] - centers[:, 0]).clamp(min=SPREAD)
        shares = (1 - (targets[..., None] - centers).abs() / step[:, None]).clamp(min=0)
        return -(shares * logarithms).sum(dim=2)

    def answers(self, features: Features) -> Tensor:
        """Return the (B, T) values that the head gives, in the traits' own units."""
        outputs = self.head(features.before_neck).float()
        if self.bins is not None:
            weights = outputs.unflatten(1, (len(self.traits), self.bins)).softmax(dim=2)
            outputs = (weights * self._centers()).sum(dim=2)
        mean, deviation = self.facts[:, 0], self.facts[:, 1]
        return outputs * deviation + mean

    def _scaled(self, values: Tensor) -> Tensor:
        """Return values in standard deviations from their mean, within the bins where there are bins."""
        mean, deviation, low, high, _ = self.facts.unbind(dim=1)
        if self.bins is not None:
            values = values.clamp(low, high)
        return (values - mean) / deviation

    def _centers(self) -> Tensor:
        """Return the (T, bins) centers in standard deviations."""
        mean, deviation, low, high, _ = self.facts.unbind(dim=1)
        places = torch.linspace(0, 1, self.bins or 1, device=low.device)
        return (low[:, None] + places * (high - low)[:, None] - mean[:, None]) / deviation[:, None]

    def reset(self) -> None:
        """Forget the last evaluation."""
        self.evaluation.reset()

    def update(self, network: ReIDNetwork, features: Features, batch: Mapping[str, Tensor]) -> None:
        """Take in the answers for a batch."""
        self.evaluation.update(self.answers(features), batch["traits"], batch["index"])

    def compute(self) -> dict[str, float]:
        """Return the mean absolute error of each trait, beside that of always guessing the training's median."""
        self.evaluation.medians = self.facts[:, 4].tolist()
        self.evaluated = self.evaluation.compute()
        return self.evaluated.summary()

    def scores(self, run: Run) -> dict[str, float]:
        """Return the errors of the last evaluation; empty where no value is known."""
        return self.evaluated.summary() if self.evaluated else {}

    def figures(self, run: Run, scores: Mapping[str, float]) -> list[Picture]:
        """Draw the answers over the true values."""
        if self.evaluated is None or not scores:
            return []
        return [scatter(self.evaluated, run.output_dir / "traits.png")]

    def line(self, scores: Mapping[str, float]) -> str | None:
        """Return the mean absolute errors beside those of a constant guess."""
        known = [trait for trait in self.traits if f"{trait}/error" in scores]
        parts = [
            f"{trait} off by {scores[f'{trait}/error']:.3g} (constant guess {scores[f'{trait}/constant_error']:.3g})"
            for trait in known
        ]
        return f"traits: {', '.join(parts)}" if parts else None
