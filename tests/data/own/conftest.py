from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

PutImages = Callable[..., Path]


@pytest.fixture
def put_images(tmp_path: Path) -> PutImages:
    """Writes ``count`` grey PNG images of each class into a folder each; the pixels of image i are i. No two files are equal."""

    def put(
        folder: str = "shapes", classes: Sequence[str] = ("bar", "ring"), count: int = 10, size: Any = (6, 5), mode="L"
    ) -> Path:
        for name in classes:
            path = tmp_path / folder / name
            path.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = np.full((*size, 3), number, dtype=np.uint8)
                about = PngInfo()
                about.add_text("Title", f"{folder} {name} {number}")
                Image.fromarray(pixels).convert(mode).save(path / f"{number:03}.png", pnginfo=about)
        return tmp_path / folder.partition("/")[0]

    return put
