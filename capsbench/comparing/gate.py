"""`capsbench check`: whether a run has become worse than a reference of several seeds. The rule is that of docs/ci.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd

from capsbench.comparing.checked import (
    ALL,
    BETTER,
    CHANGED,
    FAILED,
    GOES_ON,
    MISSING,
    NEW,
    ORDER,
    REGRESSION,
    UNJUDGED,
    Checked,
    Finding,
    Test,
)  # fmt: skip
from capsbench.comparing.collapse import tell_collapse
from capsbench.comparing.data import find_other_data, note_unknown_data, other_data
from capsbench.comparing.judged import CHECKS, EXACT, JUDGED, TIMES, Judged, mean_by_seed, ratios_to_median
from capsbench.comparing.lacking import find_lacking, taken_again
from capsbench.comparing.side import (
    OF_TIME,
    Contender,
    Side,
    experiment,
    matched,
    read_latest_run,
    read_side,
    same_bits_expected,
    steps_of,
    title_contenders,
    titles_of_cells,
    with_one_setting,
)
from capsbench.comparing.versions import other_measures, other_training, tell_other_versions, without_measures
from capsbench.errors import Kind, NothingMeasured, UsageError
from capsbench.planning.request import spelled
from capsbench.records.folder import allow_own
from capsbench.records.provenance import provenance
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.records.versions import describe_stale
from capsbench.stats.differences import ALPHA, FEWEST_SEEDS, adjust_by_holm
from capsbench.stats.moderation import chance_of_drop, chance_of_failures, moderate_variances
from capsbench.stats.steps import step_of
from capsbench.stats.variances import Variance, variance_of_seeds

TOLERANCE = 1.0
"""Points by which a number may be lower without that being a regression, however sure the difference is."""

SLOWER = 4.0
"""The factor by which a time may be longer, among those of its run, without that being a regression.

What else a machine does while one network is timed makes it 2.5 times as long among the others.
"""


def check(
    against: str | Path,
    out: str | Path = "results",
    *,
    tolerance: float = TOLERANCE,
    slower: float = SLOWER,
    allow_code: bool = False,
) -> Checked:
    """Holds the latest run of a folder against a reference.

    Args:
        against: the reference, of `FEWEST_SEEDS` seeds or more.
        out: the folder of the run, which is of one seed or more; where it has no note of a run, all of its records are one.
        tolerance: points by which a number may be worse.
        slower: factor by which a time may be longer among those of its run.
        allow_code: import a user's own parts that the records name, for what their defaults say in titles.

    Raises:
        UsageError: the reference is not there or cannot be read, or an argument is out of its range.
        NothingMeasured: the folder has no record, or the run none of a contender of the reference.
    """
    if not 0 <= tolerance < 100:
        raise UsageError(Kind.INVALID, flag="tolerance", expected="points from 0 to below 100", value=tolerance)
    if not 1 <= slower < math.inf:
        raise UsageError(Kind.INVALID, flag="slower", expected="a factor of 1 or more", value=slower)
    if allow_code:
        allow_own(Store(against), Store(out))
    (reference, current), left_out = with_one_setting(_reference(against), read_latest_run(out, "out"))
    checked = Checked(str(against), str(out), tolerance, slower)
    checked.notes = [*reference.faults, *current.faults, *current.notes, *_of_another_commit(current)]
    checked.notes += [*left_out, *describe_stale([*reference.records, *current.records])]
    return judge(reference, current, checked)


def judge(reference: Side, current: Side, checked: Checked) -> Checked:
    """Holds one side against another, and says in ``checked`` what came of it; see `check`."""
    gate = _Gate(reference, current, checked)
    checked.findings += gate.absent()
    if not gate.shared and all(finding.kind == MISSING for finding in checked.findings):
        raise NothingMeasured(
            Kind.MISSING,
            f"no contender of the reference {checked.against} is on record of the latest run",
            flag="out",
            file=checked.out,
        )
    checked.contenders = sorted(gate.titles[identity] for identity, _ in gate.shared)
    checked.notes += note_unknown_data(gate.compared)
    checked.findings += find_lacking(gate.pairs(), gate.cells, gate.sources)
    checked.findings += [*gate.other_versions(), *gate.exact(), *gate.collapsed(), *gate.bits(), *gate.new()]
    tests = [*gate.tests(), *gate.sanity(), *gate.times()]
    adjusted = {side: adjust_by_holm([getattr(test, side) for test in tests]) for side in ("worse", "better")}
    checked.tests = pd.DataFrame(tests, columns=[*Test._fields]).assign(**adjusted)
    for test, worse, better in zip(tests, adjusted["worse"], adjusted["better"], strict=True):
        text = f"{test.name}: {test.reference} in the reference, now {test.current}"
        if worse < ALPHA:
            checked.findings.append(Finding(REGRESSION, test.contender, test.name, text, float(worse)))
        elif better < ALPHA:
            checked.findings.append(Finding(BETTER, test.contender, test.name, text, float(better)))
    checked.findings += gate.unjudged()
    checked.findings.sort(key=lambda finding: ORDER.index(finding.kind))
    return checked


def _reference(folder: str | Path) -> Side:
    try:
        return read_side(folder, "against")
    except NothingMeasured as error:
        remedy = f"{error.expected}, and `capsbench check` with {{flag:update}} puts them into a reference"
        raise UsageError(error.kind, error.problem, flag=error.flag, file=error.file, expected=remedy) from None


def _of_another_commit(current: Side) -> Iterator[str]:
    """What another source made than that of the latest run, or than the source as it is now: a gate says nothing of it."""
    here = provenance()["commit"]
    ran: str | None = here if current.run is None else current.run.commit
    others = [record for record in current.records if ran and record.provenance.get("commit") not in (ran, None)]
    if ran and others:
        which = "which is checked out" if current.run is None else "that of the latest run"
        yield (
            f"{len(others)} of {len(current.records)} records were made at another commit than {ran[:12]}, {which}; "
            f"`capsbench run {spelled('fresh')}` makes them again"
        )
    if here and ran and here != ran:
        yield f"the latest run was at commit {ran[:12]}; {here[:12]} is checked out"


class _Gate:
    """The parts of a check, each giving findings or tests."""

    def __init__(self, reference: Side, current: Side, checked: Checked) -> None:
        self.reference, self.current, self.checked = reference, current, checked
        self.titles = title_contenders(current, reference)
        self.cells = titles_of_cells(current, reference)
        self.sources = {record.cell.id: record.cell for record in (*reference.records, *current.records)}
        self.shared = matched(reference, current)
        self.compared = [(reference.contenders[old], current.contenders[new]) for old, new in self.shared]
        self.steps = steps_of(reference, current)

    def pairs(self) -> Iterator[tuple[str, Contender, Contender]]:
        """Title and both sides of each contender, with what was made by the same versions."""
        for title, before, now in self._all_pairs():
            if not (other_training(before, now) or other_data(before, now).certain):
                unlike = other_measures(before, now)
                yield title, without_measures(before, unlike), without_measures(now, unlike)

    def _all_pairs(self) -> Iterator[tuple[str, Contender, Contender]]:
        for (old, _), pair in zip(self.shared, self.compared, strict=True):
            yield self.titles[old], *pair

    def other_versions(self) -> Iterator[Finding]:
        """What is not judged, since other data or another version of a component made it."""
        for title, before, now in self._all_pairs():
            yield from find_other_data(title, before, now)
            for name, text in tell_other_versions(before, now):
                yield Finding(UNJUDGED, title, name, text)

    def absent(self) -> Iterator[Finding]:
        """What the run was asked for and does not have, whoever is in the reference, and what the reference has beside that."""
        failed = {experiment(record.cell): record for record in self.current.failed}
        for record in failed.values():
            text = f"{self.cells[record.cell.id]}: {record.reason}"
            yield Finding(FAILED, self.titles[record.cell.contender], "training", text)
        for record in self.current.left:
            text = f"{self.cells[record.cell.id]}: a fresh run was to train it anew and has not yet; {GOES_ON}"
            yield Finding(MISSING, self.titles[record.cell.contender], "records", text)
        if self.current.absent:
            count = f"{len(self.current.absent)} of the cells of the latest run have no record"
            yield Finding(MISSING, ALL, "records", f"{count} ({', '.join(self.current.absent)}); {GOES_ON}")
        told = {*failed, *(experiment(record.cell) for record in self.current.left)}
        shared = {old for old, _ in self.shared}
        for identity, contender in self.reference.contenders.items():
            if identity not in shared and experiment(contender.cell) not in told:
                text = "in the reference, and not in the latest run"
                yield Finding(MISSING, self.titles[identity], "records", text)
        for title, before, now in self._all_pairs():
            taken = {spec for record in before.records.values() for spec in record.measured}
            for record in now.records.values():
                lacking = ", ".join(sorted(taken - {*record.measured}))
                if record.reason:
                    yield Finding(FAILED, title, "measures", f"{self.cells[record.cell.id]}: {record.reason}")
                elif lacking:
                    yield Finding(MISSING, title, "measures", f"{self.cells[record.cell.id]}: {lacking} not measured")

    def exact(self) -> Iterator[Finding]:
        """Parameters and FLOPs, which have to be what they were."""
        for title, before, now in self.pairs():
            for place, name in EXACT.items():
                old, new = ({value for r in each.records.values() for value in _at(r, place)} for each in (before, now))
                if old and new and old != new:
                    text = f"{name}: {_counted(old)} in the reference, now {_counted(new)}"
                    yield Finding(REGRESSION, title, name, text)

    def collapsed(self) -> Iterator[Finding]:
        """Contenders that have collapsed, and had not."""
        for title, before, now in self.pairs():
            told = tell_collapse(before, now, self.reference, self.current)
            if told:
                yield Finding(REGRESSION, title, "collapse", told)

    def bits(self) -> Iterator[Finding]:
        """Of the same cells on a machine of the same kind with the same software: numbers that are not the same."""
        for title, before, now in self.pairs():
            for seed, record in now.records.items():
                known = before.records.get(seed)
                if known is None or known.cell != record.cell or not same_bits_expected(known, record):
                    continue
                both = taken_again(known, record), record.rows
                old, new = ({row[:3] + row[5:]: row.value for row in rows} for rows in both)
                gone = {key for key in old.keys() - new.keys() if key[2] in self.sources}  # transfers
                names = [key for key in old if key not in gone and new.get(key) != old[key]]
                names = [key for key in names if key[:2] not in OF_TIME or key not in new]
                if not names:
                    self.checked.identical += 1
                    continue
                measures = ", ".join(dict.fromkeys(key[0] for key in names))
                text = f"{len(names)} numbers of seed {seed} are not those of this machine before ({measures})"
                yield Finding(CHANGED, title, "bits", text)

    def new(self) -> Iterator[Finding]:
        shared = {new for _, new in self.shared}
        for identity in self.current.contenders:
            if identity not in shared:
                text = "not in the reference; `capsbench check --update` puts it there"
                yield Finding(NEW, self.titles[identity], "records", text)

    def tests(self) -> Iterator[Test]:
        """Of every judged number: each contender with seeds enough, then the mean over contenders."""
        of_all: list[tuple[Judged, dict[int, float], dict[int, float]]] = []
        for judged in JUDGED:
            found = {title: self._numbers(judged, before, now) for title, before, now in self.pairs()}
            found = {title: both for title, both in found.items() if len(both[0]) >= FEWEST_SEEDS and both[1]}
            yield from self._tested(judged, found)
            if len(found) > 1:
                means = (
                    mean_by_seed(both[0] for both in found.values()),
                    mean_by_seed(both[1] for both in found.values()),
                )
                if len(means[0]) >= FEWEST_SEEDS and means[1]:
                    of_all.append((judged, *means))
        for judged, before, now in of_all:
            yield from self._tested(judged, {ALL: (before, now)})

    def _numbers(self, judged: Judged, before: Contender, now: Contender) -> tuple[dict[int, float], dict[int, float]]:
        """Seed -> a judged number on either side, of the rows that all of the records have that have any.

        So a transfer is judged by the sources that both have.
        """
        rows = [
            {seed: judged.rows(record, self.sources) for seed, record in each.records.items()} for each in (before, now)
        ]
        places = [each.keys() for side in rows for each in side.values() if each]
        common = set.intersection(*(set(each) for each in places)) if places else set()
        numbers: list[dict[int, float]] = []
        for side in rows:
            found = {seed: judged.of([each[place] for place in common]) for seed, each in side.items() if each}
            numbers.append({seed: value for seed, value in found.items() if value is not None})
        return numbers[0], numbers[1]

    def _tested(
        self, judged: Judged, found: Mapping[str, tuple[Mapping[int, float], Mapping[int, float]]]
    ) -> Iterator[Test]:
        step = step_of(
            [value for both in found.values() for side in both for value in side.values()], self._images(judged)
        )
        variances = _moderated([before for before, _ in found.values()], step)
        for (title, (before, now)), spread in zip(found.items(), variances, strict=True):
            old, new = fmean(before.values()), fmean(now.values())
            drop = (old - new) * (1 if judged.higher else -1)
            shown = judged.shown(old), judged.shown(new)
            yield self._test(
                title, judged.name, shown, drop, 100 * drop, spread, len(before), len(now), self._tolerance
            )

    def _images(self, judged: Judged) -> set[int]:
        """The counts of images that a judged number may be a share of, where it is that of one row."""
        datasets = {self.reference.contenders[old].cell.dataset for old, _ in self.shared}
        conditions = judged.conditions or ("",)
        return {
            count
            for dataset, condition in product(datasets, conditions)
            for count in self.steps.images(dataset, judged.measure, condition)
        }

    @property
    def _tolerance(self) -> float:
        return self.checked.tolerance / 100

    def times(self) -> Iterator[Test]:
        """Each time as a ratio to the median of its run's, by seed; what other machines do alike cancels."""
        for place, name in TIMES.items():
            before = ratios_to_median({title: _values(old, partial(_first, place)) for title, old, _ in self.pairs()})
            now = ratios_to_median({title: _values(new, partial(_first, place)) for title, _, new in self.pairs()})
            titles = [title for title in before if len(before[title]) >= FEWEST_SEEDS and now.get(title)]
            variances = _moderated([before[title] for title in titles])
            for title, spread in zip(titles, variances, strict=True):
                old, new = fmean(before[title].values()), fmean(now[title].values())
                shown = f"{math.exp(old):.2f} times the median contender's", f"{math.exp(new):.2f} times"
                seeds = len(before[title]), len(now[title])
                yield self._test(
                    title, name, shown, new - old, math.exp(new - old), spread, *seeds, math.log(self.checked.slower)
                )

    @staticmethod
    def _test(
        title: str,
        name: str,
        shown: tuple[str, str],
        drop: float,
        told: float,
        spread: Variance,
        reference: int,
        current: int,
        tolerance: float,
    ) -> Test:
        worse, better = (chance_of_drop(sign * drop, spread, reference, current, tolerance) for sign in (1, -1))
        return Test(title, name, *shown, told, worse, better)

    def sanity(self) -> Iterator[Test]:
        """How often each check on attacks failed, of all contenders' seeds together."""
        counts: dict[str, list[list[bool]]] = {}
        for _, before, now in self.pairs():
            for place, contender in enumerate((before, now)):
                for record in contender.records.values():
                    for row in record.rows:
                        if row[:2] == CHECKS:
                            counts.setdefault(row.condition, [[], []])[place].append(row.value < 1)
        for name, (old, new) in counts.items():
            if old and new:
                shown = f"failed {sum(old)} of {len(old)} times", f"{sum(new)} of {len(new)}"
                drop = 100 * (fmean(new) - fmean(old))
                worse = chance_of_failures(sum(new), len(new), sum(old), len(old))
                better = chance_of_failures(len(new) - sum(new), len(new), len(old) - sum(old), len(old))
                yield Test(ALL, f"sanity check of attacks, {name}", *shown, drop, worse, better)

    def unjudged(self) -> Iterator[Finding]:
        for title, before, _ in self.pairs():
            seeds = len(before.records)
            if seeds < FEWEST_SEEDS:
                named = "1 seed" if seeds == 1 else f"{seeds} seeds"
                text = f"the reference has {named}, of which no spread can be told; of {FEWEST_SEEDS} it can"
                yield Finding(UNJUDGED, title, "records", text)


def _at(record: Record, place: tuple[str, str, str]) -> list[float]:
    return [row.value for row in record.rows if row[:3] == place]


def _first(place: tuple[str, str, str], record: Record) -> float | None:
    return next(iter(_at(record, place)), None)


def _values(contender: Contender, of: Callable[[Record], float | None]) -> dict[int, float]:
    """Seed -> the number, of the seeds that have it."""
    found = {seed: of(record) for seed, record in contender.records.items()}
    return {seed: value for seed, value in found.items() if value is not None}


def _moderated(values: Sequence[Mapping[int, float]], step: float = 0.0) -> list[Variance]:
    """The variance of each contender's numbers, which are multiples of a step, drawn towards the usual one."""
    spread = [variance_of_seeds(np.array([*each.values()]), step, rounded=1) for each in values]
    return moderate_variances(
        [len(each) * own.value for each, own in zip(values, spread, strict=True)], [own.freedom for own in spread]
    )


def _counted(values: set[float]) -> str:
    return " or ".join(f"{value:,.0f}" for value in sorted(values))
