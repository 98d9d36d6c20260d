"""Work in copies of this process, on other cores: for what needs much, of what is here or made ready, and gives back little.

So the pictures of a report are drawn and written out beside the work on its tables.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from typing import TypeVar

from capsbench.errors import message_of
from capsbench.presenting.figures.figure import Image, Picture
from capsbench.presenting.figures.files import image
from capsbench.presenting.material import Material, NoDataError

Given = TypeVar("Given")
Made = TypeVar("Made")


def cores() -> int:
    """How many copies of this process can work at a time."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def begun(work: Callable[[], Made]) -> Callable[[], Made]:
    """Begins the work beside this process; calling what is returned waits for what it makes.

    The work must not need threads (those of torch, say): a copy has none of its original's. Where processes cannot be copied, or
    where the copy does not get to its end, the work is done here, when it is waited for.
    """
    if sys.platform != "linux":
        return work
    receiving, sending = multiprocessing.Pipe(duplex=False)
    copy = multiprocessing.get_context("fork").Process(target=_send, args=(work, sending), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # later Pythons warn of any thread that the copy would lack
        copy.start()
    sending.close()

    def wait() -> Made:
        try:
            made: Made = receiving.recv()
        except EOFError:
            made = work()
        copy.join()
        return made

    return wait


def readied(prepare: Callable[[], Callable[[Given], Made]]) -> Callable[[Given], Callable[[], Made]]:
    """Makes work ready beside this process, such as by importing what it needs; it begins once it is given its matter.

    Args:
        prepare: makes the work ready and returns it.

    Returns:
        what takes the matter and returns what waits for what is made of it; where a copy does not do it, it is done here, as
        with `begun`. Matter of more than some ten kilobytes is taken once the work is ready.
    """
    receiving, sending = multiprocessing.Pipe(duplex=False)
    given: list[Given] = []

    def work() -> Made:
        sending.close()  # the copy's own, so that it sees where this process ends without a word
        return prepare()(given[0] if given else receiving.recv())

    wait = begun(work)
    receiving.close()  # nobody but the copy is waiting to be given it: one that has ended is noticed

    def give(matter: Given) -> Callable[[], Made]:
        given.append(matter)
        with suppress(OSError):  # of a copy that has ended
            sending.send(matter)
        return wait

    return give


def _send(work: Callable[[], object], sending: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the original, whose end is the copy's
    try:
        sending.send(work())
    except Exception:
        sending.close()  # it will be done again where its error is seen


Draw = Callable[[Material], Picture]

Images = tuple[dict[str, Image], dict[str, str]]
"""Pictures by name, and of those that there is no data for why not."""


def begin(pictures: Mapping[str, Draw], material: Material, forms: Collection[str]) -> Callable[[], Images]:
    """Begins to draw; calling what is returned waits for the pictures, in their order.

    Args:
        pictures: file name without ending -> what draws it.
        forms: of ``png`` and ``svg``, what they are written as.
    """
    names = list(pictures) if forms else []
    tickets, printer = os.pipe()  # a byte for each picture, which goes to the copy that reads it first
    os.write(printer, bytes(range(len(names))))
    os.close(printer)

    def share() -> dict[str, Image | str]:
        found = {}
        while ticket := os.read(tickets, 1):
            name = names[ticket[0]]
            found[name] = _image(pictures[name], material, forms)
        return found

    waiting = [begun(share) for _ in range(min(cores(), len(names)))]

    def wait() -> Images:
        found = {name: image for each in waiting for name, image in each().items()}
        os.close(tickets)
        for name in names:
            if name not in found:  # the copy that took it died
                found[name] = _image(pictures[name], material, forms)
        made = {name: image for name in names if isinstance(image := found[name], Image)}
        lacking = {name: reason for name in names if isinstance(reason := found[name], str)}
        return made, lacking

    return wait


def _image(draw: Draw, material: Material, forms: Collection[str]) -> Image | str:
    """A picture as it is written, or why there is none."""
    # Before the style of our pictures is set, which seaborn would take for the user's own.
    import_module("seaborn")
    try:
        return image(draw(material), forms)
    except NoDataError as error:
        return str(error)
    except Exception as error:  # of numbers that no run gives; the tables stand without the picture
        return f"it cannot be drawn: {type(error).__name__}: {message_of(error, first_line=True)}"
