"""What torchrun and srun have started, and what a run makes of it."""

import pytest

from reid_lightning.distributed.launched import (
    Launched,
    launched,
    require_fitting,
    why_lost,
    with_shared_folder,
)
from reid_lightning.errors import InputError

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "7", "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2",
    "GROUP_WORLD_SIZE": "2",
}  # fmt: skip
SRUN = {
    "SLURM_JOB_ID": "41", "SLURM_JOB_NAME": "reid", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2",
    "SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2",
}  # fmt: skip


def test_who_has_started_a_process():
    assert launched(TORCHRUN) == Launched("torchrun", 4, 2, 3, "torchrun_7")
    assert launched(TORCHRUN | SRUN) == Launched(
        "torchrun", 4, 2, 3, "torchrun_7"
    )  # torchrun inside a SLURM job
    assert launched(SRUN) == Launched("srun", 4, 2, 0, "slurm_41")
    assert launched({}) is None
    assert launched({"SLURM_JOB_ID": "41", "SLURM_NTASKS": "1"}) is None  # a batch script without srun
    assert launched(SRUN | {"SLURM_JOB_NAME": "interactive"}) is None


def test_the_jobs_of_an_array_have_folders_of_their_own():
    array = {"SLURM_ARRAY_JOB_ID": "40", "SLURM_ARRAY_TASK_ID": "3"}
    assert launched(SRUN | array).name == "slurm_40_3"


def test_all_processes_agree_on_a_folder_and_the_first_one_alone_logs():
    first = with_shared_folder(["seed=1"], SRUN)
    second = with_shared_folder(["seed=1"], SRUN | {"SLURM_PROCID": "1"})
    assert first == ["seed=1", "hydra.run.dir='outputs/slurm_41'"]
    assert second == [*first, "hydra.output_subdir=null", "hydra/job_logging=none"]
    assert with_shared_folder(["hydra.run.dir=x"], SRUN) == ["hydra.run.dir=x"]
    assert with_shared_folder(["-m", "seed=1,2"], SRUN) == ["-m", "seed=1,2"]
    assert with_shared_folder(["seed=1"], SRUN | {"SLURM_STEP_NUM_TASKS": "1"}) == ["seed=1"]


def test_processes_without_a_name_in_common_need_a_folder():
    with pytest.raises(InputError, match=r"need one folder: add hydra\.run\.dir=DIR"):
        with_shared_folder(["seed=1"], TORCHRUN | {"TORCHELASTIC_RUN_ID": "none"})


@pytest.mark.parametrize(
    ("devices", "nodes", "environment", "said"),
    [
        (1, 1, TORCHRUN, r"torchrun has started 4 processes on 2 machines.* set trainer\.num_nodes=2 trainer\.devices=2"),
        (4, 1, SRUN, r"srun has started 4 processes on 2 machines"),
        (1, 2, {}, r"trainer\.num_nodes=2 needs processes on 2 machines, and nothing has started them"),
        (2, 2, {k: v for k, v in SRUN.items() if k != "SLURM_NTASKS_PER_NODE"}, "--ntasks-per-node=2"),
    ],
    ids=["too few", "other machines", "nobody", "tasks per node"],
)  # fmt: skip
def test_a_trainer_that_does_not_fit_is_refused(devices, nodes, environment, said):
    with pytest.raises(InputError, match=said):
        require_fitting(devices, nodes, environment)


@pytest.mark.parametrize("environment", [TORCHRUN, SRUN, {"RANK": "1", "WORLD_SIZE": "4"}])
def test_a_trainer_that_fits_is_accepted(environment):
    require_fitting(2, 2, environment)


def test_processes_of_one_machine_need_nobody_to_start_them():
    require_fitting(4, 1, {})


def test_a_lost_process_is_told_from_other_errors():
    gloo = RuntimeError(
        "[../pair.cc:534] Connection closed by peer [127.0.0.1]:3456. This is typically caused by"
    )
    assert (
        "process 3 of 4 has lost another process of this run (Connection closed by peer [127.0.0.1]:3456)"
        in (why_lost(gloo, TORCHRUN) or "")
    )
    assert why_lost(gloo, {}) is None
    assert why_lost(RuntimeError("shape mismatch"), TORCHRUN) is None
