"""A row of a paper's table: which cells measure it, and what it may say."""

from decimal import Decimal

import pytest

from capsbench.planning.suites.published import RowError, read_rows, rows_of

ROW = {"table": "1", "row": "A", "metric": "error", "value": Decimal("0.25"), "source": "a paper"}


def published(**changes):
    (row,) = read_rows([ROW | changes])
    return row


@pytest.mark.parametrize(
    ("where", "fits"),
    [
        ({"routing": "dynamic"}, True),
        ({"routing": "em"}, False),
        ({"iterations": 3}, True),
        ({"iters": 3}, True),
        ({"iters": 3, "dataset": "mnist"}, False),
        ({"reconstruction": True}, True),
        ({"train-size": 100}, True),
        ({"train_size": "all"}, False),
        ({"stem": 32}, True),
        ({"network.stem": 32}, True),
        ({"routing.stem": 32}, False),
        ({"no_such_option": 1}, False),
    ],
)
def test_a_cell_fits_where_it_is_all_that_is_asked_for(make_cell, where, fits):
    cell = make_cell(iters=3, train_size=100)
    assert published(where=where).fits(cell) == fits


def test_all_training_images_are_asked_for_by_that_word(make_cell):
    assert published(where={"train-size": "all"}).fits(make_cell())


def test_a_cell_measures_the_rows_that_ask_for_most_of_it(make_cell):
    plain, ablated = published(where={"iters": 3}), published(where={"iters": 3, "loss": "spread"})
    clean = published(condition="clean", where={"iters": 3})
    rows = [plain, ablated, clean, published(not_reproduced="too large")]
    assert rows_of(make_cell(iters=3), rows) == [plain, clean]
    assert rows_of(make_cell(iters=3, loss="spread"), rows) == [ablated]
    assert rows_of(make_cell(iters=1), rows) == []


@pytest.mark.parametrize(("value", "rounding"), [("0.25", 0.005), ("20.0", 0.05), ("79", 0.5)])
def test_half_a_unit_of_the_last_digit_was_rounded_away(value, rounding):
    assert published(value=Decimal(value), where={"iters": 3}).rounding == pytest.approx(rounding)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"where": {}}, "where"),
        ({"not_reproduced": "no"}, "where"),
        ({"spread": 0.1}, "spread"),
        ({"trials": 3}, "spread"),
        ({"spread": 0.1, "trials": 1}, "trials"),
        ({"metric": "errors"}, "metric"),
        ({"valu": 1}, "valu"),
        ({"where": {"iters": [1, 2]}}, "where.iters"),
    ],
)
def test_a_row_that_cannot_be_is_named_with_what_is_wrong(changes, field):
    with pytest.raises(RowError) as caught:
        read_rows([ROW | {"where": {"iters": 1}}, ROW | {"row": "B", "where": {"iters": 1}} | changes])
    assert (caught.value.number, caught.value.row) == (2, "B")
    assert caught.value.field.startswith(field)  # a union adds which of its types refused
    assert caught.value.reason
    assert "\n" not in str(caught.value)
