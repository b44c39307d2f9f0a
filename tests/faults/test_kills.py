"""Runs that are killed or stopped at any moment end like one that was never interrupted, to the digit."""

import random
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from tiny_run import TINY, ended_whole, numbers

from reid_lightning.results.finished import is_finished

GROUP = "Kills and signals"
EPOCH = 5  # rows of training that the tiny run logs in an epoch

# The moment of a kill: what is waited for, and the seconds after it at most.
MOMENTS = {
    "drawing": (lambda run: list(run.cache.glob(".pedestrians-*.part*")), 1.5),
    "decoding": (lambda run: any((run.cache / "images").glob("*")), 0.3),
    "training": (lambda run: rows(run.folder) >= 1, 0.5),
    "validation": (lambda run: rows(run.folder) in (EPOCH, EPOCH + 1), 0.1),
    "writing a checkpoint": (lambda run: list((run.folder / "checkpoints").glob(".*.part*")), 0.05),
    "after a checkpoint": (lambda run: (run.folder / "checkpoints" / "last.ckpt").exists(), 0.1),
    "test": (lambda run: "epoch 2/2" in run.started.out, 0.4),
    "report": (lambda run: (run.folder / "metrics.json").exists(), 0.4),
    "refit": (lambda run: (run.folder / "refit" / "metrics.csv").exists(), 1.0),
}
KILLS = dict.fromkeys(MOMENTS, 6) | {"drawing": 4, "decoding": 4, "refit": 2, "after a checkpoint": 4}
SIGNALS = [("drawing", signal.SIGTERM), ("training", signal.SIGTERM), ("training", signal.SIGINT)]
SIGNALS += [("after a checkpoint", number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)]
SIGNALS += [("test", signal.SIGTERM), ("report", signal.SIGTERM), ("report", signal.SIGINT)]


def rows(folder):
    file = folder / "metrics.csv"
    return file.read_bytes().count(b"\n") - 1 if file.exists() else 0


class Run:
    """One tiny run in a folder, with a cache that may be its own."""

    def __init__(self, commands, folder, cache, *settings):
        self.commands, self.folder, self.cache, self.settings = commands, folder, cache, settings

    def start(self, *more):
        self.started = self.commands.start(
            "train.py",
            *TINY,
            *self.settings,
            f"hydra.run.dir={self.folder}",
            *more,
            REID_LIGHTNING_CACHE=str(self.cache),
        )
        return self.started

    def finish(self):
        """Continue it as its user would: with resume=last where a checkpoint is, with the same command otherwise."""
        last = (self.folder / "checkpoints" / "last.ckpt").exists()
        ended = self.start(*(["resume=last"] if last else [])).wait()
        assert ended.code == 0, ended.err[-3000:]
        return ended


@pytest.fixture(scope="module")
def whole(commands, tmp_path_factory):
    """Return the uninterrupted run, whose cache others read."""
    folder = tmp_path_factory.mktemp("whole")
    run = Run(commands, folder / "run", folder / "cache")
    run.finish()
    return run


@pytest.fixture(scope="module")
def refitted(commands, whole, tmp_path_factory):
    run = Run(commands, tmp_path_factory.mktemp("refitted") / "run", whole.cache, "refit=true")
    run.finish()
    return run


@pytest.mark.parametrize(
    ("moment", "number"), [(name, number) for name, count in KILLS.items() for number in range(count)]
)
@pytest.mark.fault(GROUP, "SIGKILL at a random moment, then the command that continues")
def test_a_killed_run_ends_like_an_uninterrupted_one(
    commands, whole, tmp_path, request, moment, number, seen
):
    expected = request.getfixturevalue("refitted") if moment == "refit" else whole
    cache = whole.cache
    if moment in ("drawing", "decoding"):
        cache = tmp_path / "cache"
    if moment == "decoding":
        shutil.copytree(whole.cache, cache, ignore=shutil.ignore_patterns("images"))
    shorter = () if moment in ("test", "report") else ("page=brief",)  # the numbers are the same
    run = Run(commands, tmp_path / "run", cache, *expected.settings, *shorter)
    reached, longest = MOMENTS[moment]
    run.start()
    assert run.started.until(lambda: reached(run)), run.started.err[-2000:]
    run.started.after(random.Random(f"{moment} {number}").uniform(0, longest))
    # A report takes less than a second: where a run was faster than the kill, its result must be there.
    assert run.started.kill().code == -signal.SIGKILL or (moment == "report" and is_finished(run.folder))
    before = sorted(path.name for path in (run.folder / "checkpoints").glob("[!.]*.ckpt"))
    for name in before:  # whole at any moment
        torch.load(run.folder / "checkpoints" / name, weights_only=True)
    if not is_finished(run.folder):
        run.finish()
    assert numbers(run.folder) == numbers(expected.folder)
    ended_whole(run.folder, brief=bool(shorter))
    assert not list(cache.glob("**/*.part*"))
    seen("Nothing; the next command continues after the last whole epoch and ends with the same numbers.")


@pytest.mark.fault(GROUP, "SIGKILL in a sweep, then the same command")
def test_a_killed_sweep(commands, whole, tmp_path, seen):
    command = ["train.py", "-m", *TINY, "seed=1,2", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    started = commands.start(*command, REID_LIGHTNING_CACHE=str(whole.cache))
    assert started.until(lambda: len(list((tmp_path / "sweep").glob("*/metrics.json"))) == 2)
    started.kill()
    ended = commands.run(*command, REID_LIGHTNING_CACHE=str(whole.cache))
    assert ended.code == 0
    assert ended.out.count("finished already") == 1
    assert "continued from its last checkpoint" in ended.out
    first = next(path for path in (tmp_path / "sweep").glob("*seed-1*") if path.is_dir())
    assert numbers(first) == numbers(whole.folder)
    for job in (tmp_path / "sweep").glob("*/config.yaml"):
        ended_whole(job.parent, brief=True)
    seen("2 of 2 jobs finished")


STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR2: 143}


@pytest.mark.parametrize(("moment", "number"), SIGNALS)
@pytest.mark.fault(GROUP, "SIGTERM, Ctrl+C and SLURM's warning (SIGUSR2)")
def test_a_signal_ends_the_run_at_once_and_the_hint_continues_it(
    commands, whole, tmp_path, moment, number, seen
):
    cache = tmp_path / "cache" if moment == "drawing" else whole.cache
    run = Run(commands, tmp_path / "run", cache)
    run.start()
    assert run.started.until(lambda: MOMENTS[moment][0](run))
    run.started.signal(number)
    ended = run.started.wait(60)
    assert ended.code == STATUS[number], ended.err
    assert "Traceback" not in ended.err
    (hint,) = [line for line in ended.err.splitlines() if line.startswith("Interrupted")]
    last = run.folder / "checkpoints" / "last.ckpt"
    if last.exists():
        epochs = torch.load(last, weights_only=True)["epoch"] + 1
        assert hint.endswith(f"to continue after epoch {epochs}.")
        (place,) = re.findall(r"hydra\.run\.dir=(\S+) resume=last", hint)
        assert Path(place) == run.folder
    else:
        assert "There is no checkpoint yet" in hint
    if moment == "training" or not last.exists():
        seen(hint.replace(str(run.folder), "DIR"))
    run.finish()
    assert numbers(run.folder) == numbers(whole.folder)
    assert not list(cache.glob("**/*.part*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.fault(GROUP, "SIGTERM and Ctrl+C to a job of two processes")
def test_a_signal_ends_all_processes_of_a_job(commands, whole, tmp_path, number, seen):
    run = Run(commands, tmp_path / "run", whole.cache, "trainer.devices=2", "trainer.max_epochs=30")
    run.start()
    assert run.started.until(lambda: (run.folder / "checkpoints" / "last.ckpt").exists())
    run.started.signal(number)
    ended = run.started.wait(60)
    assert ended.code == STATUS[number], ended.err
    commands_left = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [line for line in commands_left if str(run.folder).encode() in line]
    assert ended.err.count("Interrupted.") == 1
    seen(ended.err.splitlines()[-1].replace(str(run.folder), "DIR"))


@pytest.mark.parametrize("left", ["nothing", "the first half", "zeros"])
@pytest.mark.fault(GROUP, "a damaged last.ckpt (of an earlier version, or a bad disk)")
def test_a_damaged_last_checkpoint_falls_back_to_the_best(commands, whole, tmp_path, left, seen):
    run = Run(commands, tmp_path / "run", whole.cache)
    shutil.copytree(whole.folder, run.folder)
    last = run.folder / "checkpoints" / "last.ckpt"
    content = last.read_bytes()
    last.write_bytes(
        {"nothing": b"", "the first half": content[: len(content) // 2], "zeros": bytes(9999)}[left]
    )
    (run.folder / "run.json").unlink()
    (run.folder / "report.html").unlink()
    ended = run.finish()
    (said,) = [line for line in (ended.out + ended.err).splitlines() if "is damaged" in line]
    assert "best.ckpt" in said
    assert numbers(run.folder) == numbers(whole.folder)
    last.write_bytes(b"")
    (run.folder / "checkpoints" / "best.ckpt").write_bytes(b"")
    sentence = run.start("resume=last").wait().sentence
    assert "delete" in sentence
    seen(sentence.replace(str(run.folder), "DIR"))


@pytest.mark.fault(GROUP, "results of an earlier version, which have no mark of their end")
def test_a_finished_run_of_an_earlier_version_is_finished(commands, whole, tmp_path, seen):
    run = Run(commands, tmp_path / "run", whole.cache)
    shutil.copytree(whole.folder, run.folder)
    (run.folder / "run.json").unlink()
    sentence = run.start("resume=last").wait().sentence
    assert "already been trained for its 2 epochs" in sentence
    seen(sentence.replace(str(run.folder), "DIR"))
