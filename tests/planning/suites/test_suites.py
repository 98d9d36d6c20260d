"""A suite's file: what it says becomes requests, and the rows of a paper's table."""

from decimal import Decimal

import pytest

import capsbench
from capsbench.errors import Kind, UsageError
from capsbench.planning.suites import describe_suite, read_suite, suite_names

SHORT = 'routing = "em"\nseeds = 0\nbaseline = "none"\n'


@pytest.fixture
def written(tmp_path):
    """Writes a suite's file and gives its path."""

    def write(content):
        path = tmp_path / "mine.toml"
        path.write_text(content)
        return path

    return write


def test_a_file_without_matrices_is_one_request(written):
    suite = read_suite(written('routing = ["em"]\ntrain-size = 100\n[axis]\nrows = 3\n'))
    assert suite.matrices == [{"routing": ["em"], "train_size": 100, "rows": 3}]
    assert suite.published == []


def test_a_suite_is_the_union_of_its_matrices_each_cell_once(written):
    cells = capsbench.cells(written(SHORT + "[[matrix]]\niters = 1\n[[matrix]]\niters = [1, 2]\n"))
    assert [cell.iterations for cell in cells] == [1, 2]


def test_a_matrix_adds_to_what_stands_above_it_and_overrides_it(written):
    path = written(
        SHORT + "epochs = 3\n[axis]\nmass = 50\n[[matrix]]\nepochs = 5\n[[matrix]]\n[matrix.axis]\nmass = [10, 20]\n"
    )
    cells = capsbench.cells(path)
    assert [(cell.epochs, cell.options["routing.mass"]) for cell in cells] == [(5, 50.0), (3, 10.0), (3, 20.0)]


def test_an_option_may_be_one_of_some_matrices_only(written):
    path = written('seeds = 0\nbaseline = "none"\n[[matrix]]\nrouting = "em"\n[[matrix]]\nrouting = "dynamic"\n')
    cells = capsbench.cells(path, mass=7)
    assert [cell.options.get("routing.mass") for cell in cells] == [7.0, None]
    with pytest.raises(UsageError) as caught:
        capsbench.cells(path, masss=7)
    assert (caught.value.kind, caught.value.flag) == (Kind.UNKNOWN, "masss")
    assert "mass" in caught.value.expected


def test_what_is_asked_for_overrides_every_matrix(written):
    path = written(SHORT + "[[matrix]]\nepochs = 5\ntrain-size = 100\n[[matrix]]\nepochs = 6\n")
    (cell,) = capsbench.cells(path, epochs=1, train_size=50, seeds=4)
    assert (cell.epochs, cell.train_size, cell.seed) == (1, 50, 4)


SELECTED = (
    SHORT
    + '[[matrix]]\ndataset = ["digits", "mnist"]\nepochs = 5\n[[matrix]]\ndataset = "kmnist"\niters = [1, 2]\nepochs = 6\n'
)


@pytest.mark.parametrize(
    ("asked", "cells"),
    [
        ({"dataset": "mnist"}, [("mnist", 5, 2)]),
        ({"dataset": "kmnist", "iters": 1}, [("kmnist", 6, 1)]),
        ({"dataset": ["digits", "kmnist"]}, [("digits", 5, 2), ("kmnist", 6, 1), ("kmnist", 6, 2)]),
        ({"dataset": "cifar10", "iters": 2}, [("cifar10", 5, 2), ("cifar10", 6, 2)]),  # nobody's: for all of them
        ({"iters": 2, "dataset": "digits"}, [("digits", 5, 2)]),
        ({"epochs": 5, "dataset": "mnist,kmnist", "iters": "2"}, [("mnist", 5, 2), ("kmnist", 5, 2)]),
    ],
)
def test_what_matrices_are_about_is_chosen_among_them(written, asked, cells):
    found = capsbench.cells(written(SELECTED), **asked)
    assert sorted((cell.dataset, cell.epochs, cell.iterations) for cell in found) == sorted(cells)


def test_all_stands_for_every_name(written):
    path = written('size = "tiny"\nseeds = 0\nrouting = "all"\nbaseline = "all"\n')
    cells = capsbench.cells(path)
    assert {cell.routing for cell in cells} - {None} == {*capsbench.registry.names("routing")}
    assert {cell.network for cell in cells if not cell.has_routing} == {*capsbench.registry.names("baseline")}


def test_a_published_value_keeps_the_digits_that_are_printed(written):
    row = '[[published]]\ntable = "1"\nrow = "a"\nmetric = "error"\nvalue = 0.50\nsource = "x"\nwhere = {iters = 1}\n'
    (published,) = read_suite(written(SHORT + row)).published
    assert published.value == Decimal("0.50")
    assert str(published.value) == "0.50"


@pytest.mark.parametrize(
    ("content", "value", "expected"),
    [
        ('[matrix]\nrouting = "em"', {"routing": "em"}, "[[matrix]]"),
        ("[[matrix]]\naxis = 3", 3, "[matrix.axis]"),
        ("published = 3", 3, "[[published]]"),
    ],
)
def test_a_file_of_another_form_is_named(written, content, value, expected):
    path = written(content)
    with pytest.raises(UsageError) as caught:
        read_suite(path)
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.INVALID, "suite", path)
    assert caught.value.value == value
    assert expected in caught.value.expected


def test_a_key_that_is_unknown_comes_with_the_file_and_the_keys_there_are(written):
    path = written('[[matrix]]\nroutin = "em"')
    with pytest.raises(UsageError) as caught:
        read_suite(path)
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.UNKNOWN, "suite", path)
    assert caught.value.value == "routin"
    assert {"routing", "train-size", "baseline-size"} <= {*caught.value.expected}


@pytest.mark.parametrize(("content", "row"), [('[[published]]\nrow = "A"', "A"), ("[[published]]", "without a name")])
def test_a_published_row_that_cannot_be_comes_with_the_file(written, content, row):
    path = written(content)
    with pytest.raises(UsageError) as caught:
        read_suite(path)
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.INVALID, "suite", path)
    error = caught.value.__cause__
    assert (error.number, error.row, error.field) == (1, row, "table")
    assert str(error) in str(caught.value)


def test_a_file_that_is_not_toml_is_named(written):
    path = written("routing = ")
    with pytest.raises(UsageError) as caught:
        read_suite(path)
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.DAMAGED, "suite", path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path, tmp_path / ("n" * 300)):
        with pytest.raises(UsageError) as caught:
            read_suite(path)
        assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.DAMAGED, "suite", path)


def test_a_suite_that_is_unknown_comes_with_those_there_are():
    with pytest.raises(UsageError) as caught:
        read_suite("demoo")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.UNKNOWN, "suite", "demoo")
    assert {*suite_names()} <= {*caught.value.expected}


def test_every_suite_describes_itself_in_a_line():
    for name in suite_names():
        assert describe_suite(name)
        assert "\n" not in describe_suite(name)


def test_a_flag_overrides_what_the_suite_says_under_another_name(written):
    suite = read_suite(written(SHORT + "iters = [1, 2]\n[axis]\nmass = 50\n"))
    assert suite.override_with({"iterations": 3})[0]["iters"] == 3
    assert "iterations" not in suite.override_with({"iterations": 3})[0]


def test_a_suite_that_says_one_thing_under_two_names_is_refused(written):
    with pytest.raises(UsageError) as caught:
        read_suite(written(SHORT + "iters = 1\n[axis]\niterations = 3\n"))
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "iters")


@pytest.mark.parametrize(("asked", "suite"), [({}, True), ({"routing": "none-such"}, False)])
def test_what_a_suite_asks_for_is_refused_in_its_name(written, asked, suite):
    path = written('routing = "none-such"')
    with pytest.raises(UsageError) as caught:
        capsbench.cells(path, **asked)
    assert (caught.value.flag, caught.value.value, caught.value.suite) == (
        "routing",
        "none-such",
        str(path) if suite else None,
    )
