"""What `compare` and `check` write: Markdown, JSON and JUnit XML."""

import json
import math
from types import SimpleNamespace
from xml.etree import ElementTree

import pandas as pd
import pytest

from capsbench.comparing import check
from capsbench.comparing.checked import Checked, Finding
from capsbench.comparing.formats import (
    changes_readable,
    check_json,
    check_junit,
    check_markdown,
    comparison_json,
    comparison_markdown,
    lines_of,
    summary_of,
    verdict_of,
)
from capsbench.comparing.formats import write as write_file
from capsbench.errors import Kind, UsageError
from tests.comparing.records import NETWORKS, cell, draws, write
from tests.making import make_failed


def test_the_summary_says_what_is_worse_and_by_what_rule(reference, tmp_path):
    checked = check(reference, write(tmp_path / "out", draws(9, accuracy=0.8)))
    text = check_markdown(checked)
    assert "**NOT passed: 5 regressions;" in text
    assert "worse by more than 1 points" in text
    for finding in checked.select("regression"):
        assert f"| {finding.contender} | {finding.text} |" in text


def test_junit_has_a_case_each_number_and_a_failure_each_regression(reference, tmp_path):
    checked = check(reference, write(tmp_path / "out", draws(9, accuracy=0.8)[:3]))
    suite = ElementTree.fromstring(check_junit(checked)).find("testsuite")
    cases = suite.findall("testcase")
    assert int(suite.get("tests")) == len(cases)
    assert (
        int(suite.get("failures")) == len(suite.findall("testcase/failure")) == len(checked.select("regression")) == 4
    )
    assert int(suite.get("errors")) == len(suite.findall("testcase/error")) == 1  # the missing contender
    assert len({(case.get("classname"), case.get("name")) for case in cases}) == len(cases)


def test_names_and_reasons_with_markup_and_control_characters_are_text(reference, tmp_path):
    failed = make_failed(cell(9, routing="uniform"), "\x1b[31mred\x1b[0m <script> | [link](x) \u2620")
    checked = check(reference, write(tmp_path / "out", [*draws(9, NETWORKS[:3]), failed]))
    (error,) = ElementTree.fromstring(check_junit(checked)).findall("testsuite/testcase/error")
    assert error.get("message").endswith("\ufffd[31mred\ufffd[0m <script> | [link](x) \u2620")
    (line,) = (line for line in check_markdown(checked).splitlines() if "script" in line)
    assert "\\<script> \\| \\[link](x)" in line
    assert line.count("|") - line.count("\\|") == 3  # the borders of two columns
    assert json.loads(check_json(checked))["findings"][0]["text"].endswith(failed.reason)


def test_json_has_everything(reference, tmp_path):
    content = json.loads(check_json(check(reference, write(tmp_path / "out", draws(9, accuracy=0.8)))))
    assert content["exit_code"] == 1
    assert {each["kind"] for each in content["findings"]} == {"regression"}
    assert len(content["tests"]) == 3 * len(NETWORKS) + 2


def make_change(**fields):
    """A change of the accuracy from 50 % to 60 % in three seeds a side, with further fields."""
    change = {"title": "em", "measure": "accuracy", "metric": "error", "condition": "", "level": math.nan}
    change |= {"unit": "fraction", "a": 0.5, "b": 0.6, "difference": 0.1, "half": 0.02, "holds": True, "timed": False}
    change |= {"seeds_a": 3, "seeds_b": 3, "failed_a": 0, "failed_b": 0, "test": "seeds", "p_holm": 0.012, "p": 0.001}
    return change | fields


def compare_made(*changes, **fields):
    """A comparison with changes of `make_change`."""
    shown = dict(a="a", b="b", matched=3, equal=1, only_a=[], only_b=[], not_comparable=[], provenance={}, faults=[])
    return SimpleNamespace(
        nothing=not changes, **{**shown, **fields}, changes=pd.DataFrame([*changes] or [make_change()])
    )


def test_a_change_is_a_row_of_strings():
    (row,) = changes_readable(compare_made(make_change(level=0.25, condition="rotation"))).to_dict(orient="records")
    assert row == {
        "contender": "em",
        "number": "accuracy, error, rotation at 0.25",
        "A": "50 %",
        "B": "60 %",
        "B - A": "+10 ± 2*",
        "seeds": "3",
        "test": "seeds",
        "p": "0.012",
    }


@pytest.mark.parametrize(
    ("fields", "column", "text"),
    [
        ({"half": math.nan}, "B - A", "+10*"),
        ({"difference": 0.9, "half": 0.2}, "B - A", "+90 [+70, +100]*"),
        ({"unit": "ms", "a": 12.345, "difference": -1.234, "half": 0.1234}, "B - A", "-1.23 ± 0.123*"),
        ({"unit": "ms", "a": 12.3456}, "A", "12.35 ms"),
        ({"seeds_b": 2, "failed_b": 1}, "seeds", "3 and 2 of 3"),
        ({"p_holm": math.nan}, "p", ""),
        ({"p_holm": 0.0009}, "p", "< 0.001"),
        ({"p_holm": 0.001}, "p", "0.001"),
    ],
)
def test_the_cells_of_a_change(fields, column, text):
    (row,) = changes_readable(compare_made(make_change(**fields))).to_dict(orient="records")
    assert row[column] == text


def test_changes_that_hold_are_shown_and_all_where_asked_the_surest_first():
    found = compare_made(make_change(title="late", p_holm=0.5, holds=False), make_change(title="sure"))
    assert changes_readable(found)["contender"].tolist() == ["sure"]
    every = changes_readable(found, everything=True)
    assert every["contender"].tolist() == ["sure", "late"]
    assert every["B - A"].tolist() == ["+10 ± 2*", "+10 ± 2"]
    assert "late" not in comparison_markdown(found)
    assert "late" in comparison_markdown(found, everything=True)


def test_a_summary_counts_numbers_and_times_apart():
    untested = make_change(test="none", holds=False, timed=True)
    lines = summary_of(compare_made(make_change(), make_change(holds=False), untested, only_a=["x"], faults=["f"]))
    assert lines[1].startswith("2 numbers changed; in 1 ")
    assert lines[1].endswith("over the 2 tested)")
    assert lines[2].startswith("1 times changed; none could be tested")
    assert lines[3:] == ["only in A: x", "f"]
    assert lines[0].startswith("3 contenders on both sides, 1 with ")
    content = json.loads(comparison_json(compare_made(untested, only_b=["y"])))
    assert (content["matched"], content["equal"], content["only_b"]) == (3, 1, ["y"])
    assert content["changes"][0]["level"] is None


def test_a_summary_of_one_contender_is_in_the_singular():
    one = compare_made(make_change())
    one.matched = 1
    assert summary_of(one)[0].startswith("1 contender on both sides")


def make_check(*kinds, **fields):
    findings = [Finding(kind, "em", f"number {place}", "text", p) for place, (kind, p) in enumerate(kinds)]
    return Checked("a", "b", 1.0, 1.5, findings, **fields)


def test_a_verdict_counts_the_findings():
    assert verdict_of(make_check()).startswith("passed: nothing worse; 0 numbers of 0 contenders tested, 0 records ")
    verdict = verdict_of(make_check(("regression", 0.01), ("regression", 0.02), ("failed", math.nan), identical=4))
    assert verdict.startswith("NOT passed: 2 regressions, 1 failed;")
    assert "4 records" in verdict
    assert verdict_of(make_check(("regression", 0.01))).startswith("NOT passed: 1 regression;")


def test_findings_are_lines_with_their_p_value():
    checked = make_check(("regression", 0.0001), ("failed", math.nan))
    assert lines_of(checked.findings) == ["regression: em: text (p = < 0.001)", "failed: em: text"]
    assert r"| em | text | \< 0.001 |" in check_markdown(checked)
    assert "| em | text |" in check_markdown(make_check(("failed", math.nan)))
    assert [finding["p"] for finding in json.loads(check_json(checked))["findings"]] == [0.0001, None]


def test_junit_has_a_case_for_contenders_whose_exact_numbers_are_those_of_the_reference():
    checked = make_check(("regression", 0.01), ("failed", math.nan), contenders=["em", "uniform"], exact=["number 0"])
    root = ElementTree.fromstring(check_junit(checked))
    assert {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
        "skipped": "0",
    }
    (passed,) = (case for case in root.iter("testcase") if case.find("system-out") is not None)
    assert (passed.get("classname"), passed.get("name")) == ("uniform", "parameters and FLOPs")
    assert check_junit(checked).startswith(b"<?xml")


def test_a_file_that_is_asked_for_is_written_with_its_folder(tmp_path):
    write_file("json", tmp_path / "new" / "file", "text")
    assert (tmp_path / "new" / "file").read_bytes() == b"text"
    write_file("junit", tmp_path / "new" / "file", b"bytes")
    assert (tmp_path / "new" / "file").read_bytes() == b"bytes"
    with pytest.raises(UsageError) as caught:
        write_file("json", tmp_path / "new", "text")
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.INACCESSIBLE, "json", tmp_path / "new")
