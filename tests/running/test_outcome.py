"""The outcome of a run, as a notebook shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from capsbench.records.record import Record
from capsbench.running.outcome import Outcome

Make = Callable[..., Record]


def test_it_counts_the_cells_and_names_the_failed_ones(failed: Make) -> None:
    record = failed("<i>out of memory</i>")
    outcome = Outcome(["a", "b"], ["c"], [record], left=["d", "e"], interrupted=True, left_out={"mnist": "not here"})
    output = outcome.describe_output()
    assert output.lead == outcome.describe()
    assert outcome.describe("results").startswith("3 of 6 cells on record in results, 1 failed")
    assert output.tables[0].rows == [[record.cell.title, record.reason]]
    assert output.cautions[0].startswith("interrupted, 2 left")
    assert output.items == ["mnist is left out: not here"]
    assert "<i>" not in outcome._repr_html_()
    assert "3 of 6" in repr(outcome)
    assert "2 left: the same call continues" in repr(outcome)  # also where no HTML is shown


def test_thousands_of_cells_make_a_short_repr() -> None:
    outcome = Outcome([str(number) for number in range(10_000)])
    assert "10000 of 10000" in repr(outcome)
    assert len(repr(outcome)) < 100
    assert len(outcome._repr_html_()) < 3000


def test_programs_and_python_are_told_of_an_interrupt_by_one_name() -> None:
    for outcome in (Outcome(interrupted=True), Outcome()):
        told = {name for name in dir(outcome) if "interrupted" in name}
        assert told == {name for name in asdict(outcome) if "interrupted" in name} == {"interrupted"}
    assert (Outcome(interrupted=True).interrupted, Outcome().interrupted) == (True, False)
