"""A job ends between epochs before its time is over; what pieces train together is tested with benchmarks/market.py."""

from types import SimpleNamespace

import pytest

from reid_lightning.engine.callbacks import time_limit as callbacks
from reid_lightning.errors import InputError
from reid_lightning.experiments.checks import check_run


def ends_after(monkeypatch, lengths, deadline):
    """Return after how many epochs of given seconds a run ends, and the files that it has written until then."""
    clock, files = [100.0], []
    monkeypatch.setattr(callbacks.time, "perf_counter", lambda: clock[0])
    limit = callbacks.TimeLimit(100.0 + deadline, "last.ckpt")
    trainer = SimpleNamespace(
        strategy=SimpleNamespace(broadcast=lambda decision: decision),
        should_stop=False,
        current_epoch=0,
        max_epochs=len(lengths),
        save_checkpoint=files.append,
    )
    for trainer.current_epoch, seconds in enumerate(lengths):
        limit.on_train_epoch_start(trainer, None)
        clock[0] += seconds
        limit.on_train_epoch_end(trainer, None)
        if trainer.should_stop:
            break
    assert limit.ended == trainer.should_stop == (files == ["last.ckpt"])
    return trainer.current_epoch + 1


def test_a_run_ends_after_the_last_epoch_that_fits(monkeypatch):
    assert ends_after(monkeypatch, [10] * 9, deadline=45) == 4  # the fifth would end at 50
    assert ends_after(monkeypatch, [10] * 9, deadline=50.9) == 4  # a tenth of an epoch to spare
    assert ends_after(monkeypatch, [10] * 9, deadline=51.1) == 5


def test_the_first_epoch_does_not_count_as_the_longest_but_validation_does(monkeypatch):
    assert ends_after(monkeypatch, [40, 10, 10, 10, 10, 10], deadline=85) == 5
    assert ends_after(monkeypatch, [10, 10, 30, 10, 10, 10], deadline=85) == 4


def test_an_epoch_is_always_trained_and_the_last_one_always_tested(monkeypatch):
    assert ends_after(monkeypatch, [10, 10], deadline=0.01) == 1
    monkeypatch.undo()
    limit = callbacks.TimeLimit(0.0, "last.ckpt")
    trainer = SimpleNamespace(
        strategy=SimpleNamespace(broadcast=bool), should_stop=False, current_epoch=4, max_epochs=5
    )
    limit.on_train_epoch_start(trainer, None)
    limit.on_train_epoch_end(trainer, None)
    assert not limit.ended


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [(["time_limit=0"], "> 0"), (["time_limit=5", "refit=true"], "refit")],
)
def test_limits_that_cannot_be_kept_are_errors(compose, overrides, sentence):
    with pytest.raises(InputError, match=f"time_limit.*{sentence}"):
        check_run(compose(*overrides))
