from functools import partial
from pathlib import Path

import albumentations as A
import numpy as np
import pandas as pd
import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch import LightningModule, Trainer
from omegaconf import OmegaConf
from tiny_trees import write_image, write_market_tree

from reid_lightning.data import datamodule as module
from reid_lightning.data.attributes import attribute_schema
from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.data.dataset import FIELDS
from reid_lightning.data.image_cache import CachedImages, DecodedImages
from reid_lightning.data.readers.market1501 import read_market1501
from reid_lightning.data.samplers import PKSampler, ShuffleSampler
from reid_lightning.data.table import identity_keys
from reid_lightning.errors import InputError

PK = partial(PKSampler, 2, 2)


@pytest.fixture
def make(market_tree):
    """Return a function from arguments to a data module of the tiny tree."""

    def made(**changes):
        settings = {"validation": 1 / 3, "batch_size": 4}
        sources = {"market1501": partial(read_market1501, market_tree)}
        return ReIDDataModule(
            **{"sources": sources, "image_size": [16, 8], "sampler": PK} | settings | changes
        )

    return made


def set_up(data):
    data.prepare_data()
    data.setup()
    return data


def gathered(loader):
    batches = list(loader)
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def people(root, splits, shots=3):
    """Return a source whose identities p0, p1, ... have these splits."""
    rows = []
    for person, split in enumerate(splits):
        for shot in range(shots):
            path = write_image(root / f"{person}_{shot}.png", 100 * person + shot)
            rows.append({"path": str(path), "person_id": f"p{person}", "split": split})
    return {"album": lambda: pd.DataFrame(rows)}


def test_validation_identities_are_held_out(make):
    data = set_up(make())
    assert data.num_identities == 4
    assert sorted(data.identity_labels.values()) == [0, 1, 2, 3]
    keys = {split: set(identity_keys(rows)) for split, rows in data.table.groupby("split")}
    assert keys["train"] == set(data.identity_labels)
    assert len(keys["val"]) == 2
    assert not keys["train"] & keys["val"]
    train, validation = gathered(data.train_dataloader()), gathered(data.val_dataloader())
    assert set(train["labels"].tolist()) <= {0, 1, 2, 3}
    assert not set(train["person_ids"].tolist()) & set(validation["person_ids"].tolist())
    assert (validation["labels"] == -1).all()
    assert len(validation["index"]) == 8
    of = validation["is_query"]
    pairs = [*zip(validation["person_ids"][of].tolist(), validation["camera_ids"][of].tolist(), strict=True)]
    assert len(pairs) == len(set(pairs)) == 4  # one query per identity and camera


def test_a_source_may_be_a_reader_a_table_or_a_file(tmp_path):
    reader = people(tmp_path, ["train"] * 6)["album"]
    table = reader()
    table.assign(path=[Path(path).name for path in table["path"]]).to_csv(tmp_path / "album.csv", index=False)
    tables = []
    for source in (reader, table, tmp_path / "album.csv", str(tmp_path / "album.csv")):
        data = ReIDDataModule({"album": source}, [16, 8], PK, validation=None, cache=False)
        tables.append(set_up(data).table)
    for other in tables[1:]:
        pd.testing.assert_frame_equal(tables[0], other)
    assert len(tables[0]) == 18


def test_a_source_of_another_kind_is_an_error():
    data = ReIDDataModule({"album": 7}, [16, 8])
    with pytest.raises(
        InputError, match=r"sources\['album'\] is a int: give a reader, a table .* or the path"
    ):
        data.prepare_data()


def test_labels_belong_to_their_identities(make):
    data = set_up(make())
    keys = identity_keys(data.table)
    for batch in data.train_dataloader():
        for row, label in zip(batch["index"].tolist(), batch["labels"].tolist(), strict=True):
            assert data.identity_labels[keys[row]] == label


def test_the_validation_seed_alone_chooses_the_identities(make):
    chosen = [
        set(set_up(make(**seeds)).identity_labels)
        for seeds in ({}, {"seed": 5}, {"validation_seed": 1}, {"validation_seed": 1, "seed": 2})
    ]
    assert chosen[0] == chosen[1] != chosen[2] == chosen[3]


def test_batches_carry_the_attributes_of_the_chosen_schema(make, market_tree, tmp_path):
    own = attribute_schema("own", {"glasses": ["no", "yes"], "coat": ["none", "red", "blue"]})
    codes = {"0001": (1, 2), "0002": (0, 1), "0003": (1, 0), "0101": (0, 0)}
    rows = [f"{person},{coat},{glasses}\n" for person, (glasses, coat) in codes.items()]
    (tmp_path / "own.csv").write_text("id,coat,glasses\n" + "".join(rows))
    sources = {"market1501": partial(read_market1501, market_tree, tmp_path / "own.csv")}
    data = set_up(make(sources=sources, attributes=own, validation=None))
    assert data.attribute_counts == [4, 8, 4, 4, 4]  # four images each; identity 101 does not train
    for loader in (data.train_dataloader(), data.test_dataloader()):
        for batch in loader:
            people = data.table["person_id"].iloc[batch["index"].tolist()]
            expected = [codes.get(person, (-1, -1)) for person in people]
            assert batch["attributes"].tolist() == [list(codes) for codes in expected]


def test_batches_carry_the_columns_that_are_asked_for(make):
    """In training and evaluation, of the table after setup, at the place of each image."""
    seen = []

    def heights(table):
        seen.append(set(table["split"]))
        return np.arange(len(table)) + 0.25

    columns = {
        "height": heights,
        "pair": lambda table: np.stack([np.arange(len(table)), -np.arange(len(table))], axis=1),
    }
    data = set_up(make(columns=columns))
    assert seen == [{"train", "val", "query", "gallery"}]
    for loader in (
        data.train_dataloader(),
        data.train_images_dataloader(),
        data.val_dataloader(),
        data.test_dataloader(),
    ):
        for batch in loader:
            assert batch["height"].dtype == torch.float32
            assert torch.equal(batch["height"], batch["index"] + 0.25)
            assert batch["pair"].dtype == torch.int64
            assert torch.equal(batch["pair"], torch.stack([batch["index"], -batch["index"]], dim=1))


def test_without_columns_a_batch_has_its_own_fields_alone(make):
    data = set_up(make())
    own = {"images", "labels", "person_ids", "camera_ids", "attributes", "index"}
    assert set(next(iter(data.train_dataloader()))) == own
    evaluated = next(iter(data.test_dataloader()))
    assert set(evaluated) == own | {"is_query", "tracklet_ids"} == set(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_a_column_named_like_a_field_of_the_batch_is_refused(make, name):
    with pytest.raises(ValueError, match=f"columns names {name}, which every batch has already"):
        make(columns={"height": len, name: len})


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (
            lambda table: np.zeros(len(table) - 1),
            r"the column height has shape \(\d+,\), and the table \d+ rows",
        ),
        (lambda table: 1.0, r"the column height has shape \(\)"),
        (lambda table: table["path"], "the column height holds object, of which no tensor"),
    ],
)
def test_a_column_that_fits_no_batch_is_refused(make, read, message):
    with pytest.raises(ValueError, match=message):
        set_up(make(columns={"height": read}))


@pytest.mark.parametrize("none", ["none", None])
def test_without_validation_all_identities_train(make, none):
    data = set_up(make(validation=none))
    assert data.num_identities == 6
    assert not data.has_validation
    assert data.val_dataloader() == []


def test_the_test_set_is_complete_and_comes_once(make):
    data = set_up(make())
    test = gathered(data.test_dataloader())
    splits = data.table["split"].to_numpy()[test["index"].numpy()]
    assert len(test["index"]) == len(set(test["index"].tolist())) == 6 + 13
    assert ((splits == "query") == test["is_query"].numpy()).all()
    assert set(splits) == {"query", "gallery"}
    assert (test["labels"] == -1).all()


def test_random_validation_queries(make):
    assert gathered(set_up(make(validation_queries=5)).val_dataloader())["is_query"].sum() == 5


def test_a_split_of_its_own_takes_precedence(make, tmp_path):
    sources = people(tmp_path, ["train", "val", "train", "val", "train"])
    data = set_up(make(sources=sources))
    assert data.num_identities == 3
    assert data.has_validation
    assert not data.has_test
    with pytest.raises(InputError, match="no test set"):
        data.test_dataloader()
    assert gathered(data.val_dataloader())["is_query"].sum() == 2
    assert set_up(make(sources=sources, validation="none")).num_identities == 5


def test_sources_train_together(make, market_tree, tmp_path):
    other = write_market_tree(tmp_path / "other", train=4)
    sources = {name: partial(read_market1501, root) for name, root in (("a", market_tree), ("b", other))}
    data = set_up(make(sources=sources, validation=None))
    assert data.num_identities == 10
    train = data.table[data.table["split"] == "train"]
    assert {key[0] for key in data.identity_labels} == {"a", "b"}
    assert (
        train.loc[train["source"] == "b", "person_id"]
        .isin(train.loc[train["source"] == "a", "person_id"])
        .all()
    )
    cameras = gathered(data.test_dataloader())["camera_ids"]
    assert set(cameras.tolist()) == {0, 1, 2, 3}


def test_the_cache_holds_every_row_and_can_be_switched_off(make):
    cached, decoded = set_up(make()), set_up(make(cache=False))
    assert isinstance(cached.train_dataloader().dataset.images, CachedImages)
    assert isinstance(decoded.train_dataloader().dataset.images, DecodedImages)
    one, two = gathered(cached.test_dataloader()), gathered(decoded.test_dataloader())
    assert torch.equal(one["images"], two["images"])


def test_workers_give_the_same_epoch(make):
    augmentation = A.Compose([A.HorizontalFlip(), A.ColorJitter(p=1.0)])
    epochs = []
    for workers in (0, 2):
        loader = set_up(make(train_transform=augmentation, num_workers=workers)).train_dataloader()
        loader.batch_sampler.set_epoch(2)
        epochs.append(gathered(loader))
    assert torch.equal(epochs[0]["images"], epochs[1]["images"])


def test_data_that_cannot_be_used_is_named(make, tmp_path):
    with pytest.raises(InputError, match="holds out 1, and validation needs at least 2"):
        set_up(make(validation=0.1))
    with pytest.raises(ValueError, match=r"^validation must be a share .* got 1.5"):
        make(validation=1.5)
    with pytest.raises(ValueError, match=r"^validation must be a share .* got nine"):
        make(validation="nine")
    with pytest.raises(ValueError, match=r"^image_size must be a height and a width .* got \[16\]"):
        make(image_size=[16])
    with pytest.raises(InputError, match="validation_queries=8 must be between 1 and 7"):
        set_up(make(validation_queries=8))
    with pytest.raises(ValueError, match=r"^identities must be at most the 4 training identities, got 9"):
        set_up(make(sampler=partial(PKSampler, 9, 2))).train_dataloader()
    with pytest.raises(InputError, match="only one of the splits query and gallery whose person is known"):
        set_up(make(sources=people(tmp_path, ["train"] * 6 + ["gallery"])))
    with pytest.raises(InputError, match="no rows of split train"):
        set_up(make(sources=people(tmp_path, ["query", "gallery"])))
    with pytest.raises(InputError, match="no query has a true match"):
        set_up(make(sources=people(tmp_path, ["train"] * 6, shots=1)))


class Watcher(LightningModule):
    """Notes the rows of each training and validation batch."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.epochs, self.validated = {}, 0

    def training_step(self, batch):
        self.epochs.setdefault(self.current_epoch, []).append(batch["index"].tolist())
        return self.layer(torch.ones(1, 1)).sum()

    def validation_step(self, batch):
        self.validated += len(batch["index"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def train(tmp_path):
    def trained(data, epochs, **settings):
        watcher = Watcher()
        trainer = Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            default_root_dir=tmp_path,
            log_every_n_steps=1,
        )
        trainer.fit(watcher, datamodule=data, **settings)
        return trainer, watcher

    return trained


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
@pytest.mark.parametrize("sampler", [PK, partial(ShuffleSampler, 4)])
def test_a_trainer_draws_new_epochs_and_a_resumed_one_the_same(make, train, tmp_path, sampler):
    settings = {"sampler": sampler, "seed": 3}
    trainer, whole = train(make(**settings), 3)
    assert whole.epochs.keys() == {0, 1, 2}
    assert whole.epochs[0] != whole.epochs[1] != whole.epochs[2]
    assert whole.validated == 3 * 8
    assert trainer.num_training_batches == len(whole.epochs[0])

    trainer, _ = train(make(**settings), 2)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    _, rest = train(make(**settings), 3, ckpt_path=tmp_path / "two.ckpt")
    assert rest.epochs == {2: whole.epochs[2]}
    assert train(make(validation=None, **settings), 1)[1].validated == 0


def test_workers_by_default(make, monkeypatch):
    data = set_up(make())
    assert data.train_dataloader().num_workers == 0
    assert not data.train_dataloader().pin_memory
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: range(12), raising=False)
    assert module._workers_per_gpu(1) == 8
    assert module._workers_per_gpu(4) == 3
    assert module._workers_per_gpu(16) == 1


def test_shipped_configs_become_a_data_module(request, market_tree, tmp_path):
    conf = request.config.rootpath / "conf"
    table = read_market1501(market_tree)
    table.to_csv(tmp_path / "own.csv", index=False)
    groups = {"data": OmegaConf.load(conf / "data" / "market1501.yaml")}
    groups["data"] = OmegaConf.merge(groups["data"], OmegaConf.load(conf / "data" / "table.yaml"))
    groups |= {name: OmegaConf.load(conf / name / f"{option}.yaml") for name, option in
               (("sampler", "pk"), ("augmentation", "strong"))}  # fmt: skip
    config = OmegaConf.create(groups)
    config.data.sources.market1501.root = str(market_tree)
    config.data.sources.table.root = str(tmp_path / "own.csv")
    config.data.image_size = [16, 8]
    config.sampler.identities = 2
    sources, sampler, transform = (
        instantiate(node, _convert_="all")
        for node in (config.data.sources, config.sampler, config.augmentation)
    )
    data = set_up(ReIDDataModule(sources, config.data.image_size, sampler, transform, validation=None))
    assert data.num_identities == 12
    assert next(iter(data.train_dataloader()))["images"].shape == (8, 3, 16, 8)


@pytest.mark.parametrize("option", ["market1501", "identity_folder", "table"])
def test_data_options_are_complete(request, option, tmp_path):
    config = OmegaConf.load(request.config.rootpath / "conf" / "data" / f"{option}.yaml")
    assert set(config) == {
        "defaults",
        "root",
        "weights",
        "image_size",
        "sources",
    }  # the first chooses a backbone
    del config.defaults
    whole = OmegaConf.create({"data": config})
    whole.data.root = str(tmp_path / "nowhere")
    (read,) = instantiate(whole.data.sources, _convert_="all").values()
    with pytest.raises(InputError, match="nowhere"):
        read()
    assert np.prod(whole.data.image_size) == 256 * 128
