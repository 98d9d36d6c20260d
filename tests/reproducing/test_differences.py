from dataclasses import replace

from capsbench.records.record import Record, Row
from capsbench.reproducing.differences import find_differences
from tests.making import make_capsules, make_record

FACTS = {"commit": "a" * 40, "torch": "2.15.0", "cpu": "A CPU", "platform": "Linux"}


def test_fields_versions_machine_and_data_are_named_with_both_values() -> None:
    before = _make_record(1, "1" * 16)
    cell = before.cell.model_copy(
        update={"threads": 1, "options": {**before.cell.options, "network.stem": 16}, "code": {"routing": "b"}}
    )
    now = _make_record(2, "2" * 16, cell=cell, cpu="Another CPU", commit="b" * 40)
    assert {each.name: (each.recorded, each.here) for each in find_differences(before, now)} == {
        "threads": (2, 1),
        "network.stem": (32, 16),
        "source of routing": (None, "b"),
        "version of network": (1, 2),
        "version of accuracy": (1, 2),
        "commit": ("a" * 40, "b" * 40),
        "cpu": ("A CPU", "Another CPU"),
        "vote pass": ("cpu", "reference"),
        "digest of train labels": ("1" * 16, "2" * 16),
    }


def test_a_fact_that_an_older_record_lacks_is_no_difference() -> None:
    assert find_differences(_make_record(1, "1" * 16), _make_record(1, "1" * 16, instructions="AVX512")) == []
    (difference,) = find_differences(_make_record(1, "1" * 16, gpu="A GPU"), _make_record(1, "1" * 16))
    assert difference == ("gpu", "A GPU", None)


def test_equal_records_have_none() -> None:
    assert find_differences(_make_record(1, "1" * 16), _make_record(1, "1" * 16)) == []


def _make_record(version: int, labels: str, **changes: object) -> Record:
    """A record of one version of everything, whose data have some labels."""
    cell = changes.pop("cell", make_capsules())
    row = Row("accuracy", "accuracy", "test", 0.9, "fraction")
    record = make_record(cell, [row], provenance=FACTS | changes)  # type: ignore[arg-type]
    assert record.training is not None
    training = replace(
        record.training,
        versions={"network": version},
        backends=["cpu" if version == 1 else "reference"],
        sources={"data": {"train labels": labels, "train images": "0" * 16}},
    )
    measures = {spec: replace(taken, version=version) for spec, taken in record.measures.items()}
    return replace(record, training=training, measures=measures)
