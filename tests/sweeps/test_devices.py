"""GPUs handed out to processes, with names in place of cards."""

import os
import subprocess

import pytest
from helpers import start_python
from omegaconf import OmegaConf

from reid_lightning.sweeps import gpu_lease as devices
from reid_lightning.sweeps.gpu_lease import HandOutGPUs, jobs_at_once, lease, processes_per_node, visible_gpus


@pytest.fixture(autouse=True)
def _four_cards(tmp_path, monkeypatch):
    monkeypatch.setenv("REID_LIGHTNING_CACHE", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    monkeypatch.setattr(devices, "_held", {})
    yield
    for lock in devices._held.values():
        lock.close()


class Holder:
    """Another process of a sweep, which holds what it was given until it ends."""

    def __init__(self, count):
        given = f"print(*lease({count}), flush=True)"
        code = f"from reid_lightning.sweeps.gpu_lease import lease; {given}; input()"
        self.process = start_python("-c", code, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def gpus(self):
        return self.process.stdout.readline().split()

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def test_processes_hold_different_gpus_until_they_end():
    first, second, third = Holder(2), Holder(1), None
    try:
        given = [first.gpus(), second.gpus()]
        assert sorted(map(len, given)) == [1, 2]
        assert len(lease(1)) == 1
        assert sorted([*given[0], *given[1], *lease(1)]) == ["4", "5", "6", "7"]
        assert lease(1) == lease(1)  # one process, one GPU
        third = Holder(2)  # nothing is left, until the first ends
        first.end()
        assert sorted(third.gpus()) == sorted(given[0])
    finally:
        for holder in (first, second, third):
            if holder is not None:
                holder.end()


def test_more_jobs_than_gpus_share_them_evenly(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    found, locks = [], []
    for _ in range(4):
        found += lease(1, jobs_per_gpu=2)
        locks += devices._held.values()
        devices._held.clear()  # as if it were another process; the lock stays
    for lock in locks:
        lock.close()
    assert found == ["0", "1", "0", "1"]


def test_a_job_sees_its_gpu_and_a_job_on_the_cpu_is_left_alone(monkeypatch):
    def start(accelerator, count):
        HandOutGPUs(n_jobs=4).on_job_start(
            OmegaConf.create({"trainer": {"accelerator": accelerator, "devices": count}})
        )
        return os.environ["CUDA_VISIBLE_DEVICES"]

    assert start("cpu", 1) == "4,5,6,7"
    assert start("gpu", 8) == "4,5,6,7"  # more than there are: Lightning says so
    assert start("auto", "auto") == "4"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")  # as Hydra does after a job
    assert start("auto", "auto") == "4"


@pytest.mark.parametrize(
    ("named", "gpus"), [("", []), ("-1", []), ("3", ["3"]), ("GPU-a1, GPU-b2", ["GPU-a1", "GPU-b2"])]
)
def test_gpus_that_are_visible(monkeypatch, named, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == gpus


def test_jobs_at_once():
    assert jobs_at_once("auto", "auto") == 4
    assert jobs_at_once("gpu", 2) == 2
    assert jobs_at_once("gpu", 8) == 1
    assert jobs_at_once("cpu", 1) == devices.ON_A_CPU
    assert processes_per_node(-1) == 1
