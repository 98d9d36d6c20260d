"""The points of the picture."""

from __future__ import annotations

import csv

from capsbench.presenting.figures.gains import COUNT, Gain
from capsbench.reporting.findings.comparisons import Folder
from capsbench.reporting.findings.gains import collect_gains, encode_gains
from capsbench.stats.verdicts import Outcome


def test_gains_are_in_points_and_costs_are_ratios(folder: Folder) -> None:
    gains, costs = collect_gains([folder])
    assert [gain.mean for gain in gains] == [20, 25] or [gain.mean for gain in gains] == [25, 20]
    for gain in gains:
        assert 0 < gain.low < gain.mean < gain.high
        assert (gain.routing, gain.result) == ("em", Outcome.DIFFERENT)
    assert {(cost.iterations, cost.mean, cost.result) for cost in costs} == {
        (1, 3.0, COUNT),
        (3, 4.0, COUNT),
        (1, 4.0, Outcome.NOT_TESTED),
        (3, 8.0, Outcome.NOT_TESTED),
    }
    assert len(collect_gains([folder, folder])[1]) == 2 + 4  # two counts, and each time twice


def test_a_cnn_of_another_size_is_no_match(larger_cnn: Folder) -> None:
    assert collect_gains([larger_cnn]) == ([], [])


def test_points_have_three_digits_in_their_file() -> None:
    gain = Gain("accuracy", "mnist, tiny", "mnist, 3 seeds", "em", 1, 1.5, -0.25, 3.25, "different")
    header, points, times = csv.reader(encode_gains([gain], [gain]).splitlines())
    assert header[:2] == ["unit", "number"]
    assert (points[0], times[0]) == ("points", "times")
    assert [float(value) for value in points[6:9]] == [1.5, -0.25, 3.25]
