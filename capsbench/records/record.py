"""A record: one network, how it was trained, and what was measured of it.

Training and each measure have their own entry, with their own rows, version, machine and time: a measure may be taken later and
elsewhere than the training. The file format of a record is in `capsbench.records.file`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field, FiniteFloat, StringConstraints

from capsbench.records.cell import Cell, Whole
from capsbench.registry import measure_name

TRAINING = "training"
"""The key of the training among the failures of a record, and the measure of the rows that training gives."""

Name = Annotated[str, StringConstraints(max_length=1000)]
Text = Annotated[str, StringConstraints(max_length=100_000)]
"""A file may be anyone's: what it names is short enough to be shown, and what it explains to be read."""

Facts = dict[Name, bool | Whole | FiniteFloat | Text | None]
"""Of the machine and its software, by name: what has parts of its own is no fact."""

MOST_RUNS = 999_999_999
"""The highest number of a run in a folder; a higher one is no run's."""

Role = Literal["result", "trial", "pruned"]
"""A result is reported; a trial is a network of a search over settings, and a pruned trial was stopped early."""


class Row(NamedTuple):
    """One number: ``Row("accuracy", "accuracy", "test", 0.98, "fraction")``.

    ``level`` is how much there is of what the condition names, where that is swept: degrees of a rotation, an attack's epsilon.
    Both numbers are finite on disk.
    """

    measure: Name
    metric: Name
    condition: Name
    value: FiniteFloat
    unit: Name
    level: FiniteFloat | None = None


def _check_inside(path: str) -> str:
    """Raises ValueError for a path that leads out of the results folder, or that no file can have."""
    if not re.fullmatch(r"[^/\x00-\x1f]{1,60}(/[^/\x00-\x1f]{1,60}){0,9}", path) or ".." in path.split("/"):
        raise ValueError(f"expected a path inside the results folder, got {path!r}")
    return path


Identity = Annotated[str, StringConstraints(pattern="^[0-9a-f]{12}$")]


@dataclass(frozen=True)
class Artifact:
    """A file beside a record: its path inside the results folder, and its SHA-256 digest.

    Records of schema 1 have no digests.
    """

    path: Annotated[str, AfterValidator(_check_inside)]
    sha256: Name | None = None


@dataclass(frozen=True)
class Segment:
    """An uninterrupted part of a training: its epochs, when and for how many seconds it ran, and on what machine."""

    epochs: Whole
    started: Name
    seconds: FiniteFloat
    provenance: Facts = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """What training gave.

    Attributes:
        rows: parameters, epochs and duration.
        history: one entry an epoch.
        versions: component (``training``, ``network``, ``routing``, ...) -> the version that it had.
        backends: the implementations of the vote pass that the routings used.
        weights: where the weights lie.
        data: digest of images and labels as loaded (`capsbench.data.digest`); None where it is not known.
        sources: kind of a user's own part -> module -> digest, of what the digests in the cell are made of; and under ``data``,
            of any data set, part -> digest.
        segments: the parts of a training that was interrupted; empty for one that was not.
        run: sequence number of the run that trained.
    """

    rows: list[Row] = field(default_factory=list)
    history: list[dict[Name, FiniteFloat]] = field(default_factory=list)
    versions: dict[Name, Whole] = field(default_factory=dict)
    provenance: Facts = field(default_factory=dict)
    started: Name | None = None
    seconds: FiniteFloat | None = None
    backends: list[Name] = field(default_factory=list)
    weights: Artifact | None = None
    data: Name | None = None
    sources: Mapping[Name, Mapping[Name, Name]] = field(default_factory=dict)
    segments: Sequence[Segment] = field(default_factory=list)
    run: Whole | None = None


@dataclass(frozen=True)
class Measurement:
    """What a measure gave in one of its settings.

    Attributes:
        version: that of the measure.
        taken: when.
        kept: the arrays that the measure kept beside its rows.
        code: digest of the source of a user's own measure.
        run: sequence number of the run that measured.
        data: digest of the data that it was taken on, as that of `Training`.
    """

    rows: list[Row] = field(default_factory=list)
    version: Whole = 1
    provenance: Facts = field(default_factory=dict)
    taken: Name | None = None
    seconds: FiniteFloat | None = None
    kept: Artifact | None = None
    code: Name | None = None
    run: Whole | None = None
    data: Name | None = None


@dataclass(frozen=True)
class Failure:
    """Why a training or a measure gave nothing, and when; ``trace`` is the traceback in its process, if there was one."""

    reason: Text
    failed: Name = ""
    trace: Text = ""
    run: Whole | None = None


@dataclass(frozen=True)
class Record:
    """What is on record of one cell.

    Attributes:
        training: None where the training failed.
        measures: spec, as in ``--measure``, -> what it gave; specs of one measure in two settings stand beside each other.
        failures: `TRAINING` or the spec of a measure -> why there is nothing of it. Where a network is trained anew and that
            fails, what there is of its earlier training stays beside the failure.
        wanted: the specs that the latest run asked for.
        request: what the user asked for to get this cell: names of flags in Python -> values.
        aliases: identities that the cell had in records of schema 1.
    """

    cell: Cell
    training: Training | None = None
    measures: Mapping[Name, Measurement] = field(default_factory=dict)
    failures: dict[Name, Failure] = field(default_factory=dict)
    wanted: list[Name] = field(default_factory=list)
    request: Facts = field(default_factory=dict)
    role: Role = "result"
    aliases: list[Identity] = field(default_factory=list)

    @property
    def status(self) -> Literal["trained", "finished", "failed"]:
        """``finished`` with all measures that were wanted, ``trained`` with some of them, else ``failed``."""
        if self.training is None:
            return "failed"
        return "finished" if self.measures.keys() >= set(self.wanted) else "trained"

    @property
    def is_outdated(self) -> bool:
        """Whether the latest training failed, so that all numbers are those of an earlier one."""
        return self.training is not None and TRAINING in self.failures

    @property
    def reason(self) -> str:
        """Why the latest training failed, or which measures failed and why; empty where nothing did."""
        if TRAINING in self.failures:
            return self.failures[TRAINING].reason
        alike: dict[str, list[str]] = {}
        for spec, failure in self.failures.items():
            alike.setdefault(failure.reason, []).append(spec)
        return "; ".join(f"{', '.join(specs)}: {reason}" for reason, specs in alike.items())

    @property
    def rows(self) -> list[Row]:
        """All numbers: those of the training, then those of each measure."""
        rows = [] if self.training is None else [*self.training.rows]
        for measurement in self.measures.values():
            rows += measurement.rows
        return rows

    @property
    def history(self) -> list[dict[str, float]]:
        """The training curve, one entry an epoch."""
        return [] if self.training is None else self.training.history

    @property
    def provenance(self) -> dict[str, Any]:
        """Machine, software and commit of the training."""
        return {} if self.training is None else self.training.provenance

    @property
    def measured(self) -> list[str]:
        """The specs of the measures that were taken."""
        return list(self.measures)

    def measurement(self, name: str) -> Measurement | None:
        """What a measure gave, by its spec, else by its name in whichever setting was taken first."""
        if name in self.measures:
            return self.measures[name]
        return next((found for spec, found in self.measures.items() if measure_name(spec) == name), None)


def digests_of_data(record: Record) -> dict[str, str]:
    """`TRAINING` or the spec of a measure -> digest of the data it was made on, where that is known."""
    entries = {TRAINING: record.training, **record.measures}
    return {name: entry.data for name, entry in entries.items() if entry is not None and entry.data is not None}


def have_other_data(one: Record, other: Record) -> bool:
    """Whether two records are known to be of other images or labels, in the training or in a measure that both have."""
    first, second = digests_of_data(one), digests_of_data(other)
    return any(first[name] != second[name] for name in first.keys() & second.keys())


@dataclass(frozen=True)
class Run:
    """One `capsbench run`: its command, when it started, and the identities of the cells it was asked for.

    ``suite`` is the one it came from, and ``left_out`` says of each data set that could not be had there why not. ``sequence``
    counts the runs of a folder from 1; runs of schema 1 have none. ``folders`` are those in which modules of
    a user's own parts were found. ``anew`` are the cells that were to be trained anew when it started, whatever was on record:
    those of a fresh run, or what an earlier one had left of them. ``commit`` is that of the source that ran.
    """

    name: Name
    started: Name
    command: Annotated[str, StringConstraints(max_length=2**22)]  # the longest that Linux takes has half of that
    cells: list[Name]
    suite: Text | None = None
    left_out: dict[Name, Text] = field(default_factory=dict)
    sequence: Annotated[int, Field(ge=1, le=MOST_RUNS)] | None = None
    folders: list[Text] = field(default_factory=list)
    anew: list[Name] = field(default_factory=list)
    commit: Name | None = None


def keep_one_setting(records: list[Record]) -> tuple[list[Record], dict[str, list[str]]]:
    """The records with one setting of each measure: the one that most of them have. Numbers of two settings are not alike.

    Returns:
        The records; and measure -> its specs, the chosen one first, of measures with several settings.
    """
    counts: dict[str, dict[str, int]] = {}
    for record in records:
        for spec in record.measures:
            settings = counts.setdefault(measure_name(spec), {})
            settings[spec] = settings.get(spec, 0) + 1
    ranked = {name: sorted(settings, key=lambda spec: -settings[spec]) for name, settings in counts.items()}
    several = {name: specs for name, specs in ranked.items() if len(specs) > 1}
    left_out = {spec for specs in several.values() for spec in specs[1:]}

    def without_others(record: Record) -> Record:
        if left_out.isdisjoint(record.measures):
            return record
        measures = {spec: taken for spec, taken in record.measures.items() if spec not in left_out}
        return replace(record, measures=measures, wanted=[spec for spec in record.wanted if spec not in left_out])

    return [without_others(record) for record in records], several
