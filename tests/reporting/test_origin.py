"""The title of a report, and the facts on its records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from capsbench.records.record import Record, Segment
from capsbench.reporting.origin import count_machines, describe_origin, spell_title
from tests.making import make_record

Make = Callable[..., Record]


@pytest.mark.parametrize(
    ("routings", "datasets", "title"),
    [
        (["em"], ["digits"], "Capsule networks on digits: em routing"),
        (["em", "dynamic"], ["digits", "mnist"], "Capsule networks on digits and mnist: dynamic and em routing"),
        (["em", "own:Mine", "dynamic"], ["digits"], "Capsule networks on digits: Mine, dynamic and em routing"),
        (["a:A", "a:B", "a:C", "a:D"], list("abcd"), "Capsule networks on 4 data sets: 4 routings"),
    ],
)
def test_the_title_names_networks_data_sets_and_routings(
    capsules: Make, routings: list[str], datasets: list[str], title: str
) -> None:
    assert spell_title([capsules(routing=name, dataset=data) for name in routings for data in datasets]) == title


def test_baselines_alone_are_networks(matched: Make) -> None:
    assert spell_title([matched(network="all-conv", options={})]) == "Networks on digits"


@pytest.mark.parametrize(
    ("starts", "period"),
    [
        (["2026-01-01T23:59:00+00:00"], "2026-01-01 23:59:00 to 23:59:30 UTC"),
        (["2026-01-01T23:58:00+00:00", "2026-01-01T23:59:00+00:00"], "2026-01-01 23:58:00 to 23:59:30 UTC"),
        (["2026-01-02T02:00:00+02:00", "2026-01-01T23:59:00+00:00"], "2026-01-01 23:59:00 to 2026-01-02 00:00:30 UTC"),
        (["2026-01-01T23:59:00+00:00", "yesterday"], "2026-01-01 23:59:00 to 23:59:30 UTC"),
    ],
)
def test_the_period_is_from_the_first_start_to_the_last_end(capsules: Make, starts: list[str], period: str) -> None:
    records = [
        make_record(capsules(seed=seed).cell, started=started, seconds=30.0) for seed, started in enumerate(starts)
    ]
    assert dict(describe_origin(records, []))["trained"] == [period]


def test_the_period_of_an_interrupted_training_has_all_its_parts(capsules: Make) -> None:
    parts = [Segment(1, "2026-01-01T10:00:00+00:00", 60.0), Segment(1, "2026-01-01T12:00:00+00:00", 30.0)]
    record = make_record(capsules().cell, started="2026-01-01T12:00:00+00:00", seconds=90.0)
    assert record.training is not None
    record = replace(record, training=replace(record.training, segments=parts))
    assert dict(describe_origin([record], []))["trained"] == ["2026-01-01 10:00:00 to 12:00:30 UTC"]


def test_facts_list_what_differs_among_the_records(capsules: Make, failed: Make) -> None:
    record = capsules()
    facts = {**record.provenance, "cpu": "B CPU", "dirty": True}
    elsewhere = make_record(capsules(seed=1).cell, record.rows, provenance=facts)
    assert count_machines([record]) == 1
    assert count_machines([record, elsewhere]) == 2
    origin = dict(describe_origin([record, elsewhere, failed(seed=2)], [], ["iters=3"]))
    assert origin["cells"] == ["2 finished, 1 failed"]
    assert origin["chosen by"] == ["iters=3"]
    assert origin["commit"] == ["0123456789abcdef", "0123456789abcdef with uncommitted changes"]
    assert origin["machine"] == ["cpu A CPU, B CPU; cores 2; threads 2; backend reference"]
    assert origin["software"] == ["capsbench 0.1.0; python 3.11.2; torch 2.15.0"]
    assert not {"run", "command"} & set(origin)
