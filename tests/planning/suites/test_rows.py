"""Names of published rows."""

import pytest

from capsbench.errors import Kind, UsageError
from capsbench.planning.suites.rows import find_row, is_row_name, list_rows

SUITE = """
routing = "em"
deviations = ["the length is not stated"]

[[published]]
table = "Table 1"
row = "3 iterations"
metric = "error"
value = 1.80
source = "a paper"
where = { iters = 3 }

[[published]]
table = "Table 1"
row = "3 iterations, margin"
metric = "error"
value = 3.2
source = "a paper"
where = { iters = 3, loss = "margin" }
"""


@pytest.fixture
def suite(tmp_path, monkeypatch) -> str:
    (tmp_path / "mine.toml").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    return "mine.toml"


@pytest.mark.parametrize("words", ["1", "3 Iterations"])
def test_a_row_is_named_by_its_number_or_as_it_is_printed(words: str, suite: str) -> None:
    named = find_row(f"{suite}:{words}")
    assert (named.name, named.row.row, named.suite.deviations) == (
        "mine.toml:1",
        "3 iterations",
        ("the length is not stated",),
    )


def test_a_row_is_named_by_some_of_its_words(suite: str) -> None:
    assert find_row(f"{suite}:table margin").name == "mine.toml:2"


@pytest.mark.parametrize("words", ["", "iterations", "5 iterations"])
def test_candidates_are_listed_if_not_one_row_fits(words: str, suite: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_row(f"{suite}:{words}")
    assert (caught.value.kind, caught.value.flag) == (Kind.AMBIGUOUS, "ROW")
    assert "mine.toml:1" in str(caught.value)


@pytest.mark.parametrize("number", ["0", "3"])
def test_a_number_has_to_be_that_of_a_row(number: str, suite: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_row(f"{suite}:{number}")
    assert (caught.value.kind, caught.value.expected) == (Kind.INVALID, "a number from 1 to 2")


def test_a_suite_without_rows_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        find_row("demo:1")
    assert (caught.value.kind, caught.value.value) == (Kind.MISSING, "demo")


@pytest.mark.parametrize(
    ("text", "is_row"),
    [("sabour2017:5", True), ("sabour2017", True), ("a/b.toml:1", True), ("em x3, seed 0", False), ("1f0c", False)],
)
def test_what_begins_with_a_suite_names_a_row(text: str, is_row: bool) -> None:
    assert is_row_name(text) is is_row


def test_rows_are_listed_with_their_numbers(suite: str) -> None:
    assert list_rows(suite) == {
        "mine.toml:1": "Table 1: 3 iterations: error 1.80 %",
        "mine.toml:2": "Table 1: 3 iterations, margin: error 3.2 %",
    }
