"""Files of tensors beside records: weights, arrays of measures, and checkpoints. Each is checked against its digest.

The digests of weights and arrays are on record; a file that has no record yet holds its own (`write_sealed`).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load

from capsbench.errors import Kind, UsageError
from capsbench.measures.accuracy.spec import TEST_ACCURACY
from capsbench.records.disk import open_file, read_file, replace_file
from capsbench.records.record import Artifact, Measurement, Record, Row

if TYPE_CHECKING:
    from torch import Tensor


REMEDY_FOR_WEIGHTS = "put back the file that was written with it, or train the network again with {flag:fresh}"
REMEDY_FOR_KEPT = "the next `capsbench run` of its cell measures again, if the weights are in the folder"


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Writes tensors as safetensors, completely or not at all, and returns the file's digest; raises StorageFailed."""
    from safetensors.torch import save  # reading records needs no torch, which takes seconds to import

    with replace_file(path) as temporary:
        # safetensors would write a file that only its owner can read, whatever the umask.
        content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def read_weights(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """Reads the tensors of a file; raises UsageError as `read_bytes`."""
    from safetensors.torch import load as load_tensors

    content = read_bytes(path, sha256, REMEDY_FOR_WEIGHTS)
    try:
        return load_tensors(content)
    except SafetensorError as error:
        raise _to_usage_error(path, error) from error


def read_arrays(path: Path, sha256: str | None) -> dict[str, NDArray[Any]]:
    """Reads the arrays of a file; raises UsageError as `read_bytes`."""
    content = read_bytes(path, sha256, REMEDY_FOR_KEPT)
    try:
        return load(content)
    except SafetensorError as error:
        raise _to_usage_error(path, error) from error
    except (KeyError, ValueError) as error:  # types and shapes of safetensors that NumPy lacks, such as bfloat16
        raise UsageError(Kind.DAMAGED, f"NumPy has no such array: {error}", file=path) from error


def read_bytes(path: Path, sha256: str | None, remedy: str | None = None) -> bytes:
    """Reads a file beside a record.

    Args:
        sha256: the digest on record, if there is one.
        remedy: what to do about a file with another digest.

    Raises:
        UsageError: the file is absent (MISSING), cannot be read (INACCESSIBLE), or has changed since it was written (DAMAGED).
    """
    with _named_read_errors(path):
        content = read_file(path, math.inf)
    _check_digest(path, hashlib.sha256(content).hexdigest(), sha256, remedy)
    return content


def copy_file(path: Path, copy: Path, sha256: str | None, remedy: str) -> str:
    """Copies a file beside a record, completely or not at all, and returns its digest; it is read once, whatever its size.

    It is no link: a program that overwrites the file in its place, as `scp` does, would change the other folder's too.

    Raises:
        UsageError: as `read_bytes`, with the same arguments; or, without a digest on record, it has no tensors (DAMAGED).
        StorageFailed: the copy cannot be written.
    """
    with ExitStack() as stack:
        with _named_read_errors(path):
            original = stack.enter_context(open_file(path))
        temporary = stack.enter_context(replace_file(copy))
        digest = hashlib.sha256()
        with temporary.open("wb") as written:
            while chunk := _read_chunk(path, original):
                digest.update(chunk)
                written.write(chunk)
        _check_digest(path, digest.hexdigest(), sha256, remedy)
        if sha256 is None:
            _check_tensors(path, temporary)
    return digest.hexdigest()


def _read_chunk(path: Path, original: BinaryIO) -> bytes:
    with _named_read_errors(path):
        return original.read(2**20)


def _check_tensors(path: Path, copy: Path) -> None:
    """Raises UsageError if the copy of a file is not one of tensors: a link may lead to any file of the user's."""
    try:
        with safe_open(copy, "numpy"):
            pass
    except SafetensorError as error:
        raise _to_usage_error(path, error) from error


@contextmanager
def _named_read_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(Kind.MISSING, f"cannot be read: {error.strerror}", file=path) from error
    except OSError as error:
        raise UsageError(Kind.INACCESSIBLE, f"cannot be read: {error.strerror}", file=path) from error


def _check_digest(path: Path, digest: str, sha256: str | None, remedy: str | None) -> None:
    if sha256 not in (None, digest):
        raise UsageError(Kind.DAMAGED, "its digest is not that on record", file=path, expected=remedy)


def write_sealed(path: Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> None:
    """Writes tensors and texts as safetensors with a digest of the whole file in it; raises StorageFailed."""
    from safetensors.torch import save

    with replace_file(path) as temporary:
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        content = memoryview(save(contiguous, {**texts, "digest": _BLANK.decode()}))
        start, end = _find_digest(content)
        with temporary.open("wb") as file:
            file.write(content[:start])
            file.write(hashlib.sha256(content).hexdigest().encode())
            file.write(content[end:])


def read_sealed(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads the tensors and texts of a file that `write_sealed` wrote.

    Raises:
        UsageError: as `read_bytes`; the file is DAMAGED if any byte differs from what was written.
    """
    from safetensors.torch import load as load_tensors

    content = memoryview(read_bytes(path, None))
    try:
        start, end = _find_digest(content)
        digest = hashlib.sha256(content[:start])
        digest.update(_BLANK)
        digest.update(content[end:])
        if digest.hexdigest().encode() != content[start:end]:
            raise ValueError("not as it was written: its digest differs")
        texts = json.loads(bytes(content[8 : 8 + _read_header_size(content)]))["__metadata__"]
        return load_tensors(bytes(content)), texts
    except (SafetensorError, ValueError) as error:
        raise UsageError(Kind.DAMAGED, str(error).partition("\n")[0], file=path) from error


_BLANK = b"0" * 64
"""Stands in the place of the digest while the digest is computed."""

_DIGEST = re.compile(rb'"digest":"([0-9a-f]{64})"')


def _find_digest(content: memoryview) -> tuple[int, int]:
    """Returns the start and the end of the digest in the header of a file; raises ValueError if it has none."""
    # In the texts of the header quotes are escaped, so that the pattern cannot be a part of one.
    found = _DIGEST.search(content, 8, 8 + _read_header_size(content))
    if found is None:
        raise ValueError("it has no digest of itself")
    return found.span(1)


def _read_header_size(content: memoryview) -> int:
    """Returns the size of the header of safetensors, which its first 8 bytes give."""
    return int.from_bytes(content[:8], "little")


def read_kept(folder: Path, taken: Measurement) -> dict[str, NDArray[Any]]:
    """Reads the arrays that a measure kept, if any; predictions are checked against the accuracy on record.

    Raises:
        UsageError: as `read_bytes`, or the predictions contradict the record (DAMAGED).
    """
    if taken.kept is None:
        return {}
    path = folder / taken.kept.path
    arrays = read_arrays(path, taken.kept.sha256)
    check_predictions(path, taken.rows, arrays)
    return arrays


def find_unreadable_kept(folder: Path, records: Iterable[Record]) -> list[UsageError]:
    """Lists the errors of kept files that exist but cannot be read or do not belong to their records.

    An absent file is no error: a folder of reference results has only some of the files.
    """
    faults = []
    for taken in (taken for record in records for taken in record.measures.values()):
        try:
            read_kept(folder, taken)
        except UsageError as error:
            if error.kind is not Kind.MISSING:
                faults.append(error)
    return faults


def find_damaged_kept(folder: Path, record: Record, specs: Iterable[str]) -> dict[str, Path]:
    """Returns spec -> file for those of some measures on record whose kept files were changed after they were written."""
    taken = {spec: record.measures[spec] for spec in specs if spec in record.measures}
    return {
        spec: folder / measurement.kept.path
        for spec, measurement in taken.items()
        if measurement.kept is not None and _is_damaged(folder, measurement, measurement.kept)
    }


def _is_damaged(folder: Path, taken: Measurement, kept: Artifact) -> bool:
    try:
        if kept.sha256 is not None:
            read_bytes(folder / kept.path, kept.sha256, REMEDY_FOR_KEPT)
        else:  # schema 1 has no digests
            read_kept(folder, taken)
    except UsageError as error:
        return error.kind is Kind.DAMAGED
    return False


def _to_usage_error(path: Path, error: SafetensorError) -> UsageError:
    return UsageError(Kind.DAMAGED, str(error).partition("\n")[0], file=path)


def are_correct(predictions: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Compares predictions with labels; an image with several labels is correct if all its classes are.

    Args:
        predictions: ``[..., N]``; ``[..., N, K]`` with the K classes of an image in ascending order; or ``[..., N, classes]``,
            bool.
        labels: ``[N]``; ``[N, K]`` if an image has K labels; or ``[N, classes]``, bool, if it has any number.

    Returns:
        ``[..., N]``.
    """
    ordered = labels if labels.ndim == 1 or labels.dtype == np.bool_ else np.sort(labels, axis=-1)
    same = predictions == ordered
    return same.all(axis=-1) if labels.ndim > 1 else same


def check_predictions(path: Path, rows: Iterable[Row], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raises UsageError if the predictions in a file do not fit their labels, or the accuracy in the rows of their measure."""
    if not {"label", "prediction"} <= arrays.keys():
        return
    labels, predictions = arrays["label"], arrays["prediction"]
    if labels.ndim not in (1, 2) or labels.shape != predictions.shape or not len(labels):
        shapes = f"predictions of shape {list(predictions.shape)} and labels of shape {list(labels.shape)}"
        raise UsageError(Kind.DAMAGED, f"expected one prediction for each label, got {shapes}", file=path)
    count = int(are_correct(predictions, labels).sum())
    for accuracy in (row.value for row in rows if row[:3] == TEST_ACCURACY):
        if abs(count - accuracy * len(labels)) > 0.25:  # accuracies of old records were rounded to float32
            problem = (
                f"{count} of its {len(labels)} predictions are correct, but the accuracy on record is {accuracy:.4g}"
            )
            raise UsageError(Kind.DAMAGED, problem, file=path)
