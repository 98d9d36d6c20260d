"""Answers to questions: verdicts of comparisons, and what they agree on."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from capsbench.reporting.findings.answers import (
    MIXED,
    NO_RECORD,
    NOT_TESTED,
    REFUTED,
    SUPPORTED,
    UNDECIDED,
    Row,
    answer_claim,
    answer_saying,
    count_verdicts,
    judge_saying,
    list_claims,
    sum_up,
)
from capsbench.reporting.findings.comparisons import Folder, compare_pairs, find_numbers
from capsbench.reporting.findings.questions import AskedNumber, Saying, SupportedIf
from capsbench.reporting.sections.hypotheses import HYPOTHESES

ACCURACY = AskedNumber(measure="accuracy")


def row(verdict: str, n: int = 3, is_exact: bool = False) -> Row:
    return Row("mnist[100], tiny, 5 epochs", "", verdict, "", n, is_exact)


def saying(number: AskedNumber | None = None, claims: Sequence[int] = (), denials: Sequence[int] = ()) -> Saying:
    numbers = () if number is None else (number,)
    return Saying(title="a", question="b", decide="c", claims=tuple(claims), denials=tuple(denials), numbers=numbers)


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([], NO_RECORD),
        ([row(NOT_TESTED, 1)], NOT_TESTED),
        ([row(UNDECIDED, 1)], NOT_TESTED),  # in doubt, and of one seed
        ([row(SUPPORTED), row(SUPPORTED), row(NOT_TESTED, 1)], SUPPORTED),
        ([row(REFUTED)], REFUTED),
        ([row(SUPPORTED), row(UNDECIDED)], UNDECIDED),
        ([row(SUPPORTED), row(UNDECIDED), row(REFUTED)], MIXED),
        ([row(SUPPORTED, 0, is_exact=True)], SUPPORTED),
    ],
)
def test_a_verdict_is_what_all_tested_comparisons_agree_on(rows: list[Row], verdict: str) -> None:
    assert sum_up(rows) == verdict


def test_verdicts_are_counted_by_what_was_tested() -> None:
    assert count_verdicts([row(SUPPORTED), row(UNDECIDED, 1), row(UNDECIDED), row(SUPPORTED)]) == (
        "2 supported, 1 undecided, 1 not tested"
    )
    assert row(SUPPORTED).place == "mnist, tiny"


def test_there_are_fourteen_claims() -> None:
    assert [claim.number for claim in list_claims()] == [*range(1, 15)]
    assert {hypothesis.claim for hypothesis in HYPOTHESES} < {claim.text for claim in list_claims()}


@pytest.mark.parametrize(
    ("supported_if", "verdict"), [("better", SUPPORTED), ("worse", REFUTED), ("higher", SUPPORTED), ("lower", REFUTED)]
)
def test_a_saying_is_decided_by_an_interval(folder: Folder, supported_if: SupportedIf, verdict: str) -> None:
    asked = AskedNumber(measure="accuracy", supported_if=supported_if)
    assert [row.verdict for row in answer_saying(saying(asked), [folder])] == [verdict] * 2


def test_an_interval_with_0_decides_nothing(folder: Folder) -> None:
    (number,) = find_numbers(ACCURACY, folder.material)
    compared = next(compare_pairs(folder, number))
    difference = compared.verdict.difference
    for mean, verdict in ((difference.mean, SUPPORTED), (0.0, UNDECIDED), (-difference.mean, REFUTED)):
        moved = compared.verdict._replace(difference=difference._replace(mean=mean))
        assert judge_saying(compared._replace(verdict=moved), "better") == verdict


def test_only_the_data_and_the_sizes_that_are_asked_for_count(folder: Folder, larger_cnn: Folder) -> None:
    for fields, counts in (
        ({}, (2, 1)),
        ({"datasets": ("cifar10",)}, (0, 0)),
        ({"datasets": ("digits",)}, (2, 1)),
        ({"equal_size": True}, (2, 0)),
    ):
        asked = ACCURACY.model_copy(update=fields)
        assert tuple(len(answer_saying(saying(asked), [each])) for each in (folder, larger_cnn)) == counts
    assert [row.verdict for row in answer_saying(saying(ACCURACY), [larger_cnn])] == [NOT_TESTED]


def test_a_count_is_exact_and_a_time_is_not_tested(folder: Folder) -> None:
    flops = AskedNumber(measure="cost", metric="flops", condition="inference", title="a", supported_if="higher")
    step = AskedNumber(measure="speed", metric="latency p50", condition="training step", title="b")
    assert sum_up(answer_saying(saying(flops), [folder])) == SUPPORTED
    assert sum_up(answer_saying(saying(flops.model_copy(update={"supported_if": "lower"})), [folder])) == REFUTED
    assert sum_up(answer_saying(saying(step), [folder])) == NOT_TESTED
    assert len(answer_saying(saying(flops), [folder, folder])) == 2  # the same counts


def test_the_opposite_of_a_claim_turns_its_verdict(folder: Folder) -> None:
    (claim,) = answer_claim(13, [folder])
    assert claim.verdict == SUPPORTED
    assert [row.verdict for row in answer_saying(saying(claims=[13]), [folder])] == [SUPPORTED]
    (denied,) = answer_saying(saying(denials=[13]), [folder])
    assert (denied.verdict, denied.claim) == (REFUTED, 13)
