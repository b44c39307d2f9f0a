"""What the helpers do when something goes wrong."""

import sys

import pytest
from helpers import Processes, environment, run_python, wait_until

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
