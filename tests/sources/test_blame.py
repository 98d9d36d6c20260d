"""Errors of a user's own code are described with its line."""

import pytest

from capsbench import registry
from capsbench.records.parts import Part
from capsbench.sources.blame import describe_error, find_own_line

OWN = """
import json

from capsbench.routing import DynamicRouting


class Mine(DynamicRouting):
    @classmethod
    def parse(cls):
        return json.loads("{")"""


def read_error(call):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call()
    return caught.value


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blamed.py").write_text(OWN)
    registry.trust(["blamed:Mine"])
    return Part("routing", "blamed:Mine")


def call_from_capsbench(function):
    """Has capsbench call a function, as it calls a user's own code."""
    return registry._load_current("capsbench.errors", "Kind", function)


def test_the_line_is_the_last_of_a_users_own_below_capsbench(mine):
    error = read_error(lambda: call_from_capsbench(mine.component.parse))
    assert find_own_line(error) == "blamed.py, line 10"
    assert describe_error(error).startswith("JSONDecodeError: Expecting property name")
    assert describe_error(error).endswith("(blamed.py, line 10)")


def test_an_error_that_passed_none_of_it_has_no_line(mine):
    error = read_error(mine.component.parse)  # this test is the script that calls, and capsbench is not on the way
    assert find_own_line(error) is None
    assert describe_error(error) == f"JSONDecodeError: {error}"
