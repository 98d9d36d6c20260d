import pytest

from capsbench.errors import Kind, UsageError
from capsbench.planning.duration import parse_duration, spell_duration


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *[("90", 90), ("90s", 90), ("30m", 1800), ("1.5h", 5400), ("2d", 172800), (0.5, 0.5), (" 2 H ", 7200)],
        *[("1h30m", 5400), ("1d12h", 129600), ("1h0m1.5s", 3601.5)],
    ],
)
def test_a_duration_is_a_number_and_a_unit_or_several(value, seconds):
    assert parse_duration("cell_timeout", value) == seconds


@pytest.mark.parametrize(
    "value", ["", "0", "-1", "1w", "h", "nan", "inf", "1e3", "400d", "1 h 30 m", "30m1h", "1h1h", "1h30", True]
)
def test_anything_else_is_refused(value):
    with pytest.raises(UsageError) as caught:
        parse_duration("cell_timeout", value)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INVALID, "cell_timeout", value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.34, "0.3 s"), (45, "45 s"), (720, "12 min"), (27_000, "7.5 h"), (276_480, "3.2 days"), (89.6, "90 s")],
)
def test_a_duration_is_spelled_in_one_unit(seconds, text):
    assert spell_duration(seconds) == text
