"""Unites the records of one cell from several folders: what is the same, what adds to it, and what contradicts it."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from capsbench.measures.build import ALL, NONE
from capsbench.merging.conflicts import Arbiter, Version
from capsbench.merging.sources import Pair, RowsFile
from capsbench.planning.request import MEASURE_FLAG
from capsbench.records.disk import read_file
from capsbench.records.join import file_name, have_same_curve, unite_records
from capsbench.records.record import Measurement, NumberKey, Record, Row, Run
from capsbench.records.runs import find_left_to_retrain
from capsbench.records.specs import find_unrepeatable, specs_of

FACTS = ("commit", "capsbench", "torch", "cpu", "gpu")
"""The facts of provenance that a conflict of two trainings names if they differ."""


@dataclass(frozen=True)
class United:
    """The record of a cell in the merged folder.

    Attributes:
        versions: the records of this training that it unites; of a measure that several have, the first one's stands.
    """

    record: Record
    versions: Sequence[Version[Record]]

    @property
    def before(self) -> Record | None:
        """The record that the merged folder had before; None if it had none of this training."""
        first = self.versions[0]
        return first.value if first.source.is_target else None


def unite_cells(arbiter: Arbiter) -> dict[str, United]:
    """Returns cell identity -> united record, and leaves conflicts with the arbiter."""
    united = {}
    for cell in dict.fromkeys(cell for source in arbiter.sources for cell in source.records):
        records = [(source, source.records[cell]) for source in arbiter.sources if cell in source.records]
        versions = [Version(source, source.store.folder / file_name(record), record) for source, record in records]
        united[cell] = _unite_cell(versions, arbiter)
    return united


def count_other_times(united: Iterable[United]) -> dict[str, int]:
    """Returns spec -> the number of cells of which several folders have the measure with other times or memory.

    Those with other numbers do not count: they are a conflict, which the user has decided.
    """
    counts: Counter[str] = Counter()
    for cell in united:
        timed = find_unrepeatable(specs_of(version.value for version in cell.versions))
        for spec, taken in cell.record.measures.items():
            others = (version.value.measures.get(spec, taken) for version in cell.versions)
            different = (other for other in others if other.rows != taken.rows)
            counts[spec] += any(not _compare_measurements(taken, other, timed) for other in different)
    return {spec: count for spec, count in counts.items() if count}


def choose_between(arbiter: Arbiter, united: Mapping[str, United]) -> dict[Pair, Version[RowsFile]]:
    """Returns the rows between networks of the merged folder, from the folders that have just these two networks."""
    versions: dict[Pair, list[Version[RowsFile]]] = {}
    for source in arbiter.sources:
        for pair, rows in source.between.items():
            ends = (united[pair.source], united[pair.target])
            if all(any(version.source is source for version in end.versions) for end in ends):
                versions.setdefault(pair, []).append(Version(source, rows.path, rows))
    for pair, files in versions.items():
        title = f"{pair.spec} from {united[pair.source].record.cell.title} to {united[pair.target].record.cell.title}"
        arbiter.check(title, files, lambda one, other: _compare_measurements(one.value.taken, other.value.taken))
    return {pair: files[0] for pair, files in versions.items()}


def keep_trained(united: Mapping[str, United], runs: Sequence[Run]) -> dict[str, United]:
    """Returns the cells, of which only those count as left by a fresh run that are so in one of their folders.

    A fresh run of another folder may have a higher number than the run that trained a network. Such a network gets the number of
    the fresh run, so that it counts as trained since.

    Args:
        runs: those of the merged folder.
    """
    kept = dict(united)
    for record in find_left_to_retrain(runs, [cell.record for cell in united.values()]):
        cell, names = united[record.cell.id], {record.cell.id, *record.aliases}
        if record.training is not None and not any(record.cell.id in version.source.left for version in cell.versions):
            number = max(run.sequence or 0 for run in runs if names.intersection(run.anew))
            training = replace(record.training, run=number)
            kept[record.cell.id] = replace(cell, record=replace(record, training=training))
    return kept


def _unite_cell(versions: Sequence[Version[Record]], arbiter: Arbiter) -> United:
    trained = [version for version in versions if version.value.training is not None]
    if len(versions) == 1 or not trained:
        return United(versions[0].value, versions[:1])
    title = trained[0].value.cell.title
    arbiter.check(title, trained, _compare_trainings)
    alike = [trained[0], *(version for version in trained[1:] if not _compare_trainings(trained[0], version))]
    records = [version.value for version in alike]
    record = unite_records(records)
    timed = find_unrepeatable(specs_of(records))
    for spec in record.measures:
        taken = [
            Version(version.source, version.path, version.value.measures[spec])
            for version in alike
            if spec in version.value.measures
        ]
        arbiter.check(
            f"{title}, {spec}", taken, lambda one, other: _compare_measurements(one.value, other.value, timed)
        )
    latest = max(other.training.run or 0 for other in records if other.training is not None)
    assert record.training is not None
    training = replace(record.training, run=latest or None)
    return United(replace(record, training=training, request=_unite_requests(records)), alike)


def _compare_trainings(one: Version[Record], other: Version[Record]) -> str:
    """Describes the difference of two trainings of one cell; empty if they gave the same weights.

    If a digest of the weights is not known, the training curves are compared.
    """
    digests = {_digest_weights(one), _digest_weights(other)}
    if have_same_curve(one.value, other.value) if None in digests else len(digests) == 1:
        return ""
    facts = [version.value.provenance for version in (one, other)]
    different = [
        f"; {name} {facts[0].get(name)} and {facts[1].get(name)}"
        for name in FACTS
        if facts[0].get(name) != facts[1].get(name)
    ]
    return f"trained twice, with different weights{''.join(different)}"


def _digest_weights(version: Version[Record]) -> str | None:
    training = version.value.training
    if training is not None and training.weights is not None and training.weights.sha256 is not None:
        return training.weights.sha256
    try:  # schema 1 has no digest on record
        return hashlib.sha256(read_file(version.source.store.weights_of(version.value), math.inf)).hexdigest()
    except OSError:
        return None


def _compare_measurements(one: Measurement, other: Measurement, timed: frozenset[tuple[str, str]] = frozenset()) -> str:
    """Describes the first difference of two measurements; empty if they have the same numbers.

    Args:
        timed: (measure, metric) of times and memory, which differ each time they are taken.
    """
    if one.version != other.version:
        return f"taken by versions {one.version} and {other.version} of the measure"
    if one.code != other.code:
        return "taken by different source code of the measure"
    first, second = ({row.key: row for row in taken.rows if row[:2] not in timed} for taken in (one, other))
    for key in dict.fromkeys([*first, *second]):
        if first.get(key) != second.get(key):
            return f"{_spell_key(key)} is {_spell_row(first.get(key))} and {_spell_row(second.get(key))}"
    digests = {taken.kept.sha256 for taken in (one, other) if taken.kept is not None}
    return "the kept arrays differ" if len(digests - {None}) > 1 else ""


def _spell_key(key: NumberKey) -> str:
    return " ".join(str(part) for part in key[1:] if part is not None)


def _spell_row(row: Row | None) -> str:
    return "absent" if row is None else f"{row.value:.6g} {row.unit}"


def _unite_requests(records: Sequence[Record]) -> dict[str, Any]:
    """Returns the request of the first record, with the measures that the others add, so that its command takes them too."""
    request, measures = dict(records[0].request), _list_measures(records[0])
    added = {spec for record in records for spec in _list_measures(record)} - measures
    if request and added and request.get(MEASURE_FLAG) != ALL:
        request[MEASURE_FLAG] = ",".join(sorted(measures | added))
    return request


def _list_measures(record: Record) -> set[str]:
    """Returns the measures of a record, and those between networks that its request names."""
    asked = str(record.request.get(MEASURE_FLAG, NONE)).split(",")
    return {*record.measures, *asked} - {ALL, NONE}
