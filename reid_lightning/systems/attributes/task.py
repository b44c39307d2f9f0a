"""What people look like: heads for their attributes beside the identity."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from reid_lightning.config.resolve import instantiate
from reid_lightning.data.annotations import AttributeForm
from reid_lightning.data.attributes import AttributeSchema
from reid_lightning.distances import promote
from reid_lightning.errors import InputError
from reid_lightning.losses.spec import LossOutput
from reid_lightning.models.features import Features
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.reporting.page import Picture
from reid_lightning.reporting.tables import Table
from reid_lightning.systems.attributes.files import draw_attributes, form_of, write_attribute_files
from reid_lightning.systems.attributes.heads import probabilities
from reid_lightning.systems.attributes.loss import AttributeLoss
from reid_lightning.systems.attributes.scores import AttributeRows, AttributeScores, joint_accuracy
from reid_lightning.systems.task import Gather, Plan, Run, Task

if TYPE_CHECKING:  # the data module brings Lightning along, which a trained model does not need
    from reid_lightning.data.datamodule import ReIDDataModule
    from reid_lightning.systems.attributes.metric import AttributeEvaluation

log = logging.getLogger("reid_lightning")


class AttributeTask(Task):
    """Classifies the attributes of people (Lin et al. 2019, "Improving Person Re-identification by Attribute and Identity").

    The network's `AttributeHeads` answer; re-weighted answers join what is classified and compared.

    Args:
        schema: The attributes and their classes.
        loss: Compares the heads' answers with the classes that are known.
        weight: Factor of the loss.
        gallery_files: Gallery files per query in `reid_test.txt`.
        form: Columns and coding of the annotations that are trained on; None writes those of the schema.
        with_identity: Whether identity counts as one more answer in `train/joint_accuracy`.
    """

    name = "attributes"
    own_settings = False

    def __init__(
        self,
        schema: AttributeSchema,
        loss: AttributeLoss,
        weight: float = 1.0,
        gallery_files: int = 50,
        form: AttributeForm | None = None,
        with_identity: bool = False,
    ) -> None:
        super().__init__({"attributes": weight})
        self.schema, self.loss = schema, loss
        self.gallery_files, self.form, self.with_identity = gallery_files, form, with_identity
        self.evaluated: tuple[AttributeScores, AttributeRows] | None = None  # the last evaluation
        self.metric: AttributeEvaluation | None = None  # see `evaluation`

    @property
    def evaluation(self) -> "AttributeEvaluation":
        """The metric, made when it is first used: inference needs none, and importing torchmetrics takes a second."""
        if self.metric is None:
            from reid_lightning.systems.attributes.metric import AttributeEvaluation

            self.metric = AttributeEvaluation(self.schema.names, self.schema.sizes)
        return self.metric

    @classmethod
    def from_config(cls, plan: Plan) -> "AttributeTask":
        """Return the task of the config's group `attributes`."""
        attributes, classifier = plan.config["attributes"], plan.config["classifier"]
        schema: AttributeSchema = instantiate(attributes["schema"], "attributes.schema")
        counts = plan.datamodule.attribute_counts if plan.datamodule else None
        return cls(
            schema,
            instantiate(attributes["loss"], "attributes.loss", sizes=schema.sizes, counts=counts),
            weight=float(attributes["weight"]),
            gallery_files=attributes["gallery_files"],
            form=form_of(plan.datamodule.table, schema) if plan.datamodule else None,
            with_identity=bool(classifier and classifier.get("weight", 1.0)),
        )

    @classmethod
    def branches(cls, node: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the heads, sized for the schema."""
        schema = instantiate(config["attributes"]["schema"], "attributes.schema")
        heads = instantiate(config["attributes"]["heads"], "attributes.heads", sizes=schema.sizes)
        return {"attributes": heads}

    @classmethod
    def of_network(cls, node: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the order of the outputs, which comparing schemas does not see."""
        schema = config["attributes"].get("schema") or {}
        return {"order of attributes.schema.attributes": list((schema.get("attributes") or {}).items())}

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        """Refuse attribute heads that nothing trains."""
        attributes, classifier = config["attributes"], config["classifier"]
        if not attributes:
            raise InputError(
                "tasks.attributes needs the group that describes them: choose attributes=market12"
            )
        if not attributes["weight"] > 0:
            raise InputError(
                f"attributes.weight={attributes['weight']} leaves the attribute heads untrained; set it above 0, or leave "
                "the heads out with attributes=none"
            )
        if not attributes["heads"].get("reweighting"):
            return
        if not classifier or not classifier.get("weight", 1.0):
            raise InputError(
                "attributes.heads.reweighting=true is learned from the identity classifier's loss, and there is none; "
                "choose one (classifier=softmax), or set attributes.heads.reweighting=false"
            )
        if config["evaluation"]["feature"] != "embedding":
            log.warning(
                "evaluation.feature=%s holds no attributes; evaluation.feature=embedding compares them too",
                config["evaluation"]["feature"],
            )

    @classmethod
    def check_data(
        cls, node: Mapping[str, Any], config: Mapping[str, Any], datamodule: "ReIDDataModule"
    ) -> None:
        """Refuse training images of which none has any attribute."""
        schema = datamodule.attributes
        sources = config["data"]["sources"]
        files = [f"data.sources.{name}.attributes" for name, node in sources.items() if "attributes" in node]
        check_annotations(schema.names, schema.sizes, datamodule.attribute_counts, files)

    def losses(
        self, network: ReIDNetwork, features: Features, batch: Mapping[str, Tensor], gather: Gather
    ) -> dict[str, LossOutput]:
        """Return the attribute loss of the batches of all processes: how many labels are known differs between them."""
        logits = features.extra["attributes"]
        with torch.autocast(logits.device.type, enabled=False):
            value = self.loss(gather(promote(logits)), gather(batch["attributes"]))
        return {"attributes": LossOutput(value)}

    def diagnostics(
        self, network: ReIDNetwork, features: Features, batch: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return how much of what is known of an image is answered right."""
        identity = network.classify(features) if self.with_identity else None
        answers, targets = features.extra["attributes"], batch["attributes"]
        return {
            "joint_accuracy": joint_accuracy(answers, targets, self.schema.sizes, identity, batch["labels"])
        }

    def reset(self) -> None:
        """Forget the last evaluation."""
        self.evaluation.reset()

    def update(self, network: ReIDNetwork, features: Features, batch: Mapping[str, Tensor]) -> None:
        """Take in the answers for a batch."""
        answers = probabilities(features.extra["attributes"].float(), self.schema.sizes)
        added = network.attributes.added_features if network.attributes is not None else 0
        scores = features.embedding[:, -added:].float() if added else answers
        self.evaluation.update(answers, scores.square().sum(dim=1), batch["attributes"], batch["index"])

    def compute(self) -> dict[str, float]:
        """Return mean scores over the attributes, and those of each (see `AttributeScores.summary`)."""
        self.evaluation.majority = self.loss.majority()
        scores = self.evaluation.compute()
        assert self.evaluation.evaluated is not None
        self.evaluated = scores, self.evaluation.evaluated
        return scores.summary()

    def scores(self, run: Run) -> dict[str, float]:
        """Return the scores of the last evaluation."""
        return self.evaluated[0].summary() if self.evaluated else {}

    def write(self, run: Run, scores: Mapping[str, float]) -> None:
        """Write what a test of attributes leaves: `classification_test.csv` and `reid_test.txt`."""
        if self.evaluated is None or run.rows is None or not run.datamodule.is_tested:
            return
        write_attribute_files(
            self.evaluated[1],
            run.rows,
            run.protocol,
            run.datamodule.table,
            self.schema,
            self.form or AttributeForm.of_schema(self.schema),
            self.gallery_files,
            run.output_dir,
        )

    def figures(self, run: Run, scores: Mapping[str, float]) -> list[Picture]:
        """Draw scores, confusions and the search for distractors."""
        if self.evaluated is None:
            return []
        return draw_attributes(*self.evaluated, run.datamodule.table, self.schema, run.output_dir)

    def tables(self, run: Run, scores: Mapping[str, float]) -> Mapping[str, Table]:
        """Return how often each class was taken for each other one, a row a pair of classes that occurs."""
        if self.evaluated is None:
            return {}
        rows = [
            [attribute.title, attribute.classes[true], attribute.classes[said], int(count)]
            for attribute, confusion in zip(self.schema, self.evaluated[0].confusions, strict=True)
            for true, line in enumerate(confusion.tolist())
            for said, count in enumerate(line)
            if count
        ]
        return {"confusion": Table(("attribute", "annotated", "said", "images"), rows)}

    def line(self, scores: Mapping[str, float]) -> str | None:
        """Return the mean scores beside those of the most frequent class."""
        if not scores:
            return None
        return (
            f"attributes: accuracy {100 * scores['accuracy']:.1f} (most frequent class always: "
            f"{100 * scores['majority']:.1f}), balanced {100 * scores['balanced_accuracy']:.1f}, "
            f"mA {100 * scores['mean_accuracy']:.1f}"
        )

    def saved(self) -> dict[str, Any]:
        """Return the form of the annotations that were trained on."""
        return {"form": asdict(self.form) if self.form else None}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take up the form of the annotations that were trained on."""
        self.form = saved_form(saved) or self.form


def saved_form(saved: Mapping[str, Any]) -> AttributeForm | None:
    """Return the form of the annotations from what the task has saved; None where it is not known."""
    return AttributeForm(**saved["form"]) if saved.get("form") else None


def check_annotations(
    names: Sequence[str], sizes: Sequence[int], counts: Sequence[int], files: Sequence[str] = ()
) -> None:
    """Refuse to train attributes that no training image is annotated with.

    Args:
        names: Attributes.
        sizes: Classes of each.
        counts: Training images of each class, attributes one after the other.
        files: Keys of the run's sources that take a file of attributes.

    Raises:
        InputError: No training image has any attribute.

    Examples:
        >>> check_annotations(["hat", "bag"], [2, 2], [5, 1, 0, 3])
    """
    if not any(counts):
        raise InputError(
            "attributes are to be trained, but no training image has any; "
            + (f"name their file ({files[0]}=FILE), " if files else "")
            + f"add columns ({', '.join(names[:3])}, ...) to a table (data=table), or choose attributes=none"
        )
    starts = [sum(sizes[:head]) for head in range(len(sizes))]
    unknown = [
        name
        for name, start, size in zip(names, starts, sizes, strict=True)
        if not any(counts[start : start + size])
    ]
    if unknown:
        log.warning("no training image has a known %s: nothing trains its head", ", ".join(unknown))
