"""The sentences of an answer: which numbers they have, and that they say no more than the verdicts."""

from __future__ import annotations

import math
import re
from dataclasses import asdict
from typing import Any

import pandas as pd
import pytest

from capsbench.presenting.words import TIMES
from capsbench.reporting.answering.comparisons import SAME, Result, Row
from capsbench.reporting.answering.sentences import (
    MINUS,
    MOST_RIVALS,
    join_names,
    list_differences,
    shorten_titles,
    spell_answer,
    spell_answers,
    spell_difference,
    spell_lead,
    spell_ratio,
    spell_reasons,
    spell_rival,
    spell_shared,
)

CONTENDER: dict[str, Any] = {
    "on": "digits, tiny, 10 epochs",
    "dataset": "digits",
    "contender": "c",
    "contender_name": "mine",
    "settings": 1,
    "validation": math.nan,
    "next_validation": math.nan,
    "contender_marks": "",
    "unit_of_n": "seed",
}


def line(result: str = Result.BETTER, **fields: Any) -> dict[str, Any]:
    """A row on test accuracy against a rival, but for the fields given."""
    of_rival = {"rival": "r", "rival_name": "other", "rival_settings": 1, "n": 3, "value_n": 3}
    number = {
        "measured": "test accuracy %",
        "value": 91.0,
        "value_ci95": 0.5,
        "difference": 0.9,
        "ci95": 0.4,
        "p": 0.01,
    }
    return asdict(Row(**{**CONTENDER, **of_rival, **number, "result": result, **fields}))


def cost(title: str, ratio: float, **fields: Any) -> dict[str, Any]:
    return line("", measured=title, ratio=ratio, difference=math.nan, ci95=math.nan, **fields)


def find_numbers(text: str) -> list[float]:
    """Returns the numbers in a text that have a point."""
    return [float(number.replace(MINUS, "-")) for number in re.findall(rf"[+{MINUS}-]?\d+\.\d+", text)]


@pytest.mark.parametrize("difference", [0.9, -0.9])
def test_a_significant_difference_has_its_interval_in_its_direction(difference: float):
    (text,) = list_differences([line(Result.BETTER if difference > 0 else Result.WORSE, difference=difference)])
    assert find_numbers(text) == [0.9, 0.5, 1.3]
    assert ("higher" in text, "lower" in text) == (difference > 0, difference < 0)


def test_an_interval_ends_at_the_end_of_the_scale():
    (text,) = list_differences([line(difference=70.0, ci95=60.0)])
    assert find_numbers(text) == [70.0, 10.0, 100.0]


def test_what_is_not_significant_is_not_called_higher_or_lower():
    (text,) = list_differences([line(Result.NOT_SIGNIFICANT, difference=-0.2, ci95=1.0, seeds_needed=12)])
    assert find_numbers(text) == [-0.2, -1.2, 0.8]
    assert "12 seeds" in text
    assert "not significantly different" in text
    assert not {"higher", "lower", "better", "worse"} & {*re.findall(r"\w+", text)}


def test_seeds_that_no_number_would_do_are_said():
    (text,) = list_differences([line(Result.NOT_SIGNIFICANT, seeds_needed=pd.NA)])
    assert ">\N{NO-BREAK SPACE}100 seeds would" in text
    (text,) = list_differences([line(Result.NOT_SIGNIFICANT, seeds_needed=pd.NA, images_needed=4_200)])
    assert "100 seeds with 4,200 more images would" in text


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"n": 2}, "3 seeds"),
        ({"n": 2, "unit_of_n": "study"}, "3 studies"),
        ({"budget": "epochs 10 against 30"}, "budgets"),
        ({"tuning": "tuned with 4 trials against untuned"}, "tuned"),
        ({"n": 3, "ci95": math.nan}, "in common"),
    ],
)
def test_what_is_not_tested_has_its_reason_and_no_interval(fields: dict[str, Any], reason: str):
    (text,) = list_differences([line(Result.NOT_TESTED, **fields)])
    assert reason in text
    assert find_numbers(text) == [0.9]
    assert "significant" not in text
    assert text.startswith("not tested")


def test_results_are_told_one_after_the_other():
    names = {
        "warps": Result.BETTER,
        "views": Result.NOT_SIGNIFICANT,
        "attacks": Result.DOUBTFUL,
        "noise": Result.KEPT_OUT,
    }
    lines = [line(Result.NOT_SIGNIFICANT), *(line(result, measured=f"{name} %") for name, result in names.items())]
    texts = list_differences(lines)
    assert [next(name for name in names if name in text) for text in texts] == [*names]
    assert "test accuracy" in texts[1]  # beside the other one that is not significant
    assert find_numbers(texts[2]) == []


def test_of_a_number_of_which_less_is_better_the_better_side_is_said():
    below = line(measured="error %", difference=-2.0, higher_is_better=False)
    assert spell_difference(below) == "2.0 points lower (better)"
    assert spell_difference({**below, "difference": 2.0}) == "2.0 points higher (worse)"


def test_a_number_has_its_own_unit_and_three_significant_digits():
    assert spell_difference(line(measured="distance (px)", difference=0.01234)) == "0.0123 px higher"
    assert spell_difference(line(measured="map error (ratio)", difference=-1.5)) == "1.50 lower"
    assert spell_difference(line(difference=0.01)) == "equal"


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(1.0, "1.0"), (0.9982, "1.0"), (1.44, "1.4"), (24.4, "24"), (0.0712, "0.071"), (1234.0, "1,200"), (9.96, "10")],
)
def test_a_ratio_has_two_significant_digits(ratio: float, text: str):
    assert spell_ratio(ratio) == text


def test_the_lead_has_each_rival_by_result_and_what_confounds_it():
    rivals = {
        Result.WORSE: "a",
        Result.BETTER: "b",
        Result.NOT_SIGNIFICANT: "d",
        Result.NOT_TESTED: "e",
    }
    lines = [[line(result, rival=name, rival_name=f"rival {name}")] for result, name in rivals.items()]
    lines[0][0] |= {"network": "capsnet", "unlike": "commit, data", "rival_marks": "still improving, shared machine"}
    lines[3][0] |= {"budget": "epochs 1 against 2", "tuning": "tuned with 4 trials against untuned"}
    text = spell_lead(lines[0][0], lines)
    better, worse, level, untested = text.split(". ")
    assert "better" in better
    assert "rival b" in better
    assert "worse" in worse
    for words in ("rival a", "another network", "another commit", "another set of images", "still improving"):
        assert words in worse
    assert "shared" not in worse
    assert "not significantly different" in level
    assert "rival d" in level
    assert "not tested" in untested
    assert "another budget" in untested
    assert "tuned with 4 trials" in untested
    assert find_numbers(text) == [91.0, 90.5, 91.5]


def test_the_lead_says_what_is_the_matter_with_the_contender():
    lines = [line(contender_marks="collapsed, still improving, unsound", value_n=5)]
    text = spell_lead(lines[0], [lines])
    assert "5 seeds, collapsed, still improving)" in text


def test_the_lead_is_about_the_number_that_most_rivals_have():
    others = [[line(rival=name, rival_name=name)] for name in "ab"]
    text = spell_lead(others[0][0], [[line(measured="warps %", rival_name="odd")], *others])
    assert "test accuracy" in text
    assert "odd" not in text


def test_a_contender_alone_has_no_rival():
    (statement,) = spell_answers(pd.DataFrame([asdict(Row(**CONTENDER))]))
    assert "no rival" in statement.lead
    assert statement.items == statement.remarks == []


def test_why_a_setting_stands_for_its_name_is_said():
    assert spell_reasons(line()) == []
    (text,) = spell_reasons(line(settings=3, validation=98.64, next_validation=98.61))
    assert find_numbers(text) == [98.64, 98.61]
    (text,) = spell_reasons(line(settings=3, validation=98.6, next_validation=97.1))
    assert find_numbers(text) == [98.6, 97.1]
    (text,) = spell_reasons(line(settings=3, validation=98.6, next_validation=98.6))
    assert "first in the table" in text


def test_a_rival_has_its_differences_costs_and_how_it_was_chosen():
    lines = [
        line(rival_settings=4, rival_validation=90.0, rival_marks="collapsed"),
        cost("FLOPs", 2.0),
        cost("time", 0.5),
    ]
    text = spell_rival(lines)
    assert f"2.0 {TIMES} the FLOPs, 0.50 {TIMES} the time" in text
    assert "best of 4" in text
    assert "collapsed" in text
    assert find_numbers(text) == [0.9, 0.5, 1.3, 2.0, 0.5]
    assert "first of 4" in spell_rival([line(rival_settings=4)])


@pytest.mark.parametrize(
    ("fields", "alike", "apart"),
    [
        ({"network": SAME}, ["same network", "same budget"], []),
        ({"network": ""}, ["same budget"], []),
        ({"network": "capsnet"}, ["same budget"], ["another network (capsnet)"]),
        ({"budget": "epochs 1 against 2"}, [], ["another budget (epochs 1 against 2)"]),
        ({"unit_of_n": "study"}, ["same budget", "tuned alike"], []),
        ({"unit_of_n": "study", "unlike": "space"}, ["same budget", "as many trials"], ["other spaces"]),
        ({"epochs": "40 against 20"}, ["same budget", "one rule (40 against 20)"], []),
        ({"unit_of_n": "study", "tuning": "tuned with 4 trials against untuned"}, ["same budget"], ["tuned with 4"]),
        ({"unlike": "commit, data, machine, torch"}, [], ["commit", "images", "machine", "torch"]),
    ],
)
def test_what_a_rival_shares_comes_before_what_confounds_the_comparison(
    fields: dict[str, Any], alike: list[str], apart: list[str]
):
    text = spell_shared(line(**fields))
    before, _, after = text.partition("but ") if alike else ("", "", text)
    assert all(words in before for words in alike)
    assert all(words in after for words in apart)
    assert bool(after) == bool(apart) or not alike


def test_marks_are_explained_once():
    marked = [line(contender_marks="still improving", rival_marks="still improving, shared machine")]
    statement = spell_answer(marked * 2)
    assert len(statement.remarks) == 2


def test_more_rivals_than_anyone_reads_are_counted():
    lines = [line(rival=str(number), rival_name=f"n{number}") for number in range(MOST_RIVALS + 3)]
    items = spell_answer(lines).items
    assert len(items) == MOST_RIVALS + 1
    assert items[-1].startswith("3 more")


def test_titles_are_short_unless_two_would_be_alike():
    titles = shorten_titles(["warps, mean %", "attacks, L2 %", "attacks, Linf %", "map error (ratio)"])
    assert [*titles.values()] == ["warps", "attacks, L2", "attacks, Linf", "map error"]


def test_names_with_a_comma_are_told_from_the_next():
    assert join_names(["a"]) == "a"
    assert join_names(["a", "b", "c"]) == "a, b and c"
    assert join_names(["a, rate 1", "b", "c"]) == "a, rate 1; b and c"
