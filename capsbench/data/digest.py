"""Digests of what a data set gave: of its images and labels as they were loaded, part by part and all together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from capsbench.data.images import Splits
from capsbench.data.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

LABELS = " labels"
"""With what the name of a part ends that holds labels."""


def digest_parts(splits: Splits) -> dict[str, str]:
    """Part -> digest: ``train images``, ``train labels`` and so on, and what is known of the images beside (``test azimuth``)."""
    tensors: dict[str, Tensor] = {}
    for name, images in splits.named().items():
        tensors |= {f"{name} images": images.images, f"{name}{LABELS}": images.labels}
    tensors |= {f"{name} {fact}": values for name, facts in splits.about.items() for fact, values in facts.items()}
    return {name: _digest_tensor(tensor) for name, tensor in tensors.items()}


def join_digests(parts: Mapping[str, str]) -> str:
    """One digest of all parts: that of the labels, a hyphen, that of the rest.

    Labels are the same on every machine; computed pixels may differ in their last bits from one to another.
    """
    labels = {name: digest for name, digest in parts.items() if name.endswith(LABELS)}
    rest = {name: digest for name, digest in parts.items() if name not in labels}
    return "-".join(_shorten(hashlib.sha256(json.dumps(each, sort_keys=True).encode())) for each in (labels, rest))


def _digest_tensor(tensor: Tensor) -> str:
    digest = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)}".encode())
    digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().data)
    return _shorten(digest)


def _shorten(digest: hashlib._Hash) -> str:
    return digest.hexdigest()[:16]
