"""The page of findings."""

from __future__ import annotations

import re

import pytest

from capsbench.reporting.findings.answers import list_claims
from capsbench.reporting.findings.comparisons import Folder
from capsbench.reporting.findings.page import find_missing, write_page, write_table
from capsbench.reporting.findings.questions import AskedNumber, ClaimCommand, Questions, Saying, Waiting

SAYINGS = (
    Saying(title="They are accurate", question="Are they?", decide="run a", numbers=(AskedNumber(measure="accuracy"),)),
    Saying(title="They iterate", question="Do they?", decide="run b", claims=(13,)),
    Saying(title="They dream", question="Do they?", decide="run c", numbers=(AskedNumber(measure="dreams"),)),
)
QUESTIONS = Questions(
    claims=tuple(ClaimCommand(number=number, decide="run d") for number in range(1, 15)), sayings=SAYINGS
)


@pytest.fixture(scope="module")
def page(folder: Folder) -> str:
    return write_page(QUESTIONS, [folder])


def test_each_question_has_a_verdict_in_the_summary_and_a_section(page: str) -> None:
    summary, sections = page.split("## What people say")
    for saying in SAYINGS:
        assert summary.count(f"[{saying.title}](#{saying.title.lower().replace(' ', '-')})") == 1
        assert sections.count(f"### {saying.title}\n") == 1
    for claim in list_claims():
        assert f"[{claim.number}](#claim-{claim.number})" in summary
        assert sections.count(f"### Claim {claim.number}\n") == 1
    verdicts = re.findall(r"\| \*\*(.*?)\*\* \|", summary)
    assert verdicts[:3] == ["supported", "supported", "no record yet"]
    assert len(verdicts) == 3 + 14


def test_a_question_has_its_numbers_and_a_command(page: str) -> None:
    accurate = page.split("### They are accurate")[1].split("###")[0]
    assert "not tuned" in accurate
    assert accurate.count(" points ") == 2
    assert "    run a" in accurate
    assert "[Claim 13](#claim-13)" in page.split("### They iterate")[1].split("###")[0]
    assert "`dreams`" in page.split("### They dream")[1].split("##")[0]
    assert "run c" not in page  # nobody can run it


def test_records_have_their_networks_seeds_hours_and_machine(folder: Folder, larger_cnn: Folder) -> None:
    page = write_page(QUESTIONS, [folder, larger_cnn])
    rows = [line.split(" | ")[2:] for line in page.split("## Records")[1].splitlines() if line.count(" | ") == 5]
    assert rows[2:] == [["9", "3", "0.0", "A CPU, 2 cores |"], ["2", "1", "2.0", "A CPU, 2 cores |"]]


def test_a_run_that_waits_says_for_what() -> None:
    waiting = Waiting(title="more", command="capsbench run", needs="a GPU")
    page = write_page(QUESTIONS.model_copy(update={"waiting": (waiting,)}), [])
    assert "| more | a GPU | `capsbench run` |" in page.split("## What waits")[1]


def test_a_measure_that_is_not_there_is_missing() -> None:
    assert [find_missing(saying) for saying in SAYINGS] == [[], [], ["dreams"]]


def test_a_claim_without_a_command_is_an_error() -> None:
    with pytest.raises(KeyError):
        write_page(QUESTIONS.model_copy(update={"claims": ()}), [])


def test_a_table_keeps_bars_in_its_cells() -> None:
    assert [*write_table(("a", "b"), [("1", "x|y")])] == ["| a | b |", "| --- | --- |", "| 1 | x\\|y |", ""]
