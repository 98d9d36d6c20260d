"""Digits: the handwritten digits in scikit-learn, which need no download."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from capsbench.data.base import Dataset
from capsbench.data.draws import hold_out
from capsbench.data.images import Images, ImageShape, Splits
from capsbench.data.lazy import torch
from capsbench.errors import Kind, UsageError

FILE = "datasets/data/digits.csv.gz"
SHA256 = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"
"""SHA-256 digest of the decompressed content of `FILE`."""

REMEDY = "reinstall scikit-learn"


class Digits(Dataset):
    """1,797 handwritten digits of 8x8 pixels and 17 grey levels, by 13 writers (Alpaydin, Kaynak 1998).

    A fixed stratified split: 1,097 images for training, 200 for validation, 500 for the test. The splits share writers, so
    accuracies are above those for unseen writers.
    """

    image = ImageShape(1, 8, 8)
    classes = 10
    out_of_distribution = ("fashion-mnist", "kmnist", "notmnist", "notmnist-10k", "omniglot")
    source = "Alpaydin, Kaynak 1998; inside scikit-learn"
    licence = "CC BY 4.0"
    image_counts = MappingProxyType({"train": 1097, "validation": 200, "test": 500})
    epochs = 30
    shift = 1

    def load(self, folder: Path) -> Splits:
        rows = torch.from_numpy(_read_rows())
        images = rows[:, :-1].float().div(16).reshape(-1, *self.image)
        rest, test = hold_out(Images(images, rows[:, -1]), 500)
        train, validation = hold_out(rest, 200)
        return Splits(train, validation, test)


def _read_rows() -> np.ndarray[Any, Any]:
    """Reads rows ``[N, 65]``, int64, of pixels and a digit from scikit-learn's file; importing scikit-learn takes a second."""
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise UsageError(Kind.MISSING, "part of scikit-learn, which is not installed", flag="dataset", value="digits")
    path = Path(package.origin).parent / FILE
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(Kind.MISSING, f"cannot be read: {error}", file=path, expected=REMEDY) from error
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise UsageError(Kind.DAMAGED, "not the digits as published", file=path, expected=REMEDY)
    return np.loadtxt(content.decode().splitlines(), np.int64, delimiter=",")
