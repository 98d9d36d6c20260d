"""Ends a process together with the process that started it."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing import parent_process
from threading import Thread

SECONDS_TO_STOP = 10.0
"""The time that a stopped process has to write its checkpoint."""


def end_with_parent() -> None:
    """Ends this process as at SIGTERM as soon as the process that started it is gone, also if that one was killed.

    A process of a fork server is a child of the server. The pipe over which it was started tells it of its real parent.
    """
    Thread(target=_wait_for_end, daemon=True).start()


def _wait_for_end() -> None:
    if parent := parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SECONDS_TO_STOP)
        os._exit(1)
