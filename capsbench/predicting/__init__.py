"""Trained networks for use: found in a results folder, loaded with their preprocessing, called with images of any kind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from capsbench.data.own.described import describe_images
from capsbench.errors import Kind, UsageError
from capsbench.planning.contender_defaults import title_cells
from capsbench.predicting.find_cell import find_record
from capsbench.predicting.hub import is_hub_folder, load_hub_folder
from capsbench.predicting.load import RETRAINED, advise_retraining, load_network
from capsbench.predicting.trained import Prediction, ScoreKind, TrainedNetwork
from capsbench.records.folder import allow_own
from capsbench.records.record import Record
from capsbench.records.store import Store

__all__ = ["Found", "Prediction", "ScoreKind", "TrainedNetwork", "find_trained", "network", "open_network"]


def network(cell: str | Path | None = None, out: str | Path = "results", *, allow_code: bool = False) -> TrainedNetwork:
    """Returns a trained network in evaluation mode, with its preprocessing: ``network("em x3, seed 0").predict("seven.png")``.

    Its data set is not loaded.

    Args:
        cell: the identity of a cell on record or its beginning, conditions such as ``routing=dynamic,iters=3``, or words of its
            title, as in `capsbench.show`; or a path: of a results folder, ``FOLDER/CELL``, or of a folder that
            `capsbench.export` wrote for a hub. None: the only cell with weights.
        out: the results folder, unless ``cell`` is a path.
        allow_code: import a user's own components that the records name, from the places where their runs found them.

    Raises:
        UsageError: no such cell, no weights of it or changed ones, or untrusted or changed code in it; the message says what to
            do.
    """
    return open_network(cell, out, allow_code=allow_code)[0]


def open_network(
    cell: str | Path | None, out: str | Path = "results", *, allow_code: bool = False
) -> tuple[TrainedNetwork, list[str]]:
    """Returns what `network` returns, and a line for each record that cannot be read."""
    if cell is not None and is_hub_folder(Path(cell)):
        return load_hub_folder(Path(cell), allow_code), []
    found = find_trained(cell, out)
    return found.load(allow_code), found.faults


class Found(NamedTuple):
    """The record of a trained cell, the title of the cell, its results folder, and a line for each unreadable record."""

    record: Record
    title: str
    store: Store
    faults: list[str]

    def load(self, allow_code: bool = False) -> TrainedNetwork:
        """Returns the network with its weights; raises UsageError as `network`."""
        if allow_code:
            allow_own(self.store)
        then = f"`capsbench.network('{RETRAINED}/{self.record.cell.id}')`"
        advice = advise_retraining(self.record, self.store, then)
        network = load_network(self.record, self.store, advice)[1]
        images = describe_images(self.record.cell, self.record.training.sources if self.record.training else {})
        return TrainedNetwork(self.record.cell, self.title, network, images)


def find_trained(cell: str | Path | None, out: str | Path = "results") -> Found:
    """Finds the record of a trained cell; the arguments and errors are those of `network`."""
    folder, wanted = split_place(cell, Path(out))
    if wanted is not None and not folder.exists():  # the word may be meant as either
        problem = f"no results folder, and no cell of {folder}, which does not exist"
        expected = "name FOLDER or FOLDER/CELL of a folder that `capsbench run` made"
        raise UsageError(Kind.MISSING, problem, flag="CELL", value=wanted, expected=expected)
    store = Store(folder)
    record, faults = find_record(store, wanted)
    title = title_cells(other.cell for other in store.records()[0])[record.cell.id]
    return Found(record, title, store, faults)


def split_place(place: str | Path | None, out: Path) -> tuple[Path, str | None]:
    """Splits the place of a cell into its results folder and the words that name it there, None if there are none."""
    if place is None:
        return out, None
    path, text = Path(place), str(place)
    has_folder = isinstance(place, Path) or os.sep in text
    if has_folder and not path.is_dir() and _holds_records(path.parent):
        return path.parent, path.name
    # A condition may hold a path, such as that of a data set.
    is_path = isinstance(place, Path) or (os.sep in text and "=" not in text)
    return (path, None) if is_path or _holds_records(path) else (out, text)


def _holds_records(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in ("records", "runs"))
