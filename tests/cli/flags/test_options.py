"""What options of several commands say."""

from __future__ import annotations

import pytest

from capsbench.cli.flags.options import announce_search


@pytest.mark.parametrize(
    ("executor", "ray_address", "lines"),
    [("ray", "auto", 1), ("ray", None, 0), ("ray", "10.0.0.1:6379", 0), ("local", "auto", 0)],
)
def test_only_the_search_for_a_cluster_of_ray_is_announced(executor, ray_address, lines, capsys):
    announce_search(executor, ray_address)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == printed.err.count("looking for the Ray cluster") == lines
