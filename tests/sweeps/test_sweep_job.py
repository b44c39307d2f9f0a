"""A job of a sweep is trained as far as it has not been: what happens to its folder, and whole sweeps that are killed."""

import fcntl
import json
import logging
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import environment, run_forked, start_forked, train_arguments, wait_until
from omegaconf import OmegaConf

from reid_lightning.errors import InputError
from reid_lightning.results.finished import mark
from reid_lightning.results.page_header import commit
from reid_lightning.sweeps import job as sweep_job
from reid_lightning.sweeps.fingerprint import JobFingerprint
from reid_lightning.sweeps.job import run_in_sweep
from reid_lightning.sweeps.reader import read_sweep

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Return a job in `folder` whose `train` stands for a training, with the `resume` of every call in `calls`."""
    made = SimpleNamespace(
        folder=tmp_path / "job", calls=[], identity=JobFingerprint("a", "b", "c"), train=finish
    )
    made.folder.mkdir()
    hydra = OmegaConf.create(
        {
            "runtime": {"output_dir": str(made.folder)},
            "overrides": {"task": []},
            "job": {"config": {"override_dirname": {"exclude_keys": []}}},
        }
    )
    monkeypatch.setattr(sweep_job.HydraConfig, "get", lambda: hydra)
    monkeypatch.setattr(sweep_job, "fingerprint", lambda *_: made.identity)

    def run_job(config, tables, locked):
        assert locked
        made.calls.append(config["resume"])
        return made.train(made.folder)

    monkeypatch.setattr("reid_lightning.experiments.run.run_job", run_job)
    made.run = lambda **settings: run_in_sweep(
        OmegaConf.create({"output_dir": str(made.folder), "resume": None, "refit": False} | settings)
    )
    return made


def finish(folder):
    (folder / "metrics.json").write_text(json.dumps({"score": 0.5}))
    mark(folder, finished=True)
    return SimpleNamespace(score=0.5)


def half(folder):
    (folder / "checkpoints").mkdir(exist_ok=True)
    torch.save({}, folder / "checkpoints" / "last.ckpt")
    (folder / "metrics.csv").write_text("epoch\n0\n")
    (folder / "wandb_id").write_text("old")
    raise KeyboardInterrupt


def test_a_finished_job_is_not_trained_again(job, caplog):
    caplog.set_level(logging.INFO)
    assert job.run() == job.run() == 0.5
    assert job.calls == [None]
    assert "finished already" in caplog.text
    identity = json.loads((job.folder / "identity.json").read_text())
    assert "core" in identity["machine"] or torch.cuda.is_available()  # for the header of the sweep's page
    assert identity["commit"] == commit()


@pytest.mark.parametrize("refit", [False, True])
def test_a_half_finished_job_is_continued(job, refit):
    job.train = half
    with pytest.raises(KeyboardInterrupt):
        job.run()
    job.train = finish
    assert job.run(refit=refit) == 0.5
    assert job.calls == [None, "last"]
    assert (job.folder / "metrics.csv").is_file()


@pytest.mark.parametrize("left", ["no checkpoint", "torn checkpoint"])
def test_what_cannot_be_continued_starts_anew(job, left):
    job.train = half
    with pytest.raises(KeyboardInterrupt):
        job.run()
    last = job.folder / "checkpoints" / "last.ckpt"
    if left == "no checkpoint":
        last.unlink()
    elif left == "torn checkpoint":
        last.write_bytes(last.read_bytes()[:-50])

    def fresh(folder):
        assert sorted(path.name for path in folder.iterdir()) == [".lock", "identity.json", "run.json"]
        return finish(folder)

    job.train = fresh
    assert job.run() == 0.5
    assert job.calls == [None, None]


def test_results_that_were_being_written_do_not_count(job):
    def killed(folder):
        finish(folder)
        mark(folder, finished=False)
        half(folder)

    job.train = killed
    with pytest.raises(KeyboardInterrupt):
        job.run()

    def resumed(folder):
        assert not (folder / "metrics.json").exists()
        return finish(folder)

    job.train = resumed
    assert job.run() == 0.5
    assert job.calls == [None, "last"]


def test_a_job_that_a_time_limit_has_ended_goes_on(job):
    def pause(folder):
        (folder / "checkpoints").mkdir()
        torch.save({}, folder / "checkpoints" / "last.ckpt")

    job.train = pause
    assert job.run() is None
    job.train = finish
    assert job.run() == 0.5
    assert job.calls == [None, "last"]


def test_a_failed_job_runs_again(job):
    def fail(folder):
        raise InputError("no")

    job.train = fail
    for _ in range(2):
        with pytest.raises(InputError):
            job.run()
    job.train = finish
    assert job.run() == 0.5
    assert job.calls == [None] * 3


def test_the_result_of_another_job_is_neither_taken_nor_removed(job):
    job.run()
    job.identity = JobFingerprint("a", "b", "changed")
    job.run()
    assert job.calls == [None, None]

    job.train = half
    job.identity = JobFingerprint("a", "b", "again changed")
    with pytest.raises(KeyboardInterrupt):
        job.run()
    job.identity = JobFingerprint("a", "b", "changed once more")
    job.train = lambda folder: (folder / "checkpoints" / "last.ckpt").stat() and finish(folder)
    assert job.run() == 0.5


def test_a_second_sweep_waits_and_takes_the_result(job, caplog):
    caplog.set_level(logging.INFO)
    begun, may_end = threading.Event(), threading.Event()

    def slow(folder):
        begun.set()
        assert may_end.wait(30)
        return finish(folder)

    job.train = slow
    scores = []
    sweeps = [threading.Thread(target=lambda: scores.append(job.run())) for _ in range(2)]
    sweeps[0].start()
    assert begun.wait(30)
    sweeps[1].start()
    deadline = time.monotonic() + 30
    while "another sweep is at this job" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.01)
    may_end.set()
    for sweep in sweeps:
        sweep.join(30)
    assert scores == [0.5, 0.5]
    assert job.calls == [None]
    assert "another sweep is at this job" in caplog.text


def test_only_the_first_process_of_a_job_locks_and_writes(job, monkeypatch):
    from lightning.pytorch.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    with (job.folder / ".lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # the first one is at it
        job.train = lambda folder: None
        assert job.run() is None
    assert not (job.folder / "identity.json").exists()


WATCH = """
import pathlib, time, lightning
class Watch(lightning.Callback):
    '''Writes down every epoch that ends, and never ends the second one of a job that is to be killed.'''
    def __init__(self, folder, stall):
        self.folder, self.stall = pathlib.Path(folder), stall
    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 1 and module.config["seed"] == self.stall and not (self.folder / "go").exists():
            (self.folder / "stalled").write_text("")
            time.sleep(600)
    def on_train_epoch_end(self, trainer, module):
        with (self.folder / "epochs").open("a") as file:
            print(module.config["seed"], trainer.current_epoch, file=file)
"""


def sweep_command(tiny, folder, *overrides):
    return train_arguments(*tiny, "trainer.max_epochs=2", *overrides, folder=folder / "sweep", multirun=True)


def run(command, folder, code=0):
    return run_forked(*command, code=code, where=environment(PYTHONPATH=str(folder)))


def results(folder):
    return {
        path.parent.name: json.loads(path.read_text())["test"]
        for path in (folder / "sweep").glob("*/metrics.json")
    }


@pytest.mark.slow
def test_a_killed_sweep_is_continued_by_the_same_command(tiny, tmp_path):
    (tmp_path / "watch.py").write_text(WATCH)
    watch = f"+callbacks.watch={{_target_: watch.Watch, folder: '{tmp_path}', stall: 2}}"
    command = sweep_command(tiny, tmp_path, "seed=1,2,3,4", watch)
    where = environment(PYTHONPATH=str(tmp_path))
    started = start_forked(*command, where=where)
    try:
        wait_until((tmp_path / "stalled").exists, started, seconds=300)
    finally:
        killed = started.kill()
    assert killed.code == -signal.SIGKILL
    assert len(results(tmp_path)) == 1

    (tmp_path / "go").write_text("")
    done = run(command, tmp_path)
    assert "4 of 4 jobs finished" in done.stdout
    assert len(results(tmp_path)) == 4
    epochs = (tmp_path / "epochs").read_text().split("\n")[:-1]
    assert sorted(epochs) == [f"{seed} {epoch}" for seed in range(1, 5) for epoch in range(2)]  # each once

    before = results(tmp_path)
    again = run(command, tmp_path)
    assert (again.stdout + again.stderr).count("finished already") == 4
    assert results(tmp_path) == before
    assert len((tmp_path / "epochs").read_text().split()) == 16


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_test_is_only_tested(tiny, tmp_path):
    command = sweep_command(tiny, tmp_path, "seed=1")
    run(command, tmp_path)
    before = results(tmp_path)
    folder = next((tmp_path / "sweep").glob("*/metrics.json")).parent
    (folder / "metrics.json").unlink()
    mark(folder, finished=False)
    trained = (folder / "metrics.csv").read_text().count("\n")
    run(command, tmp_path)
    assert results(tmp_path) == before
    assert (folder / "metrics.csv").read_text().count("\n") == trained


@pytest.mark.slow
def test_a_poisoned_job_is_told_and_the_others_have_results(tiny, tmp_path):
    command = sweep_command(tiny, tmp_path, "sampler.identities=2,50,3", "trainer.max_epochs=1")
    done = run(command, tmp_path, code=1)
    assert "Traceback" not in done.stderr
    assert "2 of 3 jobs finished" in done.stdout
    assert done.stdout.count("failed: job") == 1
    assert "(sampler.identities=50, seed 1): sampler.identities must be at most" in done.stdout
    assert done.stdout.endswith(run_forked("reid", "report", "sweep", tmp_path / "sweep").stdout)
    jobs = read_sweep(tmp_path / "sweep")
    (reason,) = jobs["failure"].dropna()
    assert "sampler.identities must be at most" in reason
    again = run(command, tmp_path, code=1)
    assert (again.stdout + again.stderr).count("finished already") == 2


@pytest.mark.slow
def test_changed_data_and_changed_defaults_are_trained_again(tiny, tmp_path):
    from reid_lightning.data.pedestrians.dataset import read_pedestrians

    people = read_pedestrians(root=tmp_path / "people", train_identities=10, test_identities=6, processes=1)
    people[["path", "person_id", "split", "camera_id"]].to_csv(tmp_path / "people.csv", index=False)
    (tmp_path / "experiment").mkdir()
    default = tmp_path / "experiment" / "mine.yaml"
    default.write_text("# @package _global_\noptimizer:\n  lr: 0.001\n")
    options = [part for part in tiny if "pedestrians" not in part]
    options += ["data=table", f"data.root={tmp_path / 'people.csv'}", "backbone.weights=null"]
    options += [f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine", "seed=1"]
    command = sweep_command(options, tmp_path, "trainer.max_epochs=1")
    for change, trained in (
        (lambda: None, 1),
        (lambda: os.utime(next(tmp_path.glob("people/bounding_box_train/*.jpg")), (1, 1)), 2),
        (lambda: default.write_text(default.read_text().replace("0.001", "0.002")), 3),
        (lambda: default.write_text(default.read_text().replace("0.002", "0.001")), 3),  # known already
    ):
        change()
        done = run(command, tmp_path)
        assert len(results(tmp_path)) == trained
        assert len(read_sweep(tmp_path / "sweep")) == 1  # what was there before does not count
        assert "1 of 1 jobs finished" in done.stdout
