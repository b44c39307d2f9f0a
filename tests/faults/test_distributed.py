"""Two processes of one run: whatever happens to one of them, the run ends with a sentence and no process remains."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

GROUP = "Several processes"
TINY = (
    "trainer=ddp_cpu",
    "data.sources.pedestrians.train_identities=10",
    "data.sources.pedestrians.test_identities=6",
    "data.image_size=[32,16]",
    "data.validation=0.3",
    "data.batch_size=4",
    "sampler.identities=2",
    "sampler.images_per_identity=2",
    "+trainer.enable_progress_bar=false",
)  # fmt: skip
ENDLESS = "trainer.max_epochs=500"


def failing(hook, how):
    return f"+callbacks.fail={{_target_: failing.Fail, hook: {hook}, how: {how}}}"


def processes_of(group):
    """Return the processes of a group that run, by number, with the number of their parent."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue  # it has just ended
            if int(its_group) == group and state != "Z":
                found[int(entry.name)] = int(parent)
    return found


def child_of(run):
    """Return the number of the second process, once it is there."""
    found = []

    def there():
        found[:] = [pid for pid, parent in processes_of(run.process.pid).items() if parent == run.process.pid]
        return found

    assert run.until(there)
    return found[0]


def nobody_remains(run, seconds=20):
    end = time.monotonic() + seconds
    while left := processes_of(run.process.pid):
        assert time.monotonic() < end, f"processes {left} remain"
        time.sleep(0.05)
    return True


@pytest.fixture
def start(commands, tmp_path):
    """Return what starts a run of two processes into `tmp_path / "run"`."""
    started = []

    def run(*overrides, **environment):
        folder = f"hydra.run.dir={tmp_path / 'run'}"
        environment = {
            "PYTHONPATH": str(Path(__file__).parent)
        } | environment  # the second process imports anew
        started.append(commands.start("train.py", *TINY, folder, *overrides, **environment))
        return started[-1]

    yield run
    for one in started:
        for process in processes_of(one.process.pid):
            os.kill(process, signal.SIGKILL)


@pytest.mark.fault(GROUP, "one process is killed")
@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_validation_batch_start", "on_test_batch_start"])
def test_one_process_is_killed(start, commands, tmp_path, seen, hook):
    run = start("trainer.max_epochs=2", failing(hook, "kill"))
    sentence = run.wait().sentence
    assert "process 1 of this run was ended by SIGKILL" in sentence
    seen(sentence)
    assert nobody_remains(run)
    if hook == "on_test_batch_start":
        folder = f"hydra.run.dir={tmp_path / 'run'}"
        done = commands.run(
            "train.py", *TINY, folder, "trainer.max_epochs=2", "resume=last", "trainer.devices=1"
        )
        assert done.code == 0, done.err
        assert json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]["queries"] > 0


@pytest.mark.fault(GROUP, "the second process is killed before it meets the first")
def test_the_second_process_never_comes(start, seen):
    run = start(ENDLESS)
    os.kill(child_of(run), signal.SIGKILL)
    sentence = run.wait().sentence
    assert "process 1 of this run was ended by SIGKILL" in sentence
    seen(sentence)
    assert nobody_remains(run)


@pytest.mark.fault(GROUP, "the first process is killed")
def test_the_first_process_is_killed(start, tmp_path, seen):
    run = start(ENDLESS)
    child_of(run)
    os.kill(run.process.pid, signal.SIGKILL)
    assert run.wait().code == -signal.SIGKILL
    assert nobody_remains(run, seconds=60)
    seen("no process remains")


@pytest.mark.fault(GROUP, "one process refuses its settings or data")
@pytest.mark.parametrize("hook", ["setup", "on_train_batch_start"])
def test_one_process_raises_an_error_of_the_user(start, seen, hook):
    run = start(ENDLESS, failing(hook, "sentence"))
    sentence = run.wait().sentence
    assert sentence == "data.root=/nowhere cannot be read by this process; mount it there too"
    seen(sentence)
    assert nobody_remains(run)


@pytest.mark.fault(GROUP, "Ctrl+C or SIGTERM")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_all(start, tmp_path, seen, number):
    run = start(ENDLESS)
    assert run.until((tmp_path / "run" / "checkpoints" / "last.ckpt").exists)
    run.signal(number)
    ended = run.wait(60)
    assert ended.code == 128 + number, ended.err
    assert "Traceback" not in ended.err
    said = [line for line in ended.err.splitlines() if line.lower().startswith("interrupted")]
    assert len(said) == 1
    seen(said[0])
    assert nobody_remains(run)


@pytest.mark.fault(GROUP, "the port is in use")
def test_the_port_is_taken(start, seen):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        run = start(ENDLESS, MASTER_PORT=str(port))
        sentence = run.wait(120).sentence
    assert sentence.startswith(f"port {port}, where the processes of this run would meet, is in use")
    seen(sentence)
    assert nobody_remains(run)


@pytest.mark.fault(GROUP, "the second process starts late")
def test_the_second_process_starts_late(start, tmp_path, seen):
    run = start("trainer.max_epochs=1")
    child = child_of(run)
    os.kill(child, signal.SIGSTOP)
    time.sleep(8)
    assert run.runs
    os.kill(child, signal.SIGCONT)
    ended = run.wait()
    assert ended.code == 0, ended.err
    assert "sync_dist" not in ended.err
    assert (tmp_path / "run" / "report.html").is_file()
    seen("the first process waits")
    assert nobody_remains(run)
