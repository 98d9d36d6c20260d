"""The exit code of a check, and what it lets pass."""

import pytest

from capsbench.comparing.checked import ORDER, Checked, Finding
from capsbench.comparing.formats import verdict_of


def check_of(*kinds):
    return Checked("against", "out", 1.0, 1.5, [Finding(kind, "em", "test accuracy", "") for kind in kinds])


@pytest.mark.parametrize(
    ("kinds", "code", "worse"),
    [
        ([], 0, 0),
        (["changed", "better", "not judged", "new"], 0, 0),
        (["regression", "new"], 1, 1),
        (["failed", "regression"], 1, 2),
        (["failed"], 3, 1),
        (["missing", "missing"], 3, 2),
    ],
)
def test_a_regression_is_1_and_what_failed_or_is_missing_3(kinds, code, worse):
    checked = check_of(*kinds)
    assert checked.exit_code == code
    assert len(checked.worse) == worse


def test_findings_are_found_by_their_kinds_the_worst_first():
    checked = check_of("new", "failed", "new")
    assert [finding.kind for finding in checked.select("new", "better")] == ["new", "new"]
    assert ORDER == ("regression", "failed", "missing", "changed", "better", "not judged", "new")
    assert (checked.identical, list(checked.tests.columns)[:2]) == (0, ["contender", "name"])


def test_a_notebook_shows_the_verdict_and_then_the_findings():
    checked = check_of("regression", "new")
    output = checked.describe_output()
    assert verdict_of(checked) in output.lead
    assert [row[0] for row in output.tables[0].rows] == ["regression", "new"]
    assert check_of().describe_output().tables == []
