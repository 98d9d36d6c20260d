"""A record: one network, its training, and its measurements.

The training and each measurement have their own rows, version, machine and time, since a measure may be taken later and
elsewhere. The file format of a record is in `capsbench.records.file`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field, FiniteFloat, StringConstraints

from capsbench.measures.spec import LARGEST, MeasureSpec, metrics_beyond_shares
from capsbench.records.cell import Cell, Whole
from capsbench.records.tuning import Tuning
from capsbench.records.tuning.convergence import Convergence
from capsbench.registry import BUILT_IN, measure_name

TRAINING = "training"
"""The key of the training among the failures of a record, and the ``measure`` of the training's rows."""

LONGEST_NAME = 1000
"""The most characters of a name on record."""

Name = Annotated[str, StringConstraints(max_length=LONGEST_NAME)]
Text = Annotated[str, StringConstraints(max_length=100_000)]
"""Limits for untrusted files: names are short enough to display, and explanations short enough to read."""

Facts = dict[Name, bool | Whole | FiniteFloat | Text | None]
"""Facts about the machine and its software, by name; values are scalars."""

MOST_RUNS = 999_999_999
"""The highest number that a run in a folder can have."""

ROUNDING = 1e-6
"""How far outside of [0, 1] sums of rounded parts may put a share."""

Role = Literal["result", "trial"]
"""A result is reported. A trial is a network of a search over settings."""


NumberKey = tuple[str, str, str, float | None]
"""Measure, metric, condition and level of a row: which number of a network it is."""


class Row(NamedTuple):
    """One number: ``Row("accuracy", "accuracy", "test", 0.98, "fraction")``.

    ``level`` is the strength of a swept condition: a rotation's degrees, or an attack's epsilon. Both numbers are finite on disk.
    """

    measure: Name
    metric: Name
    condition: Name
    value: FiniteFloat
    unit: Name
    level: FiniteFloat | None = None

    @property
    def key(self) -> NumberKey:
        """Which number it is, whatever its value."""
        return self.measure, self.metric, self.condition, self.level


def _check_inside(path: str) -> str:
    """Raises ValueError for a path outside the results folder, or an invalid one."""
    if not re.fullmatch(r"[^/\x00-\x1f]{1,60}(/[^/\x00-\x1f]{1,60}){0,9}", path) or ".." in path.split("/"):
        raise ValueError(f"expected a path inside the results folder, got {path!r}")
    return path


def is_folder_name(spec: str) -> bool:
    """Returns true if the spec of a measure can name the folder of what it keeps; a colon in it becomes a dot there."""
    return re.fullmatch(r"[^/\x00-\x1f]+", spec) is not None and spec.strip(".:") != ""


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
    """An uninterrupted part of a training: its epochs, start, duration in seconds and machine."""

    epochs: Whole
    started: Name
    seconds: FiniteFloat
    provenance: Facts = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """The results of a training.

    Attributes:
        rows: parameters, epochs, duration, and the start: the seconds from the beginning of its process to the first step. Of an
            interrupted training it is that of the last part; older records have none.
        history: one entry an epoch.
        versions: component (``training``, ``network``, ``routing``, ...) -> its version at the time.
        backends: the implementations of the vote pass that the routings used.
        weights: the file of the weights.
        data: digest of images and labels as loaded (`capsbench.data.digest`); None if unknown.
        sources: kind of a user's own component -> module -> digest, from which the digests in the cell are computed; and under
            ``data``, for any data set, part -> digest; under ``images``, of a user's own images, shape and names of classes.
        segments: the parts of an interrupted training; empty if it was not interrupted.
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
    """The results of a measure in one of its settings.

    Attributes:
        version: the version of the measure.
        taken: the time at which the measure was taken.
        kept: the file of arrays that the measure kept beside its rows.
        code: digest of the source of a user's own measure.
        run: sequence number of the run that measured.
        data: digest of the data that it was taken on, as in `Training`.
        declaration: the spec of a user's own measure, so that readers need not import it; None if it declares nothing. Built-in
            measures have theirs in the code.
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
    declaration: MeasureSpec | None = None


@dataclass(frozen=True)
class Failure:
    """The failure of a training or a measure; ``trace`` is the traceback in its process, if there was one."""

    reason: Text
    failed: Name = ""
    trace: Text = ""
    run: Whole | None = None


@dataclass(frozen=True)
class Record:
    """Everything on record for one cell.

    Attributes:
        training: None if the training failed.
        measures: spec, as in ``--measure``, -> results; a measure in two settings has two specs.
        failures: `TRAINING` or the spec of a measure -> its failure. If a network is trained again and that fails, the results of
            its earlier training are kept beside the failure.
        wanted: the specs that the latest run asked for.
        request: the user's request that led to this cell: names of flags in Python -> values.
        tuning: the search that it is a trial of, or that found its settings; None if it was not tuned.
        convergence: the search for epochs that it is a trial of, or that found its epochs; None if these were fixed.
        aliases: identities that the cell had in records of schema 1.
    """

    cell: Cell
    training: Training | None = None
    measures: Mapping[Name, Measurement] = field(default_factory=dict)
    failures: dict[Name, Failure] = field(default_factory=dict)
    wanted: list[Name] = field(default_factory=list)
    request: Facts = field(default_factory=dict)
    role: Role = "result"
    tuning: Tuning | None = None
    convergence: Convergence | None = None
    aliases: list[Identity] = field(default_factory=list)

    @property
    def status(self) -> Literal["trained", "finished", "failed"]:
        """``failed`` without a training, ``finished`` if all wanted measures were taken, else ``trained``."""
        if self.training is None:
            return "failed"
        return "finished" if self.measures.keys() >= set(self.wanted) else "trained"

    @property
    def is_outdated(self) -> bool:
        """True if the latest training failed, so that all numbers are from an earlier one."""
        return self.training is not None and TRAINING in self.failures

    @property
    def reason(self) -> str:
        """The reason why the latest training failed, or the failed measures with their reasons; empty if nothing failed."""
        if TRAINING in self.failures:
            return self.failures[TRAINING].reason
        alike: dict[str, list[str]] = {}
        for spec, failure in self.failures.items():
            alike.setdefault(failure.reason, []).append(spec)
        return "; ".join(f"{', '.join(specs)}: {reason}" for reason, specs in alike.items())

    @property
    def rows(self) -> list[Row]:
        """All rows: those of the training, then those of each measure."""
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

    def find_measurement(self, name: str) -> Measurement | None:
        """Returns the measurement of a spec, or the first one of a measure's name in any setting.

        A user's own subclass of a built-in measure gives rows of its name.
        """
        if name in self.measures:
            return self.measures[name]
        named = (taken for spec, taken in self.measures.items() if measure_name(spec) == name)
        extended = (taken for taken in self.measures.values() if any(row.measure == name for row in taken.rows))
        return next(named, None) or next(extended, None)


def find_repeated_number(record: Record) -> Row | None:
    """Returns a row whose number the record has before: readers would differ in which of the two they take.

    Two settings of a measure have the same numbers each.
    """
    owners: dict[NumberKey, str] = {}
    entries = [(TRAINING, [] if record.training is None else record.training.rows)]
    entries += [(spec, taken.rows) for spec, taken in record.measures.items()]
    for spec, rows in entries:
        name = measure_name(spec)
        own: set[NumberKey] = set()
        for row in rows:
            number = row.key
            if number in own or owners.setdefault(number, name) != name:
                return row
            own.add(number)
    return None


def explain_unfit(row: Row) -> str | None:
    """Returns what is wrong with the value or level of a row, which no measurement gives; None if nothing is.

    Shares lie within [0, 1] and differences of shares within [-1, 1]. What a fraction of a user's own measure is, is not known.
    """
    if row.level is None and 0 <= row.value <= 1:  # most rows; it fits every unit
        return None
    for number in (row.value, 0.0 if row.level is None else row.level):
        if not abs(number) <= LARGEST:  # also true of nan; integers may be too large for a float
            return f"{_shorten(number)}, which is not finite or beyond {LARGEST:g}"
    own = row.measure != TRAINING and row.measure not in BUILT_IN["measure"]
    if own or row.unit != "fraction" or row[:2] in metrics_beyond_shares():
        return None
    lowest = -1 if row.condition == "difference" else 0
    if lowest - ROUNDING <= row.value <= 1 + ROUNDING:
        return None
    return f"{_shorten(row.value)}, which is outside [{lowest}, 1]"


def _shorten(number: float) -> str:
    return str(number) if not isinstance(number, int) or abs(number) <= LARGEST else "an integer"


def digests_of_data(record: Record) -> dict[str, str]:
    """Returns the known digests of data: `TRAINING` or the spec of a measure -> digest."""
    entries = {TRAINING: record.training, **record.measures}
    return {name: entry.data for name, entry in entries.items() if entry is not None and entry.data is not None}


def have_different_data(one: Record, other: Record) -> bool:
    """Returns true if two records are known to differ in the data of their training or of a measure that both have."""
    first, second = digests_of_data(one), digests_of_data(other)
    return any(first[name] != second[name] for name in first.keys() & second.keys())


@dataclass(frozen=True)
class Run:
    """One `capsbench run`: its command, its start, and the identities of its cells.

    Attributes:
        suite: the suite that it ran.
        left_out: data set of the suite that was not available -> the reason.
        sequence: the number of the run in its folder, from 1; None in schema 1.
        folders: the folders in which the modules of a user's own components were found.
        data: the folders and files of images that its data sets were read from, such as ``folder:/data/shapes``.
        anew: the cells to train again whatever was on record: those of a fresh run, or those that an earlier fresh run left.
        commit: the commit of the source that ran.
        shard: the part of a plan that it ran, such as ``2/4``; None for a whole plan.
        decides: the identities of the two contenders whose comparison decides how many seeds are run; empty for fixed seeds.
    """

    name: Name
    started: Name
    command: Annotated[str, StringConstraints(max_length=2**22)]  # twice the longest command that Linux takes
    cells: list[Name]
    suite: Text | None = None
    left_out: dict[Name, Text] = field(default_factory=dict)
    sequence: Annotated[int, Field(ge=1, le=MOST_RUNS)] | None = None
    folders: list[Text] = field(default_factory=list)
    data: list[Text] = field(default_factory=list)
    anew: list[Name] = field(default_factory=list)
    commit: Name | None = None
    shard: Name | None = None
    decides: list[Name] = field(default_factory=list)


def keep_one_setting(records: list[Record]) -> tuple[list[Record], dict[str, list[str]]]:
    """Keeps one setting of each measure, the most frequent one: numbers of two settings are not comparable.

    Returns:
        The records; and measure -> its specs, the chosen one first, for measures with several settings.
    """
    counts: dict[str, dict[str, int]] = {}
    for record in records:
        for spec in record.measures:
            settings = counts.setdefault(measure_name(spec), {})
            settings[spec] = settings.get(spec, 0) + 1
    ranked = {name: sorted(settings, key=lambda spec: -settings[spec]) for name, settings in counts.items()}
    several = {name: specs for name, specs in ranked.items() if len(specs) > 1}
    left_out = {spec for specs in several.values() for spec in specs[1:]}

    def drop_others(record: Record) -> Record:
        if left_out.isdisjoint(record.measures):
            return record
        measures = {spec: taken for spec, taken in record.measures.items() if spec not in left_out}
        return replace(record, measures=measures, wanted=[spec for spec in record.wanted if spec not in left_out])

    return [drop_others(record) for record in records], several
