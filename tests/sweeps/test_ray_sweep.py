"""A sweep on a Ray cluster of this machine gives the numbers of one without, from an environment of its own."""

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from helpers import REPOSITORY, environment, train, train_arguments

pytestmark = pytest.mark.slow

PACKAGES = ("hydra-ray-launcher==1.2.2", "ray==2.60.*")
TWO = ("seed=1,2", "trainer.max_epochs=1")


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of an environment that has Ray and its old cloudpickle in front of the packages of this one."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is missing")
    place = tmp_path_factory.mktemp("ray") / "environment"
    own = place / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, place], check=True)
    got = subprocess.run(
        [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", own, *PACKAGES],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if got.returncode:
        pytest.skip(f"{' and '.join(PACKAGES)} cannot be had: {got.stderr.strip()[-300:]}")
    packages = next(place.glob("lib/python*/site-packages"))
    (packages / "zz_shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return own


@pytest.fixture(scope="module")
def cluster(python):
    """The address of a Ray cluster of one machine, and the variables of whoever uses it."""
    where = environment(
        OMP_NUM_THREADS="1", RAY_USAGE_STATS_ENABLED="0", RAY_raylet_start_wait_time_s="60",
        PATH=f"{python.parent}{os.pathsep}{os.environ['PATH']}",
    )  # fmt: skip
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # short, for the names of sockets
    try:
        for attempt in range(
            3
        ):  # Ray gives its own agents 15 seconds to start, which a busy machine may exceed
            output, address = folder / f"{attempt}.txt", f"127.0.0.1:{free_port()}"
            with started(python, address, folder / f"r{attempt}", output, where) as head:
                while head.poll() is None and "Ray runtime started" not in output.read_text():
                    time.sleep(0.2)
                if head.poll() is None:
                    yield address, where
                    return
        pytest.fail(output.read_text()[-3000:])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def started(python, address, folder, output, where):
    """Start a cluster in the background, and end it with all that it has started."""
    ray = [
        python.parent / "ray",
        "start",
        "--head",
        "--block",
        "--num-cpus=2",
        f"--port={address.split(':')[1]}",
    ]
    with output.open("w") as file:
        head = subprocess.Popen(
            [*ray, f"--temp-dir={folder}", "--include-dashboard=false"],
            env=where, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        yield head
    finally:
        head.terminate()  # it ends its children
        head.wait(60)


def results(folder):
    found = {}
    for file in Path(folder).rglob("metrics.json"):
        written = json.loads(file.read_text())
        seed = yaml.safe_load((file.parent / "config.yaml").read_text())["seed"]
        found[seed] = (written["score"], written["validation"], written["test"])
    return found


def test_ray_trains_what_one_process_does(tiny, tmp_path, python, cluster):
    address, where = cluster
    there = ("hydra/launcher=ray", f"hydra.launcher.ray.init.address={address}")
    done = subprocess.run(
        [python, *train_arguments(*tiny, *TWO, *there, folder=tmp_path / "ray", multirun=True)],
        cwd=REPOSITORY, env=where, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "2 of 2 jobs finished" in done.stdout
    train(*tiny, *TWO, folder=tmp_path / "basic", multirun=True, where=environment(OMP_NUM_THREADS="1"))
    assert len(results(tmp_path / "basic")) == 2
    assert results(tmp_path / "ray") == results(tmp_path / "basic")
