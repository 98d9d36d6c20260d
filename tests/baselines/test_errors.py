import pickle

import pytest

from capsbench_baselines import ArgumentError, UnmetParameters


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ArgumentError("blocks", "1 or more", 0), "blocks: expected 1 or more, got 0"),
        (
            UnmetParameters(50, 0.02, smallest=14, nearest=73),
            "parameters: expected a number that a CNN of this form has within 2%, from 14, such as 73, got 50",
        ),
    ],
)
def test_the_facts_make_one_line_and_reach_another_process(error: ArgumentError, line: str) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert str(error) == str(again) == line
    assert vars(again) == vars(error)
