"""What a run lacks, each by one finding."""

from dataclasses import replace

import pytest

from capsbench.comparing.missing import find_missing
from capsbench.comparing.pairing import Pairing
from capsbench.comparing.side import read_side
from tests.comparing.records import cell, record, write
from tests.making import make_failed


@pytest.fixture
def missing(tmp_path):
    """Finds what a run lacks that has the given records; ``left`` and ``absent`` are as in `Side`."""

    def find(before, now, **fields):
        reference, current = (read_side(write(tmp_path / name, of), name) for name, of in (("a", before), ("b", now)))
        findings = find_missing(Pairing(reference, replace(current, **fields)))
        return [(finding.kind, finding.contender, finding.name) for finding in findings]

    return find


DYNAMIC, EM = "capsnet dynamic x3 tiny, digits", "matrix-capsules em x2 tiny, digits"


def test_a_run_of_another_seed_lacks_nothing(missing):
    assert missing([record(0.9)], [record(0.9, 1)]) == []


def test_a_cell_that_failed_is_found_once_whatever_its_seeds(missing):
    failures = [make_failed(cell(seed, routing="em"), "the loss became nan") for seed in (0, 1)]
    before = [record(0.9), record(0.9, routing="em")]
    assert missing(before, [record(0.9), *failures]) == [("failed", EM, "training")]


def test_a_contender_of_the_reference_alone_is_missing_unless_it_failed_or_is_left(missing):
    before = [record(0.9), record(0.9, routing="em")]
    assert missing(before, [record(0.9)]) == [("missing", EM, "records")]
    assert missing(before, [record(0.9)], left=[record(0.9, routing="em")]) == [("missing", EM, "records")]
    assert missing([record(0.9)], [record(0.9), record(0.9, routing="em")]) == []


def test_cells_without_a_record_are_one_finding(missing):
    assert missing([record(0.9)], [record(0.9)], absent=["1", "2"]) == [("missing", "all contenders", "records")]


def test_a_measure_of_the_reference_that_a_record_lacks_is_missing(missing):
    before = [record(0.9), record(0.9, 1, measure="accuracy,affine,speed,overlap")]
    now = [record(0.9, 2), record(0.9, 3, measure="accuracy,affine,speed,overlap")]
    assert missing(before, now) == [("missing", DYNAMIC, "measures")]
