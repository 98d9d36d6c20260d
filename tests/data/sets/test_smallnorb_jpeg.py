from pathlib import Path

import pytest

from capsbench import registry
from capsbench.data.files import DataFile
from capsbench.data.sets.smallnorb import COPY_INFO, SmallNORB
from capsbench.data.sets.smallnorb_jpeg import SmallNORBJPEG
from capsbench.planning.suites import read_suite, suite_names
from capsbench.reporting.sections import claims
from tests.data.faults import missing_file

NAMES = ["", "-new-toys", "-azimuth", "-elevation"]


@pytest.mark.parametrize("split", NAMES)
def test_a_split_is_that_of_the_published_set_on_the_files_of_the_copy(split: str) -> None:
    published, copy = (registry.get("dataset", f"{name}{split}") for name in ("smallnorb", "smallnorb-jpeg"))
    assert copy().image_counts == published().image_counts
    assert copy.familiar == published.familiar
    assert copy.choose_held_out is published.choose_held_out
    assert copy.files == SmallNORBJPEG.files
    assert published.files == SmallNORB.files


@pytest.mark.parametrize("split", NAMES)
def test_no_published_number_and_no_claim_is_about_the_copy(split: str) -> None:
    name = f"smallnorb-jpeg{split}"
    assert name not in (*claims.NORB, *claims.VIEWPOINT_SETS)
    for suite in suite_names():
        assert all(row.where.get("dataset") != name for row in read_suite(suite).published)


@pytest.mark.usefixtures("offline")
def test_published_archives_are_not_taken_for_the_copy(tmp_path: Path) -> None:
    for file in SmallNORB.files:
        path = tmp_path / file.path
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"published")
    assert missing_file(SmallNORBJPEG().load, tmp_path) == tmp_path / SmallNORBJPEG.files[0].path


def test_the_copy_has_the_names_of_the_published_files_and_is_not_taken_for_them() -> None:
    for published, copy in zip(SmallNORB.files, SmallNORBJPEG.files, strict=True):
        assert copy.path == published.path.removesuffix(".gz")
        assert published.decompressed == (copy.bytes, None)
        assert copy.url is None
        known = [md5 for md5, _ in published.impostors]
        assert known == ([copy.md5] if "-info." in copy.path else [])
    assert {file.md5 for file in SmallNORBJPEG.files} >= {*COPY_INFO.values()}


def test_an_impostor_is_found_by_its_sum(tmp_path: Path) -> None:
    file = DataFile("set.gz", None, impostors=(("900150983cd24fb0d6963f7d28e17f72", "another set"),))
    (tmp_path / "set").write_bytes(b"abc")
    assert "another set" in str(file.find_fault(tmp_path / "set"))
    (tmp_path / "set").write_bytes(b"abd")
    assert file.find_fault(tmp_path / "set") is None
