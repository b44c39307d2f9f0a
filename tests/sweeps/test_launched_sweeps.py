"""Whatever launches and draws the jobs of a sweep, they are the same jobs: same settings, same results to the digit."""

import json
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest
import yaml
from helpers import environment, start_forked, train, train_arguments, wait_until
from local_slurm import local_slurm, why_not

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
FOUR = ("loss=triplet,lossless", "seed=1,2", "trainer.max_epochs=1")
# Where every job is a process that imports everything.
TWO = (
    "loss=triplet,lossless",
    "seed=2",
    "trainer.max_epochs=1",
)
WITNESS = '''
import json
from pathlib import Path
from lightning import Callback

class Witness(Callback):
    """Every process writes what it trains with."""

    def on_train_start(self, trainer, module):
        drawn = {
            "lr": trainer.optimizers[0].param_groups[0]["initial_lr"],
            "margin": module.objective.losses["triplet"].margin,
            "processes": trainer.world_size,
        }
        path = Path(trainer.default_root_dir) / f"rank{trainer.global_rank}.json"
        path.write_text(json.dumps(drawn))
'''


def one_thread(**more):
    """Threads change the order of sums, and so the last digits."""
    return environment(OMP_NUM_THREADS="1", **more)


def sweep(tiny, folder, *arguments, where=None, code=0):
    return train(*tiny, *arguments, folder=folder, multirun=True, code=code, where=where or one_thread())


def start_sweep(tiny, folder, *arguments, where=None):
    command = train_arguments(*tiny, *arguments, folder=folder, multirun=True)
    return start_forked(*command, where=where or one_thread())


def results(folder):
    """Return the numbers of every job by its loss and seed."""
    found = {}
    for file in Path(folder).rglob("metrics.json"):
        config = yaml.safe_load((file.parent / "config.yaml").read_text())
        written = json.loads(file.read_text())
        found[*config["loss"], config["seed"]] = (written["score"], written["validation"], written["test"])
    return found


@pytest.fixture(scope="module")
def basic(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("basic")
    sweep(tiny, folder, *FOUR)
    found = results(folder)
    assert sorted(found) == [("lossless", 1), ("lossless", 2), ("triplet", 1), ("triplet", 2)]
    assert len({str(numbers) for numbers in found.values()}) == 4
    return found


def two_of(found):
    """Return the numbers of the jobs of `TWO` among those of `FOUR`."""
    return {job: numbers for job, numbers in found.items() if job[-1] == 2}


@pytest.fixture(scope="module")
def slurm():
    if why_not():
        pytest.skip(why_not())
    with local_slurm() as where:
        yield where | {"OMP_NUM_THREADS": "1"}


def test_joblib(basic, tiny, tmp_path):
    done = sweep(tiny, tmp_path, *FOUR, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert "4 of 4 jobs finished" in done.stdout
    assert results(tmp_path) == basic


def test_submitit_local(basic, tiny, tmp_path):
    done = sweep(tiny, tmp_path, *TWO, "hydra/launcher=submitit_local")
    assert "2 of 2 jobs finished" in done.stdout
    assert results(tmp_path) == two_of(basic)


def test_slurm(basic, tiny, tmp_path, slurm):
    done = sweep(tiny, tmp_path, *TWO, "hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", where=slurm)
    assert "2 of 2 jobs finished" in done.stdout
    assert results(tmp_path) == two_of(basic)


def test_processes_that_slurm_starts_are_one_job(tiny, tmp_path, slurm):
    two = ("trainer=ddp_cpu", "trainer.max_epochs=1", "seed=2")
    queued = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1")
    with_witness(tmp_path)
    where = slurm | {"PYTHONPATH": str(tmp_path)}
    sweep(tiny, tmp_path / "slurm", *two, *queued, "+callbacks.witness._target_=witness.Witness", where=where)
    sweep(tiny, tmp_path / "own", *two)
    assert len(results(tmp_path / "own")) == 1
    assert results(tmp_path / "slurm") == results(tmp_path / "own")
    for file in (tmp_path / "slurm").rglob("metrics.json"):
        ranks = seen(file.parent)
        assert ranks[0] == ranks[1]
        assert ranks[0]["processes"] == 2


def test_a_preempted_job_is_queued_again_and_continues(tiny, tmp_path, slurm):
    one = (*tiny, "trainer.max_epochs=12", "seed=1")
    queued = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1")
    sweep((), tmp_path / "uninterrupted", *one)
    process = start_sweep((), tmp_path / "preempted", *one, *queued, where=slurm)
    try:
        wait_until(lambda: any((tmp_path / "preempted").rglob("last.ckpt")), process)
        jobs = subprocess.run(
            ["squeue", "-h", "-o", "%A"], env=slurm, capture_output=True, text=True, check=True
        )
        for job in jobs.stdout.split():
            subprocess.run(["scancel", "--signal=USR2", job], env=slurm, check=True)
        ended = process.wait(300)
        assert ended.code == 0, ended.out[-3000:] + ended.err[-3000:]
    finally:
        process.kill()
    told = "".join(file.read_text() for file in (tmp_path / "preempted").rglob("*.out"))
    told += "".join(file.read_text() for file in (tmp_path / "preempted").rglob("*.err"))
    assert "continued from its last checkpoint" in told
    assert results(tmp_path / "preempted") == results(tmp_path / "uninterrupted")


def with_witness(folder):
    (folder / "witness.py").write_text(WITNESS)


def seen(job):
    return {int(file.stem[4:]): json.loads(file.read_text()) for file in job.glob("rank*.json")}


def trials(folder):
    """Return state, value and drawn numbers of every trial in a study's file."""
    with sqlite3.connect(folder / "study.db") as base:
        values = dict(base.execute("SELECT trial_id, value FROM trial_values"))
        drawn = {}
        for trial, name, value in base.execute("SELECT trial_id, param_name, param_value FROM trial_params"):
            drawn.setdefault(trial, {})[name] = value
        rows = base.execute("SELECT trial_id, state FROM trials ORDER BY number").fetchall()
    return [(state, values.get(trial), drawn.get(trial, {})) for trial, state in rows]


def test_both_processes_train_with_what_the_sampler_has_drawn(tiny, tmp_path):
    with_witness(tmp_path)
    where = one_thread(PYTHONPATH=str(tmp_path))
    search = (
        "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "trainer=ddp_cpu", "trainer.max_epochs=1",
        "optimizer.lr=tag(log,interval(1e-4,1e-2))", "loss.triplet.margin=interval(0.1,1.0)",
        "+callbacks.witness._target_=witness.Witness",
    )  # fmt: skip
    folder = tmp_path / "search"
    sweep(tiny, folder, *search, where=where)
    jobs = [seen(file.parent) for file in folder.rglob("metrics.json")]
    assert len(jobs) == 2
    for ranks in jobs:
        assert sorted(ranks) == [0, 1]
        assert ranks[0] == ranks[1]
        assert ranks[0]["processes"] == 2
    drawn = sorted(
        (numbers["optimizer.lr"], numbers["loss.triplet.margin"]) for _, _, numbers in trials(folder)
    )
    assert len(set(drawn)) == 2
    trained = sorted((ranks[0]["lr"], ranks[0]["margin"]) for ranks in jobs)
    for one, other in zip(trained, drawn, strict=True):
        assert one == pytest.approx(other)


def test_a_search_goes_on_where_it_was_killed(tiny, tmp_path):
    search = (
        "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "trainer.max_epochs=2",
        "optimizer.lr=tag(log,interval(1e-4,1e-2))",
    )  # fmt: skip
    process = start_sweep(tiny, tmp_path, *search)
    try:
        wait_until(lambda: len(list(tmp_path.rglob("metrics.json"))) >= 2, process)
        wait_until(lambda: len(list(tmp_path.rglob("last.ckpt"))) >= 3, process)  # in the middle of the third
    finally:
        killed = process.kill()
    assert killed.code == -signal.SIGKILL
    before = trials(tmp_path)
    sweep(tiny, tmp_path, *search)
    after = trials(tmp_path)
    finished = [(value, numbers) for state, value, numbers in after if state == "COMPLETE"]
    assert len(finished) == 4
    assert len({numbers["optimizer.lr"] for _, numbers in finished}) == 4  # none was drawn a second time
    assert before[2][2] in [numbers for _, numbers in finished]  # the third was tried again with its values
    scores = [json.loads(file.read_text())["score"] for file in tmp_path.rglob("metrics.json")]
    assert sorted(value for value, _ in finished) == pytest.approx(sorted(scores))
    again = sweep(tiny, tmp_path, *search)
    assert trials(tmp_path) == after  # nothing is left to try
    assert "4 of 4 jobs finished" in again.stdout


def test_a_failed_trial_does_not_end_a_search(tiny, tmp_path):
    search = (
        "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4",
        "hydra.sweeper.sampler._target_=optuna.samplers.RandomSampler",
        "trainer.max_epochs=1", "sampler.identities=choice(2,50)",
    )  # fmt: skip
    fitting = [item for item in tiny if "sampler.identities" not in item]
    done = sweep(fitting, tmp_path, *search, code=1)
    assert "Traceback" not in done.stderr
    states = [state for state, _, _ in trials(tmp_path)]
    assert len(states) == 4
    assert set(states) == {"COMPLETE", "FAIL"}
    assert "sampler.identities must be at most" in done.stdout


def test_a_search_without_any_result_says_why(tiny, tmp_path):
    search = (
        "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "optimizer.lr=interval(1e-4,1e-2)",
        "backbone.weights=/nowhere.pth",
    )  # fmt: skip
    done = sweep(tiny, tmp_path, *search, code=1)
    assert "0 of 2 jobs finished" in done.stdout
    assert "backbone.weights=/nowhere.pth is not a file" in done.stdout
    assert (tmp_path / "sweep.html").is_file()


def test_other_settings_are_another_study(tiny, tmp_path):
    search = (
        "hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "optimizer.lr=interval(1e-4,1e-2)",
        "trainer.max_epochs=1",
    )  # fmt: skip
    sweep(tiny, tmp_path, *search)
    sweep(tiny, tmp_path, *search, "loss.triplet.margin=0.7")
    with sqlite3.connect(tmp_path / "study.db") as base:
        studies = base.execute("SELECT study_id FROM studies").fetchall()
        trained = base.execute("SELECT study_id FROM trials WHERE state = 'COMPLETE'").fetchall()
    assert len(studies) == 2
    assert sorted(trained) == sorted(studies)
