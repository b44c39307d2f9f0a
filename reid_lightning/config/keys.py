"""What every setting of a run changes and which values it takes, as one table; `schema.py` answers questions about it.

A row stands for a key of the composed config and for all keys below it; the most specific rows come on top of those of
their groups. `*` stands for any part of a dotted name.
"""

from dataclasses import dataclass
from typing import Any, Literal

from reid_lightning.config.values import (
    Values,
    devices,
    flag,
    image_size,
    mapping,
    node,
    nodes,
    number,
    one_of,
    text,
    whole,
)

Effect = Literal["result", "machine", "place"]


class _Unset:
    """A field of a row that says nothing."""


UNSET = _Unset()


@dataclass(frozen=True, kw_only=True)
class Key:
    """A row of the table.

    Attributes:
        name: Dotted name of the key, `*` for any part.
        says: What it is, in a sentence.
        changes: "result": what is trained or measured; "machine": how the machine works it off, and who is told; "place":
            where files lie.
        group: Whether its value is chosen as an option (a file in `conf/NAME`).
        bundle: Whether such an option sets keys of other groups only, and leaves none of its own.
        network: Whether it describes the network, which a checkpoint's weights must fit.
        before: How runs of earlier versions, whose configs lack it, were trained.
        evaluated_as: The value that an evaluation of a checkpoint takes in place of the training's.
        follows: The key of `data` whose value suits it; an evaluation of other data takes that.
        of_model: Whether it belongs to the model although it stands among the data: an evaluation of other data keeps it.
        hint: Whether only other settings refer to it (`${data.weights}`), and the data module does not take it.
        repeats: Whether another value repeats a run, so that results are averaged over it.
        optional: Whether it may stay unset (`???`).
        resumable: Whether a resumed run may have another value without a word although it changes the result. What changes
            none may always.
        takes: The values that it may have; None: what the class that it is given to accepts.
        raw: Whether its value is a path or a pattern, which is taken as it is written on the command line.
    """

    name: str
    says: str
    changes: Effect = "result"
    group: bool = False
    bundle: bool = False
    network: bool = False
    before: Any = UNSET
    evaluated_as: Any = UNSET
    follows: str | None = None
    of_model: bool = False
    hint: bool = False
    repeats: bool = False
    optional: bool = False
    resumable: bool = False
    takes: Values | None = None
    raw: bool = False


def _key(name: str, says: str, changes: Effect = "result", **facts: Any) -> Key:
    return Key(name=name, says=says, changes=changes, **facts)


def _group(name: str, says: str, changes: Effect = "result", **facts: Any) -> Key:
    return Key(name=name, says=says, changes=changes, group=True, **facts)


_NODES = mapping(null=True)  # by name
_GROUP = node()  # of which a run needs one
_OPTIONAL = node(null=True)
_SEED = whole(0, 2**32 - 1)
_SIZE, _SIZE_OR_NONE = whole(1, 65_536), whole(1, 65_536, null=True)
_TRACKLETS = one_of("pool", null=True)
_DRAWS = whole(1, 1_000_000, null=True)

_PLAIN_FEED = {
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "interpolation": "area",
    "source": "default",
}

KEYS = (
    _group("data", "Data sets to train and test on; several are merged.", takes=_GROUP),
    _group("sampler", "Which images make up a batch.", evaluated_as=None, takes=_GROUP),
    _group("augmentation", "Random changes of the training images.", evaluated_as=None, takes=_OPTIONAL),
    _group(
        "test_transform",
        "What images pass through wherever nothing is augmented.",
        before=None,
        takes=_OPTIONAL,
    ),
    _key("augmentation.transforms", "The changes, one after the other.", takes=nodes()),
    _key("augmentation.strict", "Whether an unknown argument of a change is refused.", takes=flag()),
    _key("test_transform.transforms", "The changes, one after the other.", takes=nodes()),
    _key("test_transform.strict", "Whether an unknown argument of a change is refused.", takes=flag()),
    _group("backbone", "Network from an image to a feature map.", network=True, takes=_GROUP),
    _key(
        "feed",
        "How images come into the network: mean, deviation and interpolation.",
        network=True,
        before=_PLAIN_FEED,
        takes=mapping(),
    ),
    _key("backbone.width", "Factor of the number of channels.", takes=number(above=0, most=16)),
    _key("backbone.lora", "Low-rank changes of weights that stay.", takes=mapping(null=True)),
    _key("backbone.lora.rank", "Rank of the changes.", takes=_SIZE),
    _key("backbone.lora.alpha", "Scale of the changes.", takes=number(above=0)),
    _group("pooling", "From the feature map to a vector.", network=True, takes=_GROUP),
    _group("neck", "From the pooled vector to what is trained and compared.", network=True, takes=_GROUP),
    _key("neck.*_size", "Length of a vector.", takes=_SIZE_OR_NONE),
    _group(
        "parts",
        "Features of body parts beside the whole, or in its place.",
        network=True,
        before=None,
        takes=_OPTIONAL,
    ),
    _key("parts.size", "Length of a part's vector.", takes=_SIZE_OR_NONE),
    _key("parts.stripes", "Horizontal stripes.", takes=_SIZE),
    _key("parts.channels", "Channels of the part branch.", takes=_SIZE),
    _key("parts.joints", "Joints of a skeleton.", takes=_SIZE),
    _key("parts.width", "Channels of the maps of joints.", takes=_SIZE),
    _group(
        "pretraining", "What is learned before the training.", before=None, evaluated_as=None, takes=_OPTIONAL
    ),
    _key("pretraining.weight_decay", "Decay per step.", takes=number(0)),
    _group("classifier", "Classifier of the training identities.", network=True, takes=_OPTIONAL),
    _key("classifier.weight", "Its share of the sum that is trained.", takes=number(0)),
    _key("classifier.label_smoothing", "Share of the label given to all others.", takes=number(0, below=1)),
    _key("classifier.annealing_*", "How strongly the margin is softened at first.", takes=number(0)),
    _group("attributes", "Attribute heads beside the identity.", before=None, takes=_NODES),
    _key("attributes.schema", "Names and classes of the attributes.", network=True, takes=_GROUP),
    _key("attributes.schema.titles.*", "What reports call an attribute.", takes=text()),
    _key("attributes.schema.prefixes.*", "How the columns of its classes begin.", takes=text()),
    _key("attributes.heads", "The heads.", network=True, takes=_GROUP),
    _key("attributes.loss", "What trains the heads.", takes=_GROUP),
    _key("attributes.weight", "Their share of the sum that is trained.", takes=number()),
    _key("attributes.gallery_files", "Images named for each search in the report.", takes=whole(0)),
    _group("loss", "Metric losses; several add up.", evaluated_as={}, takes=_NODES),
    _key("loss.*", "One of them.", takes=_GROUP),
    _key("loss.*.weight", "Its share of the sum that is trained.", takes=number()),
    _key("loss.*.miner", "Its own miner; empty: all valid triplets.", takes=_NODES),
    _key("loss.pml_multi_similarity.[ab]*", "Its constants.", takes=number()),
    _group("miner", "Which triplets of a batch the losses see.", evaluated_as=None, takes=_NODES),
    _group("task", "What a paper adds to the training; fills `tasks`.", bundle=True),
    _key("tasks", "Tasks of the training, by name; null leaves one out.", before={}, takes=_NODES),
    _group("report", "What is measured and drawn after the last evaluation; fills `reports`.", bundle=True),
    _key("reports", "Reports after the last evaluation, by name.", before={}, resumable=True, takes=_NODES),
    _key("reports.*", "One of them.", takes=_GROUP),
    _key("reports.training", "Pictures of the training, which measure nothing.", "machine"),
    _group(
        "descriptor",
        "What retrieval may compare in place of the neck's vector.",
        network=True,
        before=None,
        takes=_OPTIONAL,
    ),
    _key("descriptor.filters", "Filters per layer.", takes=_SIZE),
    _group("evaluation", "How a test set is ranked.", takes=_GROUP),
    _key("evaluation.tracklets", "How tracklets are compared.", follows="data.tracklets", takes=_TRACKLETS),
    _key(
        "evaluation.single_shot", "Draws of a single-shot gallery.", follows="data.single_shot", takes=_DRAWS
    ),
    _key("evaluation.single_shot_seed", "Which images are drawn.", takes=_SEED),
    _key("evaluation.rerank", "What orders the gallery by more than distances.", takes=_OPTIONAL),
    _group("optimizer", "Optimizer, learning rate and weight decay.", evaluated_as=None, takes=_GROUP),
    _key("optimizer.optimizer", "Class of the optimizer.", takes=_GROUP),
    _key("optimizer.optimizer.momentum", "Share of the last step that is kept.", takes=number(0, 1)),
    _key("optimizer.lr", "Learning rate.", takes=number(0)),
    _key("optimizer.weight_decay", "Decay per step.", takes=number(0)),
    _key("optimizer.*_factor", "Factor of the learning rate.", takes=number(0)),
    _group("scheduler", "Learning rate over the run.", evaluated_as=None, takes=_GROUP),
    _key("scheduler.factor", "What the learning rate is multiplied by.", takes=number(0)),
    _key("scheduler.final_factor", "Share of the learning rate at the end.", takes=number(0)),
    _group("trainer", "Devices, precision and number of epochs.", takes=_GROUP),
    _group(
        "callbacks",
        "Checkpoints, early stopping, averaging of weights.",
        evaluated_as={},
        takes=mapping(),
    ),
    _key("callbacks.*", "One of them.", takes=_GROUP),
    _key("callbacks.*.filename", "Name of the files.", takes=text(null=True)),
    _key("callbacks.*.monitor", "The number that is watched.", takes=text(null=True)),
    _key("callbacks.*.seed", "What is random in it.", takes=_SEED),
    _key("callbacks.*.patience", "Validations without a gain.", takes=whole(0)),
    _key("callbacks.*.save_top_k", "Checkpoints kept; -1: all.", takes=whole(-1)),
    _key("callbacks.*.every_n_epochs", "Epochs between two checkpoints.", takes=whole(1)),
    _group("logger", "Loggers beside metrics.csv.", "machine", evaluated_as={}, takes=_NODES),
    _key("logger.*", "One of them.", "machine", takes=_GROUP),
    _group("experiment", "A paper or a recipe: chooses options of all groups.", bundle=True),
    _group("sweep", "A search space for --multirun.", bundle=True),
    _group("hydra/launcher", "Where the jobs of a --multirun run.", "machine"),
    _group("hydra/sweeper", "How a --multirun chooses its jobs."),
    _key("seed", "All randomness of the run follows from it.", repeats=True, takes=_SEED),
    _key("output_dir", "Folder of the run.", "place", raw=True, takes=text()),
    _key(
        "resume",
        "Checkpoint to continue from; last or auto.",
        evaluated_as=None,
        resumable=True,
        raw=True,
        takes=text(null=True),
    ),
    _key(
        "start_from",
        "Checkpoint of the whole network that the training starts from, but for its classifier.",
        before=None,
        evaluated_as=None,
        raw=True,
        takes=text(null=True),
    ),
    _key(
        "time_limit",
        "Minutes after which a job ends, to be continued.",
        "machine",
        takes=number(above=0, null=True),
    ),
    _key(
        "page",
        "Whether the run's page holds every query.",
        "machine",
        before=None,
        takes=one_of("full", "brief", null=True),
    ),
    _key("refit", "Whether to train again on all identities.", evaluated_as=False, takes=flag()),
    _key("compile", "Whether to compile the network.", evaluated_as=False, takes=flag()),
    _key("channels_last", "Memory format of images and convolutions.", takes=flag()),
    _key("across_ranks", "Whether metric losses see the batch of all processes.", before=True, takes=flag()),
    _key(
        "memory", "Embeddings of earlier batches that losses compare to.", before={"size": 0}, takes=mapping()
    ),
    _key("memory.size", "Embeddings that it holds; 0: none.", takes=whole(0)),
    _key("memory.warmup", "Batches after which it is used.", takes=whole(0)),
    _key("memory.weight", "Factor of its term.", takes=number(0)),
    _key(
        "frozen_epochs",
        "Epochs during which the backbone stays as it was loaded.",
        before=0,
        takes=whole(0),
    ),
    # A batch is that of all processes, whatever their number.
    _key("trainer.accelerator", "Kind of device.", "machine", takes=text()),
    _key("trainer.devices", "Processes on a machine.", "machine", takes=devices()),
    _key("trainer.num_nodes", "Machines.", "machine", takes=whole(1, 4096)),
    _key("trainer.enable_progress_bar", "Whether a progress bar is shown.", "machine"),
    _key("trainer.log_every_n_steps", "Steps between two entries in the logs.", "machine", takes=whole(1)),
    _key("trainer.max_epochs", "Epochs.", resumable=True, takes=whole(1)),
    _key("trainer.check_val_every_n_epoch", "Epochs between two validations.", takes=whole(1)),
    _key("trainer.gradient_clip_val", "Largest norm of the gradient.", takes=number(above=0, null=True)),
    _key("trainer.accumulate_grad_batches", "Batches per step of the optimizer.", takes=whole(1)),
    _key("trainer.num_sanity_val_steps", "Batches of validation before the training.", takes=whole(-1)),
    _key("trainer.sync_batchnorm", "Whether batch statistics are those of all processes.", takes=flag()),
    _key("data.sources", "Readers of the data sets, by name.", takes=mapping(filled=True)),
    _key("data.sources.*", "One of them.", takes=_GROUP),
    _key("data.sources.*.seed", "What is random in a source.", takes=whole(0)),
    _key("data.image_size", "Height and width in pixels.", takes=image_size(8, 4096), of_model=True),
    _key("data.validation_queries", "Validation images that are queries.", takes=whole(1, null=True)),
    _key("data.validation_seed", "Which identities are held out.", takes=_SEED),
    _key(
        "data.unlabelled",
        "Whether training images without an identity train; true sets all identities aside, a list those of sources.",
    ),
    _key("data.num_workers", "Loader processes per process.", "machine", takes=whole(0, 1024, null=True)),
    _key("data.cache", "Whether images are decoded once.", "machine", takes=flag()),
    _key("data.cache_limit", "Gigabytes of decoded images.", "machine", takes=number(above=0)),
    _key("data.batch_size", "Images in a batch of an evaluation.", "machine", takes=whole(1)),
    _key("data.damaged", "Whether missing and damaged images are an error or left out."),
    _key(
        "data.sources.*.processes",
        "Processes that draw generated people.",
        "machine",
        takes=whole(1, null=True),
    ),
    # The data count by what they hold.
    _key(
        "data.root",
        "File or folder of the data.",
        "place",
        hint=True,
        optional=True,
        raw=True,
        takes=text(null=True),
    ),
    _key("data.sources.*.root", "File or folder of a source.", "place", raw=True, takes=text(null=True)),
    _key("data.sources.*.attributes", "File of the people's attributes.", raw=True, takes=text(null=True)),
    _key(
        "data.sources.*.camera_pattern",
        "Where a file's name says its camera.",
        takes=text(null=True),
        raw=True,
    ),
    _key(
        "data.sources.*.tracklet_pattern",
        "Where a file's name says its tracklet.",
        takes=text(null=True),
        raw=True,
    ),
    _key("parts.weights", "Weights that the part branch starts from.", takes=text(null=True), raw=True),
    _key("*.dirpath", "Where a callback writes.", "place"),
    _key(
        "data.weights",
        "Weights that the backbone starts from by default.",
        hint=True,
        raw=True,
        takes=text(null=True),
    ),
    _key("data.epochs", "Epochs that suit the data.", hint=True, takes=whole(1)),
    _key("data.lr", "Learning rate that suits the data.", hint=True, takes=number(above=0)),
    _key("data.identities", "Identities in a batch that suit the data.", hint=True, takes=whole(1)),
    _key("data.split", "Which of several random splits.", hint=True, repeats=True, takes=whole(0)),
    _key(
        "data.min_visibility",
        "Least share of a tracked person's box that is in sight.",
        hint=True,
        takes=number(0, 1),
    ),
    _key("data.tracklets", "How tracklets of the data are compared.", hint=True, takes=_TRACKLETS),
    _key("data.single_shot", "Draws of a single-shot gallery that suit the data.", hint=True, takes=_DRAWS),
    _key("backbone.weights", "Weights that the backbone starts from.", raw=True, takes=text(null=True)),
)
