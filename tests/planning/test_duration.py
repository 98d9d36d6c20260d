import pytest

from capsbench.errors import Kind, UsageError
from capsbench.planning.duration import parse_duration


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("1.5h", 5400), ("2d", 172800), (0.5, 0.5), (" 2 H ", 7200)],
)
def test_a_duration_is_a_number_and_a_unit(value, seconds):
    assert parse_duration("cell_timeout", value) == seconds


@pytest.mark.parametrize("value", ["", "0", "-1", "1w", "h", "nan", "inf", "1e3", "400d", "1 h 30 m", True])
def test_anything_else_is_refused(value):
    with pytest.raises(UsageError) as caught:
        parse_duration("cell_timeout", value)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INVALID, "cell_timeout", value)
