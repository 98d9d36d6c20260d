"""Images that lie in a file as bytes, and become floats where they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from capsbench.data.images import split_rows

WHITE = 255

_SAME = (torch.ops.aten.detach.default, torch.ops.aten.alias.default)


class StoredImages(Tensor):
    """Images ``[N, C, H, W]`` from 0 to 1, some rows of an array of bytes that may be larger than the memory.

    It is a tensor, of which indexing, `split_rows` and loops read only the rows they need. Any other operation first reads all
    rows as floats. Moved to another device or dtype, the images remain bytes.

    Args:
        levels: ``[M, C, H, W]``: uint8, of which `WHITE` is 1, or float32.
        rows: ``[N]`` indices of the images in ``levels``, on the same device.
        dtype: that of the floats.
    """

    levels: Tensor
    rows: Tensor
    # Subclasses of Tensor would otherwise pass their type on to all results.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, levels: Tensor, rows: Tensor, dtype: torch.dtype = torch.float32) -> Self:
        shape = (len(rows), *levels.shape[1:])
        images: Self = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=levels.device)
        images.levels, images.rows = levels, rows
        return images

    def __getitem__(self, which: Any) -> Tensor:
        if not isinstance(which, tuple):
            return self._read(self.rows[which]) if which is not None and which is not ... else self.read()[which]
        first, *rest = which
        if not isinstance(first, slice) or not all(isinstance(index, int | slice) for index in rest):
            return self.read()[which]
        # Edges or single pixels of all images need a block of images at a time.
        blocks = split_rows(self.select_rows(self.rows[first]))
        return torch.cat([block[(slice(None), *rest)] for block in blocks])

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:  # type: ignore[override]
        return f"{type(self).__name__}({list(self.shape)}, {self.dtype}, {self.device})"

    def read(self) -> Tensor:
        """Returns all images as floats, which takes the memory of all of them."""
        images = self.levels.new_empty(self.shape, dtype=self.dtype)
        for place, block in zip(split_rows(images), split_rows(self), strict=True):
            place.copy_(block)
        return images

    def select_rows(self, rows: Tensor) -> StoredImages:
        """Returns other rows of the same file."""
        return StoredImages(self.levels, rows, self.dtype)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        return self.select_rows(self.rows[index]) if dim == 0 else self.read().index_select(dim, index)

    def split(self, split_size: Any, dim: int = 0) -> Sequence[Tensor]:
        if dim:
            return self.read().split(split_size, dim)
        return tuple(self.select_rows(rows) for rows in self.rows.split(split_size))

    def numpy(self, *, force: bool = False) -> Any:
        return self.read().numpy(force=force)

    def tolist(self) -> Any:
        return self.read().tolist()

    def _read(self, rows: Tensor) -> Tensor:
        """Returns rows of ``levels`` as floats."""
        levels = self.levels[rows]
        if levels.dtype != torch.uint8:
            return levels.to(self.dtype)
        # A table, since division by a constant differs in its last bit between devices.
        grey = torch.arange(WHITE + 1, dtype=torch.float32) / torch.tensor(float(WHITE))
        return grey.to(levels.device, self.dtype)[levels.int()]

    def _move(self, device: torch.device, dtype: torch.dtype) -> StoredImages:
        if device == self.levels.device:
            return StoredImages(self.levels, self.rows, dtype)
        levels = torch.empty(self.shape, dtype=self.levels.dtype, device=device)
        start = 0
        for block in split_rows(self.rows, self.levels[0].numel()):
            levels[start : start + len(block)] = self.levels[block].to(device)
            start += len(block)
        return StoredImages(levels, torch.arange(len(levels), device=device), dtype)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        images = args[0] if args else None
        if isinstance(images, StoredImages):
            if function in _SAME:
                return images.select_rows(images.rows)
            if function is torch.ops.aten._to_copy.default:
                return images._move(kwargs.get("device") or images.device, kwargs.get("dtype") or images.dtype)
            if function._schema.is_mutable:
                raise TypeError("images of a data set cannot be changed in place; clone them")
        read = tree_map_only(StoredImages, StoredImages.read, (args, kwargs))
        return function(*read[0], **read[1])
