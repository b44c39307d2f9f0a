import os
import subprocess
import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from reid_lightning.distributed.ddp_launcher import child_command, processes_of_one_job, quoted, world_size


@pytest.mark.parametrize(
    ("devices", "nodes", "accelerator", "expected"),
    [
        (1, 1, "cpu", 1),
        (2, 1, "cpu", 2),
        ("auto", 1, "cpu", 1),
        ([0, 3], 2, "gpu", 4),
        ("0,1,", 1, "gpu", 2),
        ("4", 2, "gpu", 8),
    ],
)
def test_world_size(devices, nodes, accelerator, expected):
    assert world_size(devices, nodes, accelerator) == expected


def test_a_folder_named_after_a_sweep_survives_hydras_grammar(tmp_path):
    folder = tmp_path / "loss=triplet,seed=1's [x]"
    folder.mkdir()
    override = next(
        argument for argument in child_command(folder / "config.yaml") if argument.startswith("hydra.run.dir")
    )
    assert OverridesParser.create().parse_override(override).value() == str(folder)
    assert OverridesParser.create().parse_override(f"a={quoted('x,y')}").value() == "x,y"


def test_the_environment_of_a_job_ends_with_it(monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "1234")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with processes_of_one_job():
        os.environ.update(LOCAL_RANK="0", MASTER_PORT="99", WORLD_SIZE="2")
    assert "LOCAL_RANK" not in os.environ
    assert os.environ["MASTER_PORT"] == "1234"


@pytest.mark.slow
def test_children_are_awaited_after_success_and_ended_after_failure():
    with processes_of_one_job() as children:
        children.processes.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.2)"]))
    assert children.processes[0].returncode == 0

    def fail():
        with processes_of_one_job() as started:
            children.processes = started.processes
            started.processes.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert children.processes[0].returncode == -9
