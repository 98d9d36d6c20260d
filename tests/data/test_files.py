import hashlib
from pathlib import Path

import pytest

from capsbench.data.files import DataFile

CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("content", "size", "md5", "state"),
    [
        (None, None, None, (False, "missing")),
        (CONTENT, len(CONTENT), MD5, (True, "there, size and MD5 sum as published")),
        (CONTENT, len(CONTENT), None, (True, "there, size as published")),
        (CONTENT, None, None, (True, "there, no size or MD5 sum known")),
        (CONTENT[1:], len(CONTENT), MD5, (False, "damaged: expected 1024000 bytes, found 1023999")),
        (CONTENT[::-1], len(CONTENT), MD5, (False, f"damaged: expected the MD5 sum {MD5}, found ")),
    ],
)
def test_the_state_of_a_file(
    tmp_path: Path, content: bytes | None, size: int | None, md5: str | None, state: tuple[bool, str]
) -> None:
    if content is not None:
        (tmp_path / "images.gz").write_bytes(content)
    fit, text = DataFile("images.gz", None, size, md5).state(tmp_path)
    assert fit == state[0]
    assert text.startswith(state[1])


@pytest.mark.parametrize(("name", "decompressed"), [("images.gz", "images"), ("test.mat.zip", "test.mat")])
def test_a_decompressed_file_is_taken_in_place_of_the_published_one(
    tmp_path: Path, name: str, decompressed: str
) -> None:
    (tmp_path / decompressed).write_bytes(b"anything")
    file = DataFile(name, None, 5, MD5)
    assert file.found(tmp_path) == tmp_path / decompressed
    assert file.state(tmp_path) == (True, f"there, decompressed ({decompressed})")
    (tmp_path / name).write_bytes(b"12345")
    assert file.found(tmp_path) == tmp_path / name
