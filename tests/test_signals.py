"""A signal ends the block that asks for it, once, and whatever else it causes."""

import contextlib
import os
import signal

import pytest

from reid_lightning.signals import EXIT_STATUS, Stopped, raise_if_stopped, stopped_by_signals


@pytest.fixture(autouse=True)
def _unhandled():
    """A shell starts background jobs with Ctrl+C ignored, and so would this process leave it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", EXIT_STATUS)
def test_a_signal_ends_the_block_with_its_exit_status(number):
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as raised, stopped_by_signals():
        os.kill(os.getpid(), number)
    assert raised.value.code == EXIT_STATUS[number]
    assert signal.getsignal(number) == before


def fail_on_the_way_out():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        raise RuntimeError("a worker was killed")


def swallow():
    with contextlib.suppress(SystemExit):
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)  # a further one interrupts nothing
    raise_if_stopped()


@pytest.mark.parametrize("block", [fail_on_the_way_out, swallow])
def test_what_happens_after_a_signal_does_not_hide_it(block):
    with pytest.raises(Stopped), stopped_by_signals():
        block()


def test_a_signal_that_somebody_handles_is_theirs():
    came = []
    before = signal.signal(signal.SIGUSR2, lambda *_: came.append("submitit"))
    try:
        with stopped_by_signals():
            os.kill(os.getpid(), signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert came == ["submitit"]


def test_nothing_is_left_of_an_earlier_signal():
    with pytest.raises(Stopped), stopped_by_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    with stopped_by_signals():
        raise_if_stopped()


def test_other_errors_and_exits_stay_what_they_are():
    with pytest.raises(ValueError, match="other"), stopped_by_signals():
        raise ValueError("other")
    with pytest.raises(SystemExit) as raised, stopped_by_signals():
        raise SystemExit(7)
    assert raised.value.code == 7
