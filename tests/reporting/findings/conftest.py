"""Results folders whose numbers the tests choose; made once, since each takes a fifth of a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from capsbench.presenting.naming import no_defaults
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from capsbench.reporting.findings.comparisons import Folder
from tests.making import with_rows

Make = Callable[..., Record]


def write_folder(path: Path, records: Iterable[Record]) -> Folder:
    store = Store(path)
    for record in records:
        store.write(record)
    return Folder(path, defaults=no_defaults)  # known defaults build networks


def add_poses(record: Record, explained: float) -> Record:
    row = Row("equivariance", "R^2", "all", explained + 0.01 * record.cell.seed, "fraction")
    return with_rows(record, [*record.rows, row])


@pytest.fixture(scope="session")
def folder(capsules: Make, matched: Make, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """EM routing with 3 iterations is better than with 1, by 5 points, and both are better than their CNN: 20 and 25 points."""
    records = [
        add_poses(make(base + gain, seed=seed, **fields), explained)
        for make, base, explained, fields in (
            (capsules, 0.90, 0.5, {"iterations": 1, "flops": 3e6, "step": 20.0}),
            (capsules, 0.95, 0.4, {"iterations": 3, "flops": 4e6, "step": 40.0}),
            (matched, 0.70, 0.2, {"flops": 1e6, "step": 5.0}),
        )
        for seed, gain in enumerate((0.0, 0.01, 0.02))
    ]
    return write_folder(tmp_path_factory.mktemp("findings"), records)


@pytest.fixture(scope="session")
def larger_cnn(capsules: Make, matched: Make, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """One seed, and a CNN with three times the parameters, which trained for two hours."""
    cnn = matched(0.8, network="resnet", options={}, parameters=3000)
    assert cnn.training
    cnn = replace(cnn, training=replace(cnn.training, seconds=7200.0))
    return write_folder(tmp_path_factory.mktemp("findings"), [capsules(0.9, parameters=1000), cnn])
