"""Pictures drawn in processes on other cores, while this process makes the tables."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import active_children, get_context

from capsbench.errors import message_of
from capsbench.presenting.figures.figure import Image, Picture
from capsbench.presenting.figures.files import render_image
from capsbench.presenting.material import Material, NoDataError
from capsbench.running.executors.parent import end_with_parent

Draw = Callable[[Material], Picture]

_task: tuple[Mapping[str, Draw], Material, Collection[str]]
"""A worker's pictures, material and formats."""


def count_workers() -> int:
    """Returns how many processes can draw at a time: 0 where a fork is not safe."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 0


@contextmanager
def drawing(
    pictures: Mapping[str, Draw], material: Material, forms: Collection[str]
) -> Iterator[Callable[[], dict[str, Image | str]]]:
    """Draws in worker processes while the block runs; gives a function that waits for the images, or reasons, by name.

    This process draws the pictures of a worker that dies. Where the block raises, as by Ctrl-C, the workers are killed.
    """
    names, others = list(pictures) if forms else [], set(active_children())
    workers = min(count_workers(), len(names))
    # A fork has our modules and the material in memory: to import the ones and to pickle the other would take longer.
    method = "fork" if workers else None
    executor = ProcessPoolExecutor(workers or 1, get_context(method), _start_worker, (pictures, material, forms))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads, pyarrow's say: no worker needs them
            futures = {name: executor.submit(_draw_in_worker, name) for name in names if workers}

        def wait() -> dict[str, Image | str]:
            drawn = {name: future.result() for name, future in futures.items() if future.exception() is None}
            return {name: drawn.get(name) or draw_image(pictures[name], material, forms) for name in names}

        yield wait
    except BaseException:
        for worker in set(active_children()) - others:
            worker.kill()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def draw_image(draw: Draw, material: Material, forms: Collection[str]) -> Image | str:
    """Returns a picture as it is written, or the reason why there is none."""
    import_module("seaborn")  # before the style of our pictures is set, which it would take for the user's own
    try:
        return render_image(draw(material), forms)
    except NoDataError as error:
        return str(error)
    except Exception as error:  # numbers that no run gives; the tables do without the picture
        return f"it cannot be drawn: {type(error).__name__}: {message_of(error, first_line=True)}"


def _start_worker(*task: *tuple[Mapping[str, Draw], Material, Collection[str]]) -> None:
    global _task
    _task = task
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    end_with_parent()


def _draw_in_worker(name: str) -> Image | str:
    pictures, material, forms = _task
    return draw_image(pictures[name], material, forms)
