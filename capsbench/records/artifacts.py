"""Files of tensors beside records: weights, and what measures keep. A file is held against the digest on record."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from capsbench.errors import Kind, UsageError
from capsbench.records.disk import read_file, replace_file
from capsbench.records.predictions import check_predictions
from capsbench.records.record import Measurement, Record

if TYPE_CHECKING:
    from torch import Tensor


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Writes tensors as safetensors, whole or not at all; the file's digest. Raises StorageFailed where the disk refuses."""
    from safetensors.torch import save  # who only reads records needs no torch, which takes seconds to import

    with replace_file(path) as temporary:
        # Written here, since what safetensors writes itself can be read by its owner alone, whatever the umask.
        content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def read_weights(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """The tensors of a file; raises UsageError as `read_bytes`."""
    from safetensors.torch import load as load_tensors

    content = read_bytes(path, sha256)
    try:
        return load_tensors(content)
    except SafetensorError as error:
        raise _damaged(path, error) from error


def read_arrays(path: Path, sha256: str | None) -> dict[str, NDArray[Any]]:
    """The arrays of a file; raises UsageError as `read_bytes`."""
    content = read_bytes(path, sha256)
    try:
        return load(content)
    except SafetensorError as error:
        raise _damaged(path, error) from error


def read_bytes(path: Path, sha256: str | None) -> bytes:
    """The content of a file beside a record.

    Raises:
        UsageError: it is absent (MISSING), cannot be read (INACCESSIBLE), or is not the one that was written (DAMAGED).
    """
    try:
        content = read_file(path, math.inf)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(Kind.MISSING, f"cannot be read: {error.strerror}", file=path) from error
    except OSError as error:
        raise UsageError(Kind.INACCESSIBLE, f"cannot be read: {error.strerror}", file=path) from error
    if sha256 not in (None, hashlib.sha256(content).hexdigest()):
        raise UsageError(Kind.DAMAGED, "its digest is not that on record", file=path)
    return content


def read_kept(folder: Path, taken: Measurement) -> dict[str, NDArray[Any]]:
    """The arrays that a measure kept, none where it kept none; predictions are held against its accuracy.

    Raises:
        UsageError: as `read_bytes`, or the predictions are not those of the record (DAMAGED).
    """
    if taken.kept is None:
        return {}
    path = folder / taken.kept.path
    arrays = read_arrays(path, taken.kept.sha256)
    check_predictions(path, taken.rows, arrays)
    return arrays


def unreadable_kept(folder: Path, records: Iterable[Record]) -> list[UsageError]:
    """Why what measures kept of some records cannot be read, or is not theirs, file by file, where it is there.

    What is absent is none of them: a folder of reference results has no more than it was made with.
    """
    faults = []
    for taken in (taken for record in records for taken in record.measures.values()):
        try:
            read_kept(folder, taken)
        except UsageError as error:
            if error.kind is not Kind.MISSING:
                faults.append(error)
    return faults


def _damaged(path: Path, error: SafetensorError) -> UsageError:
    return UsageError(Kind.DAMAGED, str(error).partition("\n")[0], file=path)
