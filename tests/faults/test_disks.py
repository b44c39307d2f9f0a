"""Full disks and read-only folders end a run in one sentence, and what was there before stays whole."""

import shutil
import subprocess
from contextlib import contextmanager

import pytest
import torch
from tiny_run import TINY, ended_whole, numbers

from reid_lightning.experiments.resume import how_to_continue

GROUP = "Full disks and read-only folders"
MEGABYTE = 2**20


def mount(*arguments):
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine mounts nothing: {done.stderr.strip()}")


@contextmanager
def small_disk(folder, size):
    """Mount a file system of some bytes at a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False)


@contextmanager
def read_only(folder):
    folder.mkdir(parents=True, exist_ok=True)
    mount("--bind", folder, folder)
    try:
        mount("-o", "remount,ro,bind", folder)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False)


@pytest.fixture(scope="module")
def whole(commands, tmp_path_factory):
    """Return the folder of an uninterrupted run, and its cache."""
    folder = tmp_path_factory.mktemp("whole")
    ended = commands.run(
        "train.py", *TINY, f"hydra.run.dir={folder / 'run'}", REID_LIGHTNING_CACHE=str(folder / "cache")
    )
    assert ended.code == 0, ended.err[-3000:]
    return folder / "run", folder / "cache"


def checkpoint_size(run):
    return (run / "checkpoints" / "last.ckpt").stat().st_size


# How many checkpoints fit, and bytes beside them: the disk is full while the next one, or what follows, is written.
ROOM = {
    "the folder's first files": (0, 10_000),
    "the first checkpoint": (0.5, 0),
    "the second checkpoint": (1.5, 0),
    "a checkpoint beside the old one": (2.5, 0),
    "the numbers": (2.02, 0),
    "the pictures": (3.1, 0),
}


@pytest.mark.parametrize("writing", ROOM)
@pytest.mark.fault(GROUP, "the disk of the run's folder is full")
def test_a_run_on_a_full_disk_continues_when_there_is_room(commands, whole, tmp_path, writing, seen):
    expected, cache = whole
    checkpoints, more = ROOM[writing]
    disk = tmp_path / "disk"
    run = disk / "run"
    command = ["train.py", *TINY, f"hydra.run.dir={run}"]
    with small_disk(disk, int(checkpoints * checkpoint_size(expected)) + more):
        filler = disk / "filler"
        if writing == "the pictures":  # room that is taken after the training
            started = commands.start(*command, REID_LIGHTNING_CACHE=str(cache))
            assert started.until(lambda: "epoch 2/2" in started.out)
            fill(filler)
            ended = started.wait()
        else:
            ended = commands.run(*command, REID_LIGHTNING_CACHE=str(cache))
        sentence = ended.sentence
        assert str(disk) in sentence
        assert "full" in sentence
        for file in (run / "checkpoints").glob("*.ckpt"):
            torch.load(file, weights_only=True)
        filler.unlink(missing_ok=True)
        mount("-o", "remount,size=200m", disk)
        resume = ["resume=last"] if (run / "checkpoints" / "last.ckpt").exists() else []
        again = commands.run(*command, *resume, REID_LIGHTNING_CACHE=str(cache))
        assert again.code == 0, again.err[-3000:]
        assert numbers(run) == numbers(expected)
        ended_whole(run)
        seen(sentence.replace(str(run), "DIR"))


def fill(file):
    """Take all the room that is left."""
    with file.open("wb", buffering=0) as handle:
        for size in (MEGABYTE, 4096):
            try:
                while handle.write(bytes(size)):
                    pass
            except OSError:
                pass


@pytest.mark.parametrize("room", [0.1, 0.3, 0.5])
@pytest.mark.fault(GROUP, "the disk of the cache is full while people are drawn or images decoded")
def test_a_full_cache_disk(commands, tmp_path, room, seen):
    with small_disk(tmp_path / "cache", int(room * MEGABYTE)) as cache:
        command = ["train.py", *TINY, f"hydra.run.dir={tmp_path / 'run'}"]
        sentence = commands.run(*command, REID_LIGHTNING_CACHE=str(cache)).sentence
        assert str(cache) in sentence
        assert not list(cache.glob("**/*.part*"))
        mount("-o", "remount,size=200m", cache)
        assert commands.run(*command, REID_LIGHTNING_CACHE=str(cache)).code == 0
        seen(sentence.replace(str(cache), "CACHE"))


@pytest.mark.parametrize("option", ["logger=wandb", "logger=tensorboard"])
@pytest.mark.fault(GROUP, "the disk of a logger is full")
def test_a_full_disk_of_a_logger(commands, whole, tmp_path, option, seen):
    expected, cache = whole
    with small_disk(tmp_path / "disk", int(2.5 * checkpoint_size(expected))) as disk:
        command = ["train.py", *TINY, option, f"hydra.run.dir={disk / 'run'}"]
        seen(commands.run(*command, REID_LIGHTNING_CACHE=str(cache)).sentence.replace(str(disk), "DISK"))


@pytest.mark.parametrize("several", [False, True], ids=["run", "sweep"])
@pytest.mark.fault(GROUP, "a read-only folder for the run")
def test_a_read_only_folder(commands, tmp_path, several, seen):
    with read_only(tmp_path / "out") as folder:
        where = ["-m", f"hydra.sweep.dir={folder / 'x'}"] if several else [f"hydra.run.dir={folder / 'x'}"]
        sentence = commands.run("train.py", *where, *TINY).sentence
        assert str(folder) in sentence
        assert "read-only" in sentence
        seen(sentence.replace(str(folder), "DIR"))


@pytest.mark.fault(GROUP, "a run's folder that has become read-only")
def test_a_run_that_cannot_be_continued_where_it_is_stays_as_it_is(commands, whole, tmp_path, seen):
    expected, cache = whole
    shutil.copytree(expected, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    with read_only(tmp_path / "run") as folder:
        command = ["train.py", *TINY, "trainer.max_epochs=3", "resume=last", f"hydra.run.dir={folder}"]
        sentence = commands.run(*command, REID_LIGHTNING_CACHE=str(cache)).sentence
        assert "read-only" in sentence
        seen(sentence.replace(str(folder), "DIR"))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before
    assert "had finished" in how_to_continue(tmp_path / "run", sweeping=False)
