"""Seeds that have collapsed, beside a reference that had not."""

import pytest

from capsbench.comparing.collapse import describe_collapse
from capsbench.comparing.side import read_side
from tests.comparing.records import record, write
from tests.making import FINE, counted

FLAT = {"images": 500, "predicted": 490, "labelled": 52, "right": 62}
FLATTER = {"images": 500, "predicted": 495, "labelled": 52, "right": 51}


@pytest.fixture
def tell(tmp_path):
    def tell_of(before, now):
        sides = []
        for name, counts in (("a", before), ("b", now)):
            made = [counted(record(0.12, seed), **of_seed) for seed, of_seed in enumerate(counts)]
            sides.append(read_side(write(tmp_path / name, made), name))
        (reference,), (current,) = (side.contenders.values() for side in sides)
        return describe_collapse(reference, current, *sides)

    return tell_of


def test_the_worst_seed_that_collapsed_is_told_with_its_shares(tell):
    text = tell([FINE, FINE], [FLAT, FINE, FLATTER])
    assert text.startswith("collapsed in seeds 0, 2,")
    assert "99 % of the test images" in text
    assert text.endswith("and 10 % are right")


@pytest.mark.parametrize(("before", "now"), [([FINE], [FINE]), ([FLAT], [FLAT]), ([FINE, FLAT], [FLAT])])
def test_nothing_is_told_where_no_seed_has_collapsed_or_one_of_the_reference_had(tell, before, now):
    assert tell(before, now) == ""
