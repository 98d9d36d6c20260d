import pytest
from scipy import stats

from capsbench.stats.shares import wilson_interval


@pytest.mark.parametrize(("hits", "images"), [(0, 10), (10, 10), (7, 10), (487, 500), (9_920, 10_000)])
@pytest.mark.parametrize("level", [0.05, 0.001])
def test_it_is_scipys(hits: int, images: int, level: float) -> None:
    known = stats.binomtest(hits, images).proportion_ci(1 - level, method="wilson")
    assert wilson_interval(hits / images, images, level) == pytest.approx((known.low, known.high), abs=1e-12)
