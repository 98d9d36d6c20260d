"""Digests of the loaded images and labels of a data set, part by part and all together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from capsbench.data.images import Splits, split_rows
from capsbench.data.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

LABELS = " labels"
"""Suffix of the names of digests of labels."""


def digest_parts(splits: Splits) -> dict[str, str]:
    """Returns name -> digest of ``train images``, ``train labels`` and so on, and of further facts such as ``test azimuth``."""
    tensors: dict[str, Tensor] = {}
    for name, images in splits.by_name().items():
        tensors |= {f"{name} images": images.images, f"{name}{LABELS}": images.labels}
    tensors |= {f"{name} {fact}": values for name, facts in splits.about.items() for fact, values in facts.items()}
    return {name: _digest_tensor(tensor) for name, tensor in tensors.items()}


def join_digests(parts: Mapping[str, str]) -> str:
    """Joins the digests of all parts to one: that of the labels, a hyphen, that of the rest.

    Labels are the same on every machine. Computed pixels may differ in their last bits between machines.
    """
    labels = {name: digest for name, digest in parts.items() if name.endswith(LABELS)}
    rest = {name: digest for name, digest in parts.items() if name not in labels}
    return "-".join(
        _shorten_digest(hashlib.sha256(json.dumps(digests, sort_keys=True).encode())) for digests in (labels, rest)
    )


def _digest_tensor(tensor: Tensor) -> str:
    digest = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)}".encode())
    for block in split_rows(tensor.detach()):
        digest.update(block.contiguous().flatten().view(torch.uint8).numpy().data)
    return _shorten_digest(digest)


def _shorten_digest(digest: hashlib._Hash) -> str:
    return digest.hexdigest()[:16]
