"""Two machines train what one does: two agents of torchrun, and two nodes of a SLURM, on this host and over gloo."""

import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import REPOSITORY, environment, run_forked, start_python, train, wait_until, write_plain_image
from local_slurm import local_slurm, why_not
from untrained import write_small_checkpoint

FAILING = REPOSITORY / "tests" / "faults"
pytestmark = pytest.mark.slow

SMALL = (
    "data.sources.pedestrians.train_identities=10",
    "data.sources.pedestrians.test_identities=6",
    "data.image_size=[32,16]",
    "data.num_workers=0",
    "data.validation=0.3",
    "trainer.accelerator=cpu",
    "+trainer.enable_progress_bar=false",
    "trainer.log_every_n_steps=1",
)
BATCH = ("sampler.identities=2", "sampler.images_per_identity=2")
PLAIN = (*SMALL, *BATCH, "trainer.max_epochs=2")
# In float64, because a training of float32 multiplies the rounding of its first step.
EXACT = (*SMALL, *BATCH, "trainer.precision=64-true", "trainer.max_epochs=1")
OFFLINE = (
    "miner=offline_hard", "miner.first_round=0", "miner.every=1", "sampler.triplets=4", "trainer.max_epochs=2",
    "parts=pose", "parts.width=4", "parts.channels=8", "pretraining=pose", "pretraining.epochs=1",
)  # fmt: skip
TWO = ("trainer.num_nodes=2", "trainer.devices=1")


def one_thread(**more):
    """Threads change the order of sums, and so the last digits."""
    return environment("SLURM_", "MASTER_", OMP_NUM_THREADS="1", **more)


class Agents:
    """Two agents of torchrun, as two machines run them.

    Args:
        folder: For what they write on the terminal.
        arguments: The command line of `train.py`, or of another program.
        caches: A folder for the cache of each machine; None: one for both.
    """

    def __init__(self, folder, *arguments, program=("train.py",), caches=None):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        folder.mkdir(parents=True, exist_ok=True)
        self.files = [folder / f"agent{node}.txt" for node in range(2)]
        self.agents = []
        for node, file in enumerate(self.files):
            own = {"REID_LIGHTNING_CACHE": str(caches[node])} if caches else {}
            launch = (
                "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d",
                "--rdzv-id=1", f"--rdzv-endpoint=127.0.0.1:{port}", f"--rdzv-conf=is_host={int(node == 0)}",
                "--monitor-interval=0.5",
            )  # fmt: skip
            with file.open("w") as output:
                streams = {"stdout": output, "stderr": subprocess.STDOUT}
                self.agents.append(
                    start_python(*launch, *program, *arguments, where=one_thread(**own), **streams)
                )

    def wait(self):
        """Return the exit status of each agent."""
        return [agent.wait(300) for agent in self.agents]

    def said(self):
        return "\n".join(file.read_text() for file in self.files)

    def kill(self, node):
        """Kill an agent and the process that it has started, as a machine that loses its power does."""
        started = children(self.agents[node].pid)
        for number in (self.agents[node].pid, *started):
            os.kill(number, signal.SIGKILL)


def children(parent):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            if int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def agents_train(folder, *arguments, caches=None):
    agents = Agents(
        folder.with_name(f"{folder.name}.said"), *arguments, *TWO, f"hydra.run.dir={folder}", caches=caches
    )
    assert agents.wait() == [0, 0], agents.said()[-3000:]
    return agents


def numbers(folder):
    """Return what a run has computed: its scores, what it has logged, and its weights."""
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["cost"]
    logged = pd.read_csv(folder / "metrics.csv").drop(columns="train/images_per_second")
    logged = logged.dropna(how="all", subset=[name for name in logged if name not in ("epoch", "step")])
    weights = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return metrics, logged.reset_index(drop=True), weights


def assert_same(folder, other):
    """Assert that two runs are the same to the digit, and have left the same files."""
    (scores, logged, weights), (other_scores, other_logged, other_weights) = numbers(folder), numbers(other)
    assert scores == other_scores
    pd.testing.assert_frame_equal(logged, other_logged, check_exact=True)
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights | other_weights)
    queries, others = (pd.read_csv(place / "queries.csv") for place in (folder, other))
    paths = [name for name in queries if "path" in name]  # in the cache of a machine
    pd.testing.assert_frame_equal(queries.drop(columns=paths), others.drop(columns=paths), check_exact=True)
    assert left(folder) == left(other)


def left(folder):
    kept = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in kept if ".said" not in name}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The run on two machines that have a cache each."""
    place = tmp_path_factory.mktemp("plain")
    agents_train(place / "run", *PLAIN, caches=(place / "cache0", place / "cache1"))
    return place / "run"


def test_two_machines_train_what_one_process_does(tmp_path):
    train(*EXACT, folder=tmp_path / "one", where=one_thread())
    agents_train(tmp_path / "two", *EXACT)
    scores, logged, weights = numbers(tmp_path / "two")
    other_scores, other_logged, other_weights = numbers(tmp_path / "one")
    assert scores["test"] == pytest.approx(other_scores["test"], abs=1e-9)
    assert scores["validation"] == pytest.approx(other_scores["validation"], abs=1e-9)
    columns = ["epoch", "step", "train/loss", "train/identity", "train/triplet", "val/mAP"]
    pd.testing.assert_frame_equal(logged[columns], other_logged[columns], rtol=0, atol=1e-6)
    for name, value in other_weights.items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-6)
    assert left(tmp_path / "two") == left(tmp_path / "one")


def test_each_machine_may_have_a_cache_of_its_own(plain):
    made = [
        sorted(path.name for path in (plain.parent / f"cache{node}" / "images").glob("*.npy"))
        for node in (0, 1)
    ]
    assert all(len(names) == 1 for names in made)


def test_pose_and_offline_mining_are_those_of_two_processes_of_one_machine(tmp_path):
    train(*SMALL, *OFFLINE, "trainer=ddp_cpu", folder=tmp_path / "own", where=one_thread())
    agents_train(tmp_path / "nodes", *SMALL, *OFFLINE)
    assert_same(tmp_path / "nodes", tmp_path / "own")


def test_a_machine_that_fails_ends_the_job_and_the_same_command_continues(plain, tmp_path):
    folder = tmp_path / "run"
    command = (*PLAIN, *TWO, f"hydra.run.dir={folder}", "resume=auto")
    first = Agents(tmp_path / "first", *command)
    wait_until((folder / "checkpoints" / "last.ckpt").exists, first.agents[0])
    first.kill(1)
    status = first.wait()
    assert status[0] not in (0, None)
    sentence = next(line for line in first.said().splitlines() if line.startswith("error: process 0 of 2"))
    assert "has lost another process of this run" in sentence
    assert "start the run again with resume=auto" in sentence
    again = Agents(tmp_path / "again", *command)
    assert again.wait() == [0, 0], again.said()[-3000:]
    assert_same(folder, plain)


@pytest.fixture(scope="module")
def slurm():
    if why_not():
        pytest.skip(why_not())
    with local_slurm(nodes=2) as where:
        yield one_thread() | where


def submit(where, folder):
    """Submit the script of the documentation; return the process that waits for its end, and the file of its output."""
    output = folder.with_name(f"{folder.name}.txt")
    script = (
        "--gpus-per-node=0", "--ntasks-per-node=1", "--cpus-per-task=1", "--no-requeue", f"--output={output}",
    )  # fmt: skip
    cpu = ("trainer.accelerator=cpu", "trainer.precision=32-true", f"hydra.run.dir={folder}")
    command = ["sbatch", "--wait", *script, "examples/train.sbatch", *PLAIN, *cpu]
    return subprocess.Popen(command, env=where, cwd=REPOSITORY), output


def task_of_slurm(rank):
    """Return the numbers of the processes that train as a rank."""
    wanted = f"SLURM_PROCID={rank}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command, variables = (
                    (entry / name).read_bytes().split(b"\0") for name in ("cmdline", "environ")
                )
            except OSError:
                continue  # it has just ended
            if b"train.py" in command and wanted in variables and b"SLURM_JOB_NAME=reid" in variables:
                found.append(int(entry.name))
    return found


def test_two_nodes_of_slurm_are_two_machines_and_one_that_fails_ends_the_job(slurm, plain, tmp_path):
    job, output = submit(slurm, tmp_path / "run")
    wait_until((tmp_path / "run" / "checkpoints" / "last.ckpt").exists, job)
    for number in task_of_slurm(1):
        os.kill(number, signal.SIGKILL)
    assert job.wait(300) != 0
    said = output.read_text()
    assert "srun: error: node2: task 1: Killed" in said
    assert re.search(
        "to continue after (epoch 1|its last whole epoch)", said
    )  # by srun's signal, or by the lost process
    job, output = submit(slurm, tmp_path / "run")
    assert job.wait(300) == 0, output.read_text()[-3000:]
    assert_same(tmp_path / "run", plain)


def test_vectors_of_two_machines_are_the_bytes_of_one_process(tmp_path):
    model = write_small_checkpoint(tmp_path / "model.ckpt")
    for number in range(1030):  # more than a piece
        write_plain_image(tmp_path / "images" / f"{number:04}.png", (number % 256, number // 8, 7))
    command = ("embed", str(model), str(tmp_path / "images"))
    agents = Agents(
        tmp_path / "said",
        *command,
        str(tmp_path / "two.npz"),
        "--part",
        "auto",
        program=("-m", "reid_lightning.cli"),
    )
    assert agents.wait() == [0, 0], agents.said()[-3000:]
    run_forked("reid", *command, tmp_path / "one.npz", where=one_thread())
    assert (tmp_path / "two.npz").read_bytes() == (tmp_path / "one.npz").read_bytes()
    assert not (tmp_path / "two.npz.parts").exists()


def test_an_evaluation_of_two_machines_has_the_digits_of_one_process(tmp_path):
    train(*PLAIN, "trainer.max_epochs=1", folder=tmp_path / "run", where=one_thread())
    command = (
        "evaluate",
        str(tmp_path / "run" / "checkpoints" / "last.ckpt"),
        "data.batch_size=8",
        "--output",
    )
    agents = Agents(
        tmp_path / "said",
        *command,
        str(tmp_path / "two"),
        "--part",
        "auto",
        program=("-m", "reid_lightning.cli"),
    )
    assert agents.wait() == [0, 0], agents.said()[-3000:]
    run_forked("reid", *command, tmp_path / "one", where=one_thread())
    two, one = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("two", "one"))
    assert [two[name] for name in ("test", "intervals", "protocol")] == [
        one[name] for name in ("test", "intervals", "protocol")
    ]
    for name in ("queries.csv", "rankings.csv"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert not (tmp_path / "two.parts").exists()
