"""Builds the network of a record and loads its trained weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from capsbench.data.base import Dataset
from capsbench.data.digest import digest_parts, join_digests
from capsbench.data.images import Splits
from capsbench.data.own.described import describe_images
from capsbench.errors import FOREIGN, Kind, UsageError, message_of
from capsbench.networks.build import build_network
from capsbench.planning.edits import UNDO, describe_edits, find_edits
from capsbench.records.cell import DATA, Cell
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.rerun import find_repeats

RETRAINED = "retrained"
"""The results folder of the command that an error proposes for training a cell again."""


def load_network(record: Record, store: Store, retrain: str) -> tuple[Cell, nn.Module]:
    """Returns a trained network in evaluation mode, and its cell: on the CPU if it was trained on a GPU and there is none.

    Args:
        retrain: the advice of an error if the weights are missing or damaged.

    Raises:
        UsageError: no weights or damaged ones, code that is not trusted, or other code than in training.
    """
    if not store.has_weights(record):
        problem = f"its weights are not on record in {store.folder}"
        raise UsageError(
            Kind.MISSING, problem, flag="CELL", value=f"{record.cell.id}, {record.cell.title}", expected=retrain
        )
    sources = record.training.sources if record.training else {}
    check_unedited(record.cell, sources)
    cell = choose_device(record.cell)
    dataset = describe_images(cell, sources)
    network = build_trained(cell, lambda: store.read_weights(record), store.weights_of(record), retrain, dataset)
    return cell, network


def choose_device(cell: Cell) -> Cell:
    """Returns the cell on the CPU if it was trained on a GPU and there is none."""
    if cell.device.startswith("cuda") and not torch.cuda.is_available():
        return to_cpu(cell)
    return cell


def to_cpu(cell: Cell) -> Cell:
    """Returns a cell of a GPU as one of the CPU, with the backend that is best there."""
    return cell.model_copy(update={"device": "cpu", "backend": "auto"}) if cell.device.startswith("cuda") else cell


def check_unedited(cell: Cell, sources: Mapping[str, Mapping[str, str]]) -> None:
    """Raises UsageError if a user's own part was edited since the training; ``sources`` are those of `find_edits`."""
    if edited := find_edits(cell, sources):
        value = f"{cell.id}, {cell.title}"
        raise UsageError(Kind.CONFLICT, describe_edits(edited), flag="CELL", value=value, expected=UNDO)


def check_same_data(record: Record, splits: Splits, retrain: str) -> None:
    """Raises UsageError if the images or labels of a user's own data set are not those of the training."""
    cell = record.cell
    if DATA in cell.code and cell.code[DATA] != join_digests(digest_parts(splits)):
        problem = f"the images or labels of {cell.dataset} have changed since the training"
        value = f"{cell.id}, {cell.title}"
        raise UsageError(Kind.CONFLICT, problem, flag="CELL", value=value, expected=retrain)


def build_trained(
    cell: Cell,
    read_weights: Callable[[], dict[str, Tensor]],
    file: Path,
    remedy: str,
    dataset: Dataset | None = None,
) -> nn.Module:
    """Builds the network of a cell with the weights that ``read_weights`` returns, in evaluation mode.

    Args:
        file: the file of the weights, which errors name.
        remedy: what to do about a damaged file or record.
        dataset: as in `build_network`.

    Raises:
        UsageError: the network cannot be built, or the weights are not its weights.
    """
    try:
        network = build_network(cell, dataset=dataset)
    except UsageError:
        raise
    except FOREIGN as error:  # the record was edited by hand, or a user's own component raises any error
        problem = f"its network cannot be built: {message_of(error)}"
        value = f"{cell.id}, {cell.title}"
        raise UsageError(Kind.DAMAGED, problem, flag="CELL", value=value, expected=remedy) from error
    try:
        network.load_state_dict(read_weights())
    except (UsageError, RuntimeError) as error:
        reason = error.problem if isinstance(error, UsageError) else str(error).partition("\n")[0]
        problem = f"not the weights of {cell.title}: {reason}"
        raise UsageError(Kind.DAMAGED, problem, file=file, expected=remedy) from error
    return network.eval()


def advise_retraining(record: Record, store: Store, then: str) -> str:
    """Returns the advice to train a cell again, with the command.

    Args:
        then: what to call afterwards, in backquotes, with the results folder `RETRAINED`.
    """
    (repeat,) = find_repeats([record], store.runs()).contenders.values()
    if not repeat.command:
        return f"train it again; its command is unknown: {repeat.note}"
    return f"train it again by `{repeat.command} --out {RETRAINED}`, and then {then}"
