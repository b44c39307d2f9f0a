"""`reid evaluate --part`: parts of an evaluation that several processes do, and the last one ranks."""

import json

import pytest
import torch
from helpers import command
from lightning.pytorch.utilities import rank_zero_only
from untrained import write_small_checkpoint

import reid_lightning
from reid_lightning.engine.collected import CollectedRows, require_collecting
from reid_lightning.errors import InputError
from reid_lightning.experiments import shared_evaluation
from reid_lightning.experiments.compose import compose
from reid_lightning.experiments.evaluate import Evaluation, EvaluationSettings, evaluate
from reid_lightning.experiments.factory import build_datamodule
from reid_lightning.experiments.shared_evaluation import CollectedPieces, evaluate_part
from reid_lightning.systems.task import Task

pytestmark = pytest.mark.slow

PEOPLE = (
    "data.sources.pedestrians.train_identities=10",
    "data.sources.pedestrians.test_identities=6",
    "data.batch_size=4",
    "page=brief",
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """An untrained model with answers for attributes, and the people whom it is evaluated on."""
    folder = tmp_path_factory.mktemp("model")
    build_datamodule(compose([*PEOPLE, "data.validation=0.3"], folder)).setup("test")  # draws them
    return write_small_checkpoint(folder / "model.ckpt", *PEOPLE, "attributes=market12")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(shared_evaluation, "PIECE", 8)
    monkeypatch.setattr(rank_zero_only, "rank", rank_zero_only.rank)


def numbers(folder):
    found = json.loads((folder / "metrics.json").read_text())
    return {name: found[name] for name in ("test", "protocol", "attributes", "intervals", "data", "people")}


def assert_same(one, other):
    assert numbers(one) == numbers(other)
    for name in ("queries.csv", "rankings.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_three_parts_are_the_digits_of_one_evaluation(checkpoint, tmp_path):
    whole = evaluate(checkpoint, tmp_path / "whole", embeddings=tmp_path / "whole.npz")
    shared, kept = tmp_path / "shared", EvaluationSettings(embeddings=tmp_path / "shared.npz")
    assert evaluate_part(checkpoint, shared, "2/3", kept) is None
    assert evaluate_part(checkpoint, shared, "1/3", kept) is None
    assert not (shared / "metrics.json").exists()
    joined = evaluate_part(checkpoint, shared, "3/3", kept)
    assert joined.test == whole.test
    assert_same(shared, tmp_path / "whole")
    assert (tmp_path / "shared.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert not (tmp_path / "shared.parts").exists()
    assert "attributes" in numbers(shared)


def test_parts_normalize_by_the_cameras_of_all_images(checkpoint, tmp_path):
    by_camera = EvaluationSettings(overrides=["evaluation.camera_statistics=6"])
    evaluate(checkpoint, tmp_path / "whole", by_camera.overrides)
    assert evaluate_part(checkpoint, tmp_path / "shared", "2/2", by_camera) is None
    evaluate_part(checkpoint, tmp_path / "shared", "1/2", by_camera)
    assert_same(tmp_path / "shared", tmp_path / "whole")
    evaluate(checkpoint, tmp_path / "plain")
    assert (tmp_path / "plain" / "rankings.csv").read_bytes() != (
        tmp_path / "whole" / "rankings.csv"
    ).read_bytes()
    assert "evaluated images of each camera" in str(numbers(tmp_path / "whole")["protocol"])


def test_a_loaded_model_says_that_it_leaves_the_cameras_out(checkpoint, caplog):
    model = reid_lightning.load(checkpoint, overrides=["evaluation.camera_statistics=6"])
    assert "its vectors here are normalized as in the training" in caplog.text
    assert model.protocol.camera_statistics is None
    assert model.protocol == reid_lightning.load(checkpoint).protocol


def test_a_part_that_was_killed_goes_on_where_it_was(checkpoint, tmp_path, monkeypatch):
    written, write = [], CollectedPieces.write

    def killed(self, piece, rows):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(piece)
        write(self, piece, rows)

    monkeypatch.setattr(CollectedPieces, "write", killed)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        evaluate_part(checkpoint, tmp_path / "shared", "1/1")
    assert written == [0, 1]
    again = []
    monkeypatch.setattr(
        CollectedPieces, "write", lambda self, piece, rows: (again.append(piece), write(self, piece, rows))
    )
    evaluate_part(checkpoint, tmp_path / "shared", "1/1")
    assert again[0] == 2
    evaluate(checkpoint, tmp_path / "whole")
    assert_same(tmp_path / "shared", tmp_path / "whole")


def test_the_command_line(checkpoint, tmp_path):
    shared = tmp_path / "shared"
    assert command("evaluate", checkpoint, "--output", shared, "--part", "1/2").exit_code == 0
    assert command("evaluate", checkpoint, "--output", shared, "--part", "2/2").exit_code == 0
    assert (shared / "report.html").is_file()
    with pytest.raises(InputError, match="holds an evaluation already, with all parts"):
        command("evaluate", checkpoint, "--output", shared, "--part", "2/2")
    with pytest.raises(InputError, match="--part shares the evaluation of one model on one data set"):
        command("evaluate", checkpoint, "data=table:a.csv,table:b.csv", "--part", "1/2")
    with pytest.raises(InputError, match="--part 3/2 is not a part of a whole"):
        command("evaluate", checkpoint, "--output", tmp_path / "wrong", "--part", "3/2")


def test_another_evaluation_and_damaged_pieces_are_refused(checkpoint, tmp_path):
    shared = tmp_path / "shared"
    evaluate_part(checkpoint, shared, "1/2")
    with pytest.raises(
        InputError, match="of an unfinished command with another protocol, precision or other"
    ):
        evaluate_part(checkpoint, shared, "2/2", EvaluationSettings(["evaluation.flip=true"]))
    with pytest.raises(InputError, match="with another batch size"):
        evaluate_part(checkpoint, shared, "2/2", EvaluationSettings(["data.batch_size=8"]))
    other = write_small_checkpoint(tmp_path / "other.ckpt", *PEOPLE, "attributes=market12", seed=1)
    with pytest.raises(InputError, match="with another model"):
        evaluate_part(other, shared, "2/2")


@pytest.mark.parametrize("content", [b"", b"of another piece"])
def test_a_damaged_piece_is_made_anew(checkpoint, tmp_path, content):
    shared, parts = tmp_path / "shared", tmp_path / "shared.parts"
    evaluate_part(checkpoint, shared, "1/2")
    piece = parts / "0000000.safetensors"
    piece.write_bytes((parts / "0000002.safetensors").read_bytes() if content else content)
    with pytest.raises(InputError, match=r"0000000\.safetensors was damaged and is removed"):
        evaluate_part(checkpoint, shared, "2/2")
    assert not (shared / "metrics.json").exists()
    evaluate_part(checkpoint, shared, "1/2")
    evaluate(checkpoint, tmp_path / "whole")
    assert_same(shared, tmp_path / "whole")


def test_a_task_that_collects_elsewhere_is_named():
    class Elsewhere(Task):
        name = "elsewhere"

        def update(self, network, features, batch):
            self.seen = batch

    require_collecting([Task()])
    with pytest.raises(InputError, match="the task elsewhere keeps what it collects in no RowMetric"):
        require_collecting([Elsewhere()])


def test_rows_that_are_in_order_are_not_copied(checkpoint, tmp_path):
    """What is read from files is ranked where it lies."""
    module = Evaluation.of(checkpoint, tmp_path / "e").module
    columns = {f"test.{name}": torch.arange(4) for name in ("index", *module.test.columns)}
    vectors = torch.rand(4, 3)
    CollectedRows(columns | {"test.vectors": vectors}).put_into(module)
    assert module.test.gathered()[1]["vectors"].data_ptr() == vectors.data_ptr()
    assert module.test.gathered()[0].tolist() == [0, 1, 2, 3]
