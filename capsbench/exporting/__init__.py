"""Trained networks as files for other programs: ONNX, programs of torch, safetensors, folders for a hub of models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from capsbench.errors import Kind, StorageFailed, UsageError
from capsbench.exporting.formats import write_onnx, write_safetensors, write_torch_export
from capsbench.exporting.hub import write_hub_folder
from capsbench.exporting.program import TOLERANCE, Checked
from capsbench.predicting import find_trained
from capsbench.predicting.hub import CARD, CONFIG, WEIGHTS, is_hub_folder, load_hub_folder
from capsbench.records.cell import Cell

__all__ = ["FORMATS", "TOLERANCE", "Exported", "export"]

HUB = "hub"

ENDINGS = {"onnx": ".onnx", "torch-export": ".pt2", "safetensors": ".safetensors", HUB: ""}
"""Format -> the ending of its file; a hub's is a folder."""

WRITERS = {"onnx": write_onnx, "torch-export": write_torch_export, "safetensors": write_safetensors}
"""Format of a file -> the function that writes it."""

FORMATS = tuple(ENDINGS)

OF_RECORDS = ("records", "weights", "checkpoints", "kept", "between", "runs")
"""The folders of a results folder (`capsbench.records.store`) in which nothing is exported."""


@dataclass(frozen=True)
class Exported:
    """The result of `export`.

    Attributes:
        cell, title: of the network.
        files: the written files.
        checked: the largest difference of the outputs from the network's, and the batches of random images.
        faults: a line for each record that cannot be read.
    """

    cell: Cell
    title: str
    files: list[Path]
    checked: Checked
    faults: list[str]


def export(
    cell: str | Path | None = None,
    to: str = "onnx",
    out: str | Path | None = None,
    *,
    folder: str | Path = "results",
    allow_code: bool = False,
) -> Exported:
    """Writes a trained network for other programs, and checks the file: it must compute what the network computes.

    The check runs batches of 1 and 5 random images through the file, by ONNX Runtime or torch, and through the network; no output
    may differ by more than `TOLERANCE`. What fails it is not written.

    Args:
        cell: as in `capsbench.network`.
        to: ``onnx``; ``torch-export``, a ``.pt2`` that needs torch alone; ``safetensors``, the weights, with a JSON of the cell
            beside them; or ``hub``, a folder with weights, configuration and model card.
        out: the file, or the folder for ``hub``; by default ``CELL.onnx``, ``CELL.pt2`` or ``CELL.safetensors`` in
            ``FOLDER/exported``, or ``FOLDER/exported/CELL``.
        folder: the results folder, unless ``cell`` is a path.
        allow_code: as in `capsbench.network`.

    Raises:
        UsageError: as `capsbench.network`; an unknown format, missing packages, or a network that the format cannot express; or
            the file cannot be written.
        ExportFailed: the outputs of the file are not those of the network.
    """
    if to not in ENDINGS:
        raise UsageError(Kind.UNKNOWN, flag="to", value=to, expected=FORMATS)
    return _export_network(cell, to, out, folder, allow_code)


def _export_network(
    cell: str | Path | None, to: str, out: str | Path | None, folder: str | Path, allow_code: bool
) -> Exported:
    if cell is not None and is_hub_folder(Path(cell)):
        return _export_from_hub(Path(cell), to, out, allow_code)
    try:
        found = find_trained(cell, folder)
    except UsageError as error:
        error.flag = "folder" if error.flag == "out" else error.flag  # here, that is what is written
        raise
    path = _choose_path(out, to, found.store.folder / "exported" / found.record.cell.id)
    trained = found.load(allow_code)
    with _name_unwritable(path):
        checked = write_hub_folder(found, trained, path) if to == HUB else WRITERS[to](trained, path)
    files = [path / name for name in (CARD, CONFIG, WEIGHTS)] if to == HUB else _list_files(path)
    return Exported(found.record.cell, found.title, files, checked, found.faults)


def _export_from_hub(folder: Path, to: str, out: str | Path | None, allow_code: bool) -> Exported:
    """Exports a network from the folder of a hub, which has no record."""
    if to == HUB:
        raise UsageError(Kind.CONFLICT, "it is such a folder already", flag="CELL", file=folder, expected="copy it")
    trained = load_hub_folder(folder, allow_code)
    path = _choose_path(out, to, folder / trained.cell.id)
    with _name_unwritable(path):
        checked = WRITERS[to](trained, path)
    return Exported(trained.cell, trained.title, _list_files(path), checked, [])


@contextmanager
def _name_unwritable(path: Path) -> Iterator[None]:
    """Names a path that cannot be written, and the flag that names another."""
    try:
        yield
    except StorageFailed as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        raise UsageError(Kind.INACCESSIBLE, f"cannot be written: {reason}", flag="out", file=path) from error


def _choose_path(out: str | Path | None, to: str, default: Path) -> Path:
    """Returns the path to write; raises UsageError for another ending, a folder in the place of a file, or a place of records."""
    if out is None:
        return default.with_name(default.name + ENDINGS[to])
    path, ending = Path(out), ENDINGS[to]
    if any(folder.name in OF_RECORDS and _has_records(folder.parent) for folder in path.resolve().parents):
        problem = "there lie the files of the records, which an export could replace"
        raise UsageError(Kind.CONFLICT, problem, flag="out", file=path, expected="another folder")
    if ending and (path.suffix != ending or path.is_dir()):
        raise UsageError(Kind.INVALID, flag="out", expected=f"a file name that ends in {ending}", value=str(out))
    return path


def _has_records(folder: Path) -> bool:
    """Returns true for a results folder: a user's own may have folders called ``weights`` and ``records``, too."""
    return any((folder / "records").glob(f"{'[0-9a-f]' * 12}.json"))


def _list_files(path: Path) -> list[Path]:
    """Returns the files that a format writes: of safetensors also the description."""
    return [path, path.with_suffix(".json")] if path.suffix == ENDINGS["safetensors"] else [path]
