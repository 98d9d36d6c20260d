import pytest

from tests.comparing.records import SEEDS, draws, write


@pytest.fixture
def reference(tmp_path):
    """A reference of five seeds of four networks."""
    return write(tmp_path / "reference", [record for seed in SEEDS for record in draws(seed)])
