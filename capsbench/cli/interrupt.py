"""Ctrl-C, at every moment from the start of the console script to its end: one line and exit code 130, and never a traceback.

What a command has begun is ended in order, by KeyboardInterrupt, the first time. Otherwise the process ends at once: while it
imports, where the exception would be lost or named otherwise; and the second time, where it would keep what is being ended from
its end. Results are whole or absent whenever a process ends.
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
"""The exit code, as `capsbench.errors` has it; importing that would take its time."""


class Interrupted(Exception):
    """A command that Ctrl-C ended, in order."""


@dataclass
class _State:
    process: int = 0
    in_order: bool = False
    pressed: bool = False


_state = _State()


def answer_interrupts() -> None:
    """Ends this process at once at Ctrl-C, but within `ended_in_order`.

    Where it is ignored, as by a shell that has started this in the background, it stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return
    _state.process, _state.in_order, _state.pressed = os.getpid(), False, False
    signal.signal(signal.SIGINT, _answer)
    tell = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        # Of a finalizer, say, which Python would tell of by a traceback before it went on.
        if unraisable.exc_type is KeyboardInterrupt:
            _leave()
        tell(unraisable)

    sys.unraisablehook = hook


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Raises KeyboardInterrupt in a command at Ctrl-C, and Interrupted after it; what is left to do then is not interrupted."""
    _state.in_order = True
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted from None
    except Exception as error:  # some libraries make another of it
        if _state.pressed and "KeyboardInterrupt" in repr(error):
            raise Interrupted from error
        raise
    finally:
        if signal.getsignal(signal.SIGINT) is _answer:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _answer(number: int, frame: FrameType | None) -> None:
    if not _state.in_order or _state.pressed or _is_importing(frame):
        _leave()
    _state.pressed = True
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _leave() -> NoReturn:
    if os.getpid() == _state.process:  # a copy of it has nothing to tell
        with suppress(Exception):
            for child in sys.modules["multiprocessing"].active_children():
                child.kill()
        with suppress(OSError):
            cursor = "\x1b[?25h" if os.isatty(2) else ""  # a progress bar hides it
            os.write(2, f"{cursor}capsbench: interrupted\n".encode())
    os._exit(INTERRUPTED)
