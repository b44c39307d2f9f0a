"""What is minimized: the terms of the tasks and any number of metric losses, weighed and added."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reid_lightning.distances import promote, unit_vectors
from reid_lightning.errors import InputError
from reid_lightning.losses.pairs import Deferred
from reid_lightning.losses.spec import LossOutput, compares_unit_vectors, output_of, spec_of
from reid_lightning.mining.memory import CrossBatchMemory, can_use_memory
from reid_lightning.models.features import Features
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.systems.task import Gather, Task

log = logging.getLogger("reid_lightning")

Miner = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Step:
    """The outcome of one step.

    Attributes:
        total: Scalar to minimize.
        terms: Every term before its weight, by name.
        diagnostics: Detached scalars that show collapse (active fraction, distances, norm), as "term/name"; computed when
            they are first read.
    """

    total: Tensor
    terms: dict[str, Tensor]
    diagnostics: Mapping[str, Tensor]


class Objective(nn.Module):
    """Weighted sum of the terms of tasks and of metric losses over miners.

    Every metric loss and miner runs with autocast off, and on half types promoted to float32, because distances and
    logarithms lose their meaning in 16 bits; float64 stays float64.

    Args:
        tasks: Tasks by name; their terms come first, in this order.
        losses: Metric losses by name: `loss(embeddings, labels, indices_tuple=None) -> scalar`, or a `MetricLoss`.
        weights: Weight per loss name; 1 where it is missing.
        miners: Miner per loss name, `miner(embeddings, labels) -> (anchors, positives, negatives)`; None, or a missing
            name, takes all valid triplets. One whose count depends on the batch may have a method `padded` that need not
            ask the device for it.
        across_ranks: Metric losses and miners see the batch of all processes together; False: each process its own
            share.
        memory: Embeddings of earlier batches, to which every metric loss that can compares the batch as well; None: none.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task] | None = None,
        losses: Mapping[str, nn.Module] | None = None,
        weights: Mapping[str, float] | None = None,
        miners: Mapping[str, Miner | None] | None = None,
        across_ranks: bool = True,
        memory: CrossBatchMemory | None = None,
    ) -> None:
        super().__init__()
        self.tasks = nn.ModuleDict(dict(tasks or {}))
        self.losses = nn.ModuleDict(dict(losses or {}))
        self.weights = dict.fromkeys(self.losses, 1.0) | dict(weights or {})
        self.miners = {name: (miners or {}).get(name) for name in self.losses}
        self.across_ranks = across_ranks
        self.memory = memory
        self._check()
        self._check_memory()

    @property
    def terms(self) -> list[str]:
        """The names of all terms, in their order."""
        return [term for task in self._tasks() for term in task.weights] + list(self.losses)

    @property
    def miner(self) -> Miner | None:
        """The miner that the first loss with one reads."""
        return next((miner for miner in self.miners.values() if miner is not None), None)

    def _tasks(self) -> list[Task]:
        return list(self.tasks.values())  # type: ignore[arg-type]

    def _check(self) -> None:
        twice = [term for term, count in Counter(self.terms).items() if count > 1]
        if twice:
            raise InputError(
                f"two terms of the objective are called {twice[0]}; give one of them another name"
            )
        if not self.terms:
            raise InputError(
                "nothing to train: choose a loss (loss=triplet) or a classifier (classifier=softmax)"
            )
        own = [
            name
            for name, loss in self.losses.items()
            if spec_of(loss).forms_own_pairs and not spec_of(loss).per_image and self.miners[name] is not None
        ]
        if own:
            log.info(
                "the miner has no effect on %s, which forms its own pairs from the whole batch",
                " and ".join(own),
            )

    def _check_memory(self) -> None:
        if self.memory is None:
            return
        if not self.across_ranks:
            raise InputError("memory.size needs across_ranks=true: all processes share one memory")
        able = [name for name, loss in self.losses.items() if can_use_memory(loss, self.miners[name])]
        if not able:
            raise InputError(
                "no loss can use memory.size: choose loss=contrastive, or one of triplets with miner=batch_hard"
            )
        if others := [name for name in self.losses if name not in able]:
            log.info("the memory has no effect on %s", " and ".join(others))

    def forward(
        self,
        network: ReIDNetwork,
        features: Features,
        batch: Mapping[str, Tensor],
        gather: Gather = lambda tensor: tensor,
    ) -> Step:
        """Compute every term of a batch.

        Args:
            network: The network, for tasks that ask it for more.
            features: Its output for this process's B images.
            batch: The batch; `labels` (B,) are the training identities.
            gather: Joins a tensor of all processes along dimension 0, with gradients. Metric losses see the
                joined batch (unless `across_ranks` is off), so that several processes train as one would.
        """
        outputs: dict[str, LossOutput] = {}
        weights = dict(self.weights)
        for task in self._tasks():
            outputs |= task.losses(network, features, batch, gather)
            weights |= task.weights
        with torch.autocast(features.before_neck.device.type, enabled=False):
            outputs |= self._metric_losses(features, batch["labels"], gather)
            total = promote(features.before_neck).new_zeros(())
            for name, output in outputs.items():
                total = total + weights[name] * output.value
        return Step(
            total,
            {name: output.value for name, output in outputs.items()},
            Deferred(
                lambda: {
                    f"{name}/{key}": value
                    for name, output in outputs.items()
                    for key, value in output.diagnostics.items()
                }
            ),
        )

    def _metric_losses(self, features: Features, labels: Tensor, gather: Gather) -> dict[str, LossOutput]:
        if not self.losses:
            return {}
        own = features.each(promote), labels
        joined = self._joined(own[0], gather), gather(labels)
        mined: dict[tuple[Any, ...], Any] = {}
        outputs = {}
        for name, loss in self.losses.items():
            joins, spec = self._joins(loss), spec_of(loss)
            seen, seen_labels = joined if joins else own
            indices, miner = None, self.miners[name]
            if miner is not None and not spec.forms_own_pairs:
                unit = compares_unit_vectors(loss)
                case = (id(miner), unit, joins, spec.takes_padding)
                if case not in mined:  # mine on the vectors that the loss compares
                    vectors = seen.before_neck.detach()
                    mine = getattr(miner, "padded", miner) if spec.takes_padding else miner
                    mined[case] = mine(unit_vectors(vectors) if unit else vectors, seen_labels)
                indices = mined[case]
            given = seen if spec.reads else seen.before_neck
            outputs[name] = output_of(loss, given, seen_labels, indices)
            if self.memory is not None and can_use_memory(loss, miner):
                outputs[name] = self._with_memory(
                    self.memory, outputs[name], loss, seen.before_neck, seen_labels, miner
                )
        if self.memory is not None and self.training:
            self.memory.remember(joined[0].before_neck, joined[1])
        return outputs

    @staticmethod
    def _with_memory(
        memory: CrossBatchMemory,
        batch: LossOutput,
        loss: nn.Module,
        embeddings: Tensor,
        labels: Tensor,
        miner: Any,
    ) -> LossOutput:
        """Return the cost of a batch with that of its pairs with the memory."""
        across = memory.output(loss, embeddings, labels, miner)
        diagnostics = dict(batch.diagnostics) | {"memory": across.value.detach()}
        return LossOutput(batch.value + memory.weight * across.value, diagnostics)

    def _joins(self, loss: nn.Module) -> bool:
        """Return whether a loss sees the batch of all processes."""
        spec = spec_of(loss)
        return not spec.per_image and (self.across_ranks or spec.keeps_state)

    def _joined(self, features: Features, gather: Gather) -> Features:
        """Join the fields that losses read over all processes: the vectors, and whole features where any loss does."""
        whole = any(spec_of(loss).reads and self._joins(loss) for loss in self.losses.values())
        if not whole:
            return features._replace(before_neck=gather(features.before_neck))
        return features.each(gather)


class TasksAlone(Objective):
    """The tasks of a trained model, which is evaluated only: no losses, and nothing to minimize."""

    @property
    def terms(self) -> list[str]:
        """No terms."""
        return []

    def _check(self) -> None:
        """Accept that there is nothing to train."""
