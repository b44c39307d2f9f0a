"""A SLURM on this machine, in a temporary folder, from Debian's packages slurmctld, slurmd, slurm-client and munge."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
CONFIGURATION = """\
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 State=UNKNOWN"


def why_not() -> str | None:
    """Return why no SLURM can be started here, or None."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=_path()) is None]
    if missing:
        return f"{', '.join(missing)} missing: apt-get install slurmctld slurmd slurm-client munge"
    return None if os.geteuid() == 0 else "SLURM's daemons need root here"


@contextmanager
def local_slurm(nodes: int = 1) -> Iterator[dict[str, str]]:
    """Start munge, the controller and nodes, and stop them; yield the environment for whoever submits jobs.

    One node has this machine's name. Several are called node1, node2, ..., which no resolver knows, so that `MASTER_ADDR`
    names the place where their processes meet.
    """
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    host = socket.gethostname().split(".")[0]
    environment = {**os.environ, "SLURM_CONF": f"{folder}/slurm.conf", "PATH": _path()}
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        _give_to_munge(folder)
        names = [host] if nodes == 1 else [f"node{number}" for number in range(1, nodes + 1)]
        lines = "\n".join(NODE.format(name=name, host=host, port=_free_port()) for name in names)
        content = CONFIGURATION.format(host=host, folder=folder, nodes=lines, controller_port=_free_port())
        (folder / "slurm.conf").write_text(content)
        for name in ("state", *(f"spool.{name}" for name in names)):
            (folder / name).mkdir()
        files = [
            f"--{kind}-file={folder}/munge.{end}"
            for kind, end in (("key", "key"), ("log", "log"), ("pid", "pid"), ("seed", "seed"))
        ]
        munge = ["munged", "--foreground", f"--socket={folder}/munge.socket", *files]
        stack.enter_context(_daemon(munge, folder, environment, user="munge"))
        _wait_for((folder / "munge.socket").exists, folder)
        stack.enter_context(_daemon(["slurmctld", "-D", "-i"], folder, environment))
        for name in names:
            stack.enter_context(_daemon(["slurmd", "-D", "-N", name], folder, environment))
        _wait_for(lambda: _said(["sinfo", "-h", "-o", "%D %T"], environment) == f"{nodes} idle", folder)
        yield environment if nodes == 1 else environment | {"MASTER_ADDR": "127.0.0.1"}


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _give_to_munge(folder: Path) -> None:
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    owner = pwd.getpwnam("munge")
    for path in (folder, key):
        os.chown(path, owner.pw_uid, owner.pw_gid)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _daemon(
    command: list[str], folder: Path, environment: dict[str, str], user: str | None = None
) -> Iterator[None]:
    who = {"user": user, "group": user, "extra_groups": []} if user else {}
    with (folder / f"{command[0]}.{command[-1].rpartition('/')[2]}.out").open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, **who)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _said(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    ).stdout.strip()


def _wait_for(condition, folder: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            told = {
                path.name: path.read_text()[-2000:] for path in [*folder.glob("*.out"), *folder.glob("*.log")]
            }
            raise TimeoutError(f"SLURM does not start: {told}")
        time.sleep(0.2)
