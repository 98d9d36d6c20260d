"""Numbers from different versions of a component, which are not comparable."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from capsbench.comparing.side import Contender
from capsbench.records.record import Record
from capsbench.registry import measure_name


def other_training(a: Contender, b: Contender) -> list[str]:
    """The components that the networks of two contenders were trained with in different versions."""
    ones, others = _versions_of_training(a), _versions_of_training(b)
    return sorted(part for part in ones.keys() & others.keys() if ones[part] != others[part])


def other_measures(a: Contender, b: Contender) -> list[str]:
    """The measures, by their names, that two contenders have in different versions."""
    ones, others = _versions_of_measures(a), _versions_of_measures(b)
    return sorted(name for name in ones.keys() & others.keys() if ones[name] != others[name])


def list_unjudged(reference: Contender, now: Contender) -> list[tuple[str, str]]:
    """Returns the measures of a contender that other versions made, or ``versions`` for all of it, each with the reason."""
    update = "`capsbench check --update` makes a new reference"
    training = other_training(reference, now)
    if training:
        return [("versions", f"another version of {', '.join(training)} trained the reference: {update}")]
    return [
        (measure, f"{measure} of the reference is of another version: {update}")
        for measure in other_measures(reference, now)
    ]


def without_measures(contender: Contender, names: Collection[str]) -> Contender:
    """A contender without the numbers of some measures."""

    def drop_measures(record: Record) -> Record:
        measures = {spec: taken for spec, taken in record.measures.items() if measure_name(spec) not in names}
        return replace(record, measures=measures)

    return (
        Contender({seed: drop_measures(record) for seed, record in contender.records.items()}) if names else contender
    )


def _versions_of_training(contender: Contender) -> dict[str, set[int]]:
    versions: dict[str, set[int]] = {}
    for record in contender.records.values():
        for part, version in (record.training.versions if record.training else {}).items():
            versions.setdefault(part, set()).add(version)
    return versions


def _versions_of_measures(contender: Contender) -> dict[str, set[int]]:
    versions: dict[str, set[int]] = {}
    for record in contender.records.values():
        for spec, measurement in record.measures.items():
            versions.setdefault(measure_name(spec), set()).add(measurement.version)
    return versions
