"""The file of questions."""

import itertools
import shlex
from pathlib import Path

import pytest
from pydantic import ValidationError

from capsbench.planning.suites import suite_names
from capsbench.reporting.findings.questions import read_questions

SAYING = '[[sayings]]\ntitle = "a"\nquestion = "b"\ndecide = "c"\n'


def read(tmp_path: Path, text: str) -> object:
    path = tmp_path / "questions.toml"
    path.write_text('[[claims]]\nnumber = 1\ndecide = "d"\n' + text)
    return read_questions(path)


def test_numbers_with_a_title_are_of_no_contest(tmp_path: Path) -> None:
    numbers = 'numbers = [{ measure = "a" }, { measure = "b", metric = "c", condition = "d", title = "e" }]\n'
    path = tmp_path / "questions.toml"
    path.write_text('[[claims]]\nnumber = 1\ndecide = "d"\n' + SAYING + numbers)
    assert [number.measure for number in read_questions(path).undeclared] == ["b"]


@pytest.mark.parametrize(
    "line",
    ['numbers = [{ measure = "a", title = "b" }]', 'numbers = [{ measure = "a", metrik = "b" }]', "claim = 3"],
    ids=["no condition", "unknown word", "unknown key"],
)
def test_what_is_unknown_or_missing_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(ValidationError):
        read(tmp_path, SAYING + line)


def test_the_suites_of_the_commands_of_the_page_exist() -> None:
    questions = read_questions(Path(__file__).parents[3] / ".ci" / "findings.toml")
    commands = [one.decide for one in (*questions.claims, *questions.sayings)] + [
        one.command for one in questions.waiting
    ]
    words = [shlex.split(command) for command in commands]
    suites = {after for line in words for word, after in itertools.pairwise(line) if word == "--suite"}
    assert "sabour2017" in suites
    assert suites <= {*suite_names()}
