"""The file of questions."""

from pathlib import Path

import pytest
from pydantic import ValidationError

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
