"""The house stays tidy: few files lie loose, and folders and files stay small enough to be read."""

from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
PACKAGES = [
    CHECKOUT / "capsbench",
    CHECKOUT / "kernels" / "capsbench_kernels",
    CHECKOUT / "baselines" / "capsbench_baselines",
]
SOURCES = [path for package in PACKAGES for path in sorted(package.rglob("*.py"))]


def test_few_files_lie_loose() -> None:
    loose = [path.name for path in SOURCES if path.parent == CHECKOUT / "capsbench"]
    assert len(loose) <= 6, loose


@pytest.mark.parametrize("folder", sorted({path.parent for path in SOURCES}), ids=lambda folder: folder.name)
def test_a_folder_holds_no_more_than_20_files(folder: Path) -> None:
    assert len([path for path in folder.iterdir() if path.is_file()]) <= 20


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_a_file_has_no_more_than_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
