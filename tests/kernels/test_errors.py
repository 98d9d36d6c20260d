import pickle

import pytest

from capsbench_kernels import ArgumentError, ReferenceWarning, UnavailableBackend


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ArgumentError("iterations", "1 or more", 0), "iterations: expected 1 or more, got 0"),
        (
            UnavailableBackend("triton", "it needs a CUDA device", "cpu"),
            "backend: 'triton' cannot run here: it needs a CUDA device; auto would choose 'cpu'",
        ),
        (
            ReferenceWarning("triton", "it is too old"),
            "backend: auto takes 'reference', slower and with all votes in memory: 'triton' cannot run: it is too old",
        ),
    ],
)
def test_the_facts_make_one_line_and_reach_another_process(error, line):
    again = pickle.loads(pickle.dumps(error))
    assert str(error) == str(again) == line
    assert vars(again) == vars(error)
