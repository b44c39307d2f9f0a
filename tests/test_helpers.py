"""What the helpers do when something goes wrong."""

import sys

import pytest
from helpers import Processes, environment, run_forked, run_python, wait_until

from reid_lightning.errors import InputError


def refuse(rank, words):
    raise InputError(words)


def share(rank, number):
    return rank, number + 1


@pytest.mark.slow
def test_work_that_fails_in_a_process_is_told_and_others_start_anew(tmp_path):
    processes = Processes(tmp_path, count=1)
    try:
        with pytest.raises(AssertionError, match=r"process 0: (.|\n)*InputError: not here"):
            processes(refuse, "not here")
        assert not processes.started
        assert processes(share, 4) == [(0, 5)]
    finally:
        processes.end()


def test_another_exit_status_is_an_error_that_shows_what_was_written():
    code = "import sys; print('a line'); sys.exit('a reason')"
    with pytest.raises(AssertionError, match=r"exit status 1\na line\n\n\n?a reason"):
        run_python("-S", "-c", code)
    assert run_python("-S", "-c", code, code=1).stderr == "a reason\n"
    assert run_python("-S", "-c", code, code=None).returncode == 1


@pytest.mark.slow
def test_a_forked_script_ends_as_one_of_its_own_process(tmp_path):
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "neighbor.py").write_text("NAME = 'a neighbor'")
    script = tmp_path / "script.py"
    script.write_text(
        "import atexit, os, sys, threading, time\n"
        "from neighbor import NAME\n"
        "atexit.register(print, 'the end')\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('a thread'))).start()\n"
        "print(__name__, NAME, sorted(os.environ), os.getcwd(), sys.argv[1:])\n"
        "sys.exit('a reason')\n"
    )
    where = {"PYTHONPATH": str(tmp_path / "beside"), "OMP_NUM_THREADS": "1"}
    ended = run_forked(script, "a", 1, where=where, cwd=tmp_path, code=1)
    assert ended.stdout.splitlines() == [
        f"__main__ a neighbor {sorted(where)} {tmp_path} {['a', '1']}", "a thread", "the end"
    ]  # fmt: skip
    assert ended.stderr == "a reason\n"
    with pytest.raises(AssertionError, match=r"exit status 1(.|\n)*a reason"):
        run_forked(script, where=where, cwd=tmp_path)


def test_an_environment_is_this_ones_with_changes(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "before")
    monkeypatch.setenv("MALLOC_SOMETHING", "1")
    where = environment("MALLOC_", PYTHONPATH="first", NEW="2")
    assert where["PYTHONPATH"] in ("first:before", "first;before")
    assert where["NEW"] == "2"
    assert "MALLOC_SOMETHING" not in where
    assert "MALLOC_SOMETHING" in environment()


def test_waiting_ends_with_the_time():
    with pytest.raises(AssertionError, match=r"not true within 0\.05 s"):
        wait_until(lambda: sys.version == "", seconds=0.05)
