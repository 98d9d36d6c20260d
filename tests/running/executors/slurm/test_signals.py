"""Signals that wait until tasks are submitted."""

import signal
import threading

import pytest

from capsbench.running.executors.slurm.signals import hold_signals


@pytest.fixture
def received():
    numbers, handlers = [], {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in handlers:
        signal.signal(number, lambda number, frame: numbers.append(number))
    yield numbers
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_takes_effect_after_the_block(number, received):
    with hold_signals():
        signal.raise_signal(number)
        assert received == []
    assert received == [number]
    signal.raise_signal(number)
    assert received == [number, number]


def test_a_signal_takes_effect_after_an_error(received):
    def fail():
        with hold_signals():
            signal.raise_signal(signal.SIGINT)
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert received == [signal.SIGINT]


def test_an_ignored_signal_stays_ignored(received):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with hold_signals():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert received == []


def test_in_another_thread_nothing_changes(received):
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def submit():
        with hold_signals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=submit)
    thread.start()
    thread.join()
    assert seen == [before]
