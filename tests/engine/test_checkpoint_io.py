"""Checkpoints are written whole or not at all, and their paths follow a folder that is moved."""

import errno

import pytest
import torch

from reid_lightning.engine.checkpoint_io import AtomicCheckpointIO
from reid_lightning.errors import InputError


def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    file = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, file)

    def full(checkpoint, handle):
        handle.write(b"half of it")
        raise RuntimeError(
            "[enforce fail at inline_container.cc:664] . PytorchStreamWriter failed writing file"
        )

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match=f"disk of {tmp_path} is full"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, file)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    assert AtomicCheckpointIO().load_checkpoint(file, weights_only=True) == {"epoch": 1}


def test_an_error_of_the_system_below_one_of_torch_is_the_one_that_counts(tmp_path):
    class Full:
        def write(self, content):
            raise OSError(errno.ENOSPC, "No space left on device")

        def flush(self):
            pass

    with pytest.raises((OSError, RuntimeError)) as raised:
        torch.save({"weights": torch.zeros(10)}, Full())
    chain = [raised.value, raised.value.__context__]
    assert any(isinstance(error, OSError) or "PytorchStreamWriter failed" in str(error) for error in chain)


def test_an_error_that_is_not_of_the_disk_stays_what_it_is(tmp_path):
    with pytest.raises(Exception, match="pickle"):
        AtomicCheckpointIO().save_checkpoint({"no": lambda: None}, tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())


def test_paths_follow_a_folder_that_was_moved(tmp_path):
    state = {
        "dirpath": "/gone/checkpoints",
        "best_model_path": "/gone/checkpoints/best.ckpt",
        "kth_best_model_path": "/gone/checkpoints/best.ckpt",
        "last_model_path": "",
        "best_k_models": {"/gone/checkpoints/best.ckpt": torch.tensor(0.5)},
    }
    file = tmp_path.resolve() / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"callbacks": {"best": state, "other": {"epochs": 1}}}, file)
    read = AtomicCheckpointIO().load_checkpoint(file, weights_only=True)["callbacks"]
    best = str(tmp_path.resolve() / "best.ckpt")
    assert read["best"]["best_model_path"] == read["best"]["kth_best_model_path"] == best
    assert list(read["best"]["best_k_models"]) == [best]
    assert read["best"]["dirpath"] == str(tmp_path.resolve())
    assert read["other"] == {"epochs": 1}
