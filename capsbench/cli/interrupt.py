"""Handles Ctrl-C from the start of the console script to its end: one line and exit code 130, never a traceback.

The first Ctrl-C raises KeyboardInterrupt, so that a command ends in order. The process exits at once in two cases: during an
import, where the exception would be lost or converted; and at a second Ctrl-C, which would disturb the orderly end. Results are
whole or absent whenever a process ends.
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

INTERRUPTED = 130
"""The exit code of `capsbench.errors.EXIT_INTERRUPTED`, whose import would take too long here."""


class Interrupted(Exception):
    """Raised after Ctrl-C ended a command in order."""


@dataclass
class _State:
    process: int = 0
    in_order: bool = False
    pressed: bool = False


_state = _State()


def answer_interrupts() -> None:
    """Makes Ctrl-C exit this process at once, except within `end_in_order`.

    An ignored Ctrl-C stays ignored, as in a background job of a shell.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return
    _state.process, _state.in_order, _state.pressed = os.getpid(), False, False
    signal.signal(signal.SIGINT, _handle_interrupt)
    report = sys.unraisablehook

    def handle_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
        # In a finalizer, for example, where Python would print a traceback and go on.
        if unraisable.exc_type is KeyboardInterrupt:
            _exit_now()
        report(unraisable)

    sys.unraisablehook = handle_unraisable


@contextmanager
def end_in_order() -> Iterator[None]:
    """Raises KeyboardInterrupt in the block at Ctrl-C and converts it to Interrupted; Ctrl-C is ignored from then on."""
    _state.in_order = True
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted from None
    except Exception as error:  # some libraries convert KeyboardInterrupt
        if _state.pressed and "KeyboardInterrupt" in repr(error):
            raise Interrupted from error
        raise
    finally:
        if signal.getsignal(signal.SIGINT) is _handle_interrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _handle_interrupt(number: int, frame: FrameType | None) -> None:
    if not _state.in_order or _state.pressed or _is_importing(frame):
        _exit_now()
    _state.pressed = True
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _exit_now() -> NoReturn:
    if os.getpid() == _state.process:  # a forked copy prints nothing
        with suppress(Exception):
            for child in sys.modules["multiprocessing"].active_children():
                child.kill()
        with suppress(OSError):
            cursor = "\x1b[?25h" if os.isatty(2) else ""  # a progress bar hides it
            os.write(2, f"{cursor}capsbench: interrupted\n".encode())
    os._exit(INTERRUPTED)
