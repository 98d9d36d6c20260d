"""Handles Ctrl-C and SIGTERM from the start of the console script to its end: one line and exit code 130 or 143, no traceback.

The first signal raises KeyboardInterrupt, so that a command ends in order. The process exits at once in two cases: during an
import, where the exception would be lost or converted; and at a second signal, which would disturb the orderly end. Results are
whole or absent whenever a process ends. Batch systems and spot instances send SIGTERM some seconds before they kill.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
"""The signals that end a command, and the word for it. The exit code is 128 and the signal's number, as shells have it."""


class Interrupted(Exception):
    """Raised after a signal ended a command in order."""


@dataclass
class _State:
    process: int = 0
    in_order: bool = False
    received: signal.Signals | None = None


_state = _State()


def answer_interrupts() -> None:
    """Makes the signals exit this process at once, except within `end_in_order`.

    An ignored Ctrl-C stays ignored, as in a background job of a shell.
    """
    _state.process, _state.in_order, _state.received = os.getpid(), False, None
    for number in SIGNALS:
        if number is signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle_signal)
    report = sys.unraisablehook

    def handle_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
        # In a finalizer, for example, where Python would print a traceback and go on.
        if unraisable.exc_type is KeyboardInterrupt and _state.received is not None:
            _exit_now(_state.received)
        report(unraisable)

    sys.unraisablehook = handle_unraisable


@contextmanager
def end_in_order() -> Iterator[None]:
    """Raises KeyboardInterrupt in the block at a signal and converts it to Interrupted; signals are ignored from then on."""
    _state.in_order = True
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted from None
    except Exception as error:  # some libraries convert KeyboardInterrupt
        if _state.received and "KeyboardInterrupt" in repr(error):
            raise Interrupted from error
        raise
    finally:
        for number in SIGNALS:
            if signal.getsignal(number) is _handle_signal:
                signal.signal(number, signal.SIG_IGN)


def describe_end() -> tuple[str, int]:
    """Returns the word for the end by a signal, and the exit code of the command."""
    received = _state.received or signal.SIGINT
    return SIGNALS[received], 128 + received


def _handle_signal(number: int, frame: FrameType | None) -> None:
    received = signal.Signals(number)
    if not _state.in_order or _state.received or _is_importing(frame):
        _exit_now(received)
    _state.received = received
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _exit_now(received: signal.Signals) -> NoReturn:
    if os.getpid() == _state.process:  # a forked copy prints nothing
        with suppress(Exception):
            for child in sys.modules["multiprocessing"].active_children():
                child.kill()
        with suppress(OSError):
            cursor = "\x1b[?25h" if os.isatty(2) else ""  # a progress bar hides it
            os.write(2, f"{cursor}capsbench: {SIGNALS[received]}\n".encode())
    os._exit(128 + received)
