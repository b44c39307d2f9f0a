"""Two commands at once: each has its result, waits, or says who is in its way."""

import re
import signal

import pytest
from tiny_run import TINY, ended_whole, numbers

GROUP = "Two at once"


@pytest.fixture(scope="module")
def whole(commands, tmp_path_factory):
    """Return the folder of an undisturbed run, and its cache."""
    folder = tmp_path_factory.mktemp("whole")
    ended = commands.run(
        "train.py", *TINY, f"hydra.run.dir={folder / 'run'}", REID_LIGHTNING_CACHE=str(folder / "cache")
    )
    assert ended.code == 0, ended.err[-3000:]
    return folder / "run", folder / "cache"


@pytest.mark.parametrize("more", [[], ["seed=2"], ["resume=last"]], ids=["same", "other seed", "resume"])
@pytest.mark.fault(GROUP, "a run in the folder of another that is at work")
def test_the_second_run_in_a_folder_is_refused(commands, whole, tmp_path, more, seen):
    expected, cache = whole
    run = tmp_path / "run"
    command = ["train.py", *TINY, f"hydra.run.dir={run}"]
    first = commands.start(*command, REID_LIGHTNING_CACHE=str(cache))
    assert first.until(lambda: (run / "checkpoints" / "last.ckpt").exists())
    first.signal(signal.SIGSTOP)  # it must not end meanwhile
    sentence = commands.run(*command, *more, REID_LIGHTNING_CACHE=str(cache)).sentence
    first.signal(signal.SIGCONT)
    assert "another run is active in" in sentence
    assert first.wait().code == 0
    assert numbers(run) == numbers(expected)
    ended_whole(run)
    seen(sentence.replace(str(run), "DIR"))


@pytest.mark.fault(GROUP, "two runs that start in one folder at the same moment")
def test_one_of_two_runs_trains(commands, whole, tmp_path, seen):
    expected, cache = whole
    run = tmp_path / "run"
    command = ["train.py", *TINY, f"hydra.run.dir={run}"]
    both = [commands.start(*command, REID_LIGHTNING_CACHE=str(cache)) for _ in range(2)]
    ended = sorted((started.wait() for started in both), key=lambda one: one.code)
    assert ended[0].code == 0, ended[0].err
    sentence = ended[1].sentence
    assert re.search("another run is active in|already holds a run", sentence)
    assert numbers(run) == numbers(expected)
    ended_whole(run)
    seen(sentence.replace(str(run), "DIR"))


@pytest.mark.fault(GROUP, "two runs on a fresh cache")
def test_two_runs_on_a_fresh_cache(commands, whole, tmp_path, seen):
    expected, _ = whole
    both = [
        commands.start(
            "train.py",
            *TINY,
            f"hydra.run.dir={tmp_path / name}",
            REID_LIGHTNING_CACHE=str(tmp_path / "cache"),
        )
        for name in ("a", "b")
    ]
    for started in both:
        assert started.wait().code == 0, started.err[-2000:]
    for name in ("a", "b"):
        assert numbers(tmp_path / name) == numbers(expected)
    assert not list((tmp_path / "cache").glob("**/*.part*"))
    seen("Nothing: one draws and decodes, and the other waits.")


@pytest.mark.fault(GROUP, "two sweeps in one folder")
def test_two_sweeps_share_their_jobs(commands, whole, tmp_path, seen):
    expected, cache = whole
    command = ["train.py", "-m", *TINY, "seed=1,2", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    both = [commands.start(*command, REID_LIGHTNING_CACHE=str(cache)) for _ in range(2)]
    ended = [started.wait() for started in both]
    assert [one.code for one in ended] == [0, 0], [one.err[-2000:] for one in ended]
    said = ended[0].out + ended[1].out
    assert said.count("finished already") == 2
    jobs = [file.parent for file in (tmp_path / "sweep").glob("*/config.yaml")]
    assert len(jobs) == 2
    for job in jobs:
        ended_whole(job, brief=True)
    assert numbers(next(job for job in jobs if "seed-1" in job.name)) == numbers(expected)
    seen("another sweep is at this job, waiting for its result")


@pytest.mark.fault(GROUP, "evaluation of a checkpoint that a run keeps replacing")
def test_a_checkpoint_can_be_evaluated_while_its_run_goes_on(commands, whole, tmp_path, seen):
    _, cache = whole
    run = tmp_path / "run"
    last = run / "checkpoints" / "last.ckpt"
    training = commands.start(
        "train.py", *TINY, "trainer.max_epochs=60", f"hydra.run.dir={run}", REID_LIGHTNING_CACHE=str(cache)
    )
    assert training.until(last.exists)
    ended = commands.run(
        "reid", "evaluate", last, "--output", tmp_path / "out", REID_LIGHTNING_CACHE=str(cache)
    )
    assert training.runs
    training.kill()
    assert ended.code == 0, ended.err[-2000:]
    assert (tmp_path / "out" / "metrics.json").exists()
    seen("The numbers of the checkpoint as it was when it was read.")
