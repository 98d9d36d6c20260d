"""`capsbench check`: whether a run has become worse than a reference of several seeds. The rule is that of docs/ci.md."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from capsbench.comparing.checked import BETTER, MISSING, NEW, ORDER, REGRESSION, UNJUDGED, Checked, Finding, Test
from capsbench.comparing.data import find_other_data, note_unknown_data
from capsbench.comparing.exact import find_changed_bits, find_changed_counts, find_collapsed
from capsbench.comparing.judged import list_judged
from capsbench.comparing.lost import find_lost
from capsbench.comparing.missing import find_missing
from capsbench.comparing.pairing import Pairing
from capsbench.comparing.side import Side, read_latest_run, read_side, with_one_setting
from capsbench.comparing.significance import judge_numbers, judge_sanity_checks, judge_times
from capsbench.comparing.versions import list_unjudged
from capsbench.errors import Kind, NothingMeasured, UsageError
from capsbench.planning.request import spell_flag
from capsbench.records.folder import allow_own
from capsbench.records.software.provenance import provenance
from capsbench.records.store import Store
from capsbench.records.versions import describe_stale
from capsbench.stats.differences import ALPHA, FEWEST_SEEDS, adjust_by_holm

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
    (reference, current), left_out = with_one_setting(_read_reference(against), read_latest_run(out, "out"))
    checked = Checked(str(against), str(out), tolerance, slower)
    checked.notes = [*reference.faults, *current.faults, *current.notes, *_note_other_commits(current)]
    checked.notes += [*left_out, *describe_stale([*reference.records, *current.records])]
    return judge(reference, current, checked)


def judge(reference: Side, current: Side, checked: Checked) -> Checked:
    """Holds one side against another, and says in ``checked`` what came of it; see `check`."""
    pairing = Pairing(reference, current)
    checked.findings += find_missing(pairing)
    if not pairing.shared and all(finding.kind == MISSING for finding in checked.findings):
        raise NothingMeasured(
            Kind.MISSING,
            f"no contender of the reference {checked.against} is on record of the latest run",
            flag="out",
            file=checked.out,
        )
    checked.contenders = sorted(pair.title for pair in pairing.all)
    checked.exact = [number.title for number in list_judged(pairing.specs, "exact")]
    checked.notes += note_unknown_data([(pair.reference, pair.current) for pair in pairing.all])
    checked.findings += find_lost(pairing)
    changed_bits, checked.identical = find_changed_bits(pairing)
    checked.findings += [
        *_find_incomparable(pairing),
        *find_changed_counts(pairing),
        *find_collapsed(pairing),
        *changed_bits,
        *_find_new(pairing),
    ]
    checked.findings += _judge_tests(pairing, checked)
    checked.findings += _find_unjudged(pairing)
    checked.findings.sort(key=lambda finding: ORDER.index(finding.kind))
    return checked


def _judge_tests(pairing: Pairing, checked: Checked) -> Iterator[Finding]:
    """Runs all tests, adjusts their p-values by Holm's method, and yields those that are significant."""
    tests = [
        *judge_numbers(pairing, checked.tolerance / 100),
        *judge_sanity_checks(pairing),
        *judge_times(pairing, checked.slower),
    ]
    adjusted = {side: adjust_by_holm([getattr(test, side) for test in tests]) for side in ("worse", "better")}
    checked.tests = pd.DataFrame(tests, columns=[*Test._fields]).assign(**adjusted)
    for test, worse, better in zip(tests, adjusted["worse"], adjusted["better"], strict=True):
        text = f"{test.name}: {test.reference} in the reference, now {test.current}"
        if worse < ALPHA:
            yield Finding(REGRESSION, test.contender, test.name, text, float(worse))
        elif better < ALPHA:
            yield Finding(BETTER, test.contender, test.name, text, float(better))


def _find_incomparable(pairing: Pairing) -> Iterator[Finding]:
    """Finds contenders and measures of other data or of another version of a component, which are not judged."""
    for title, before, now in pairing.all:
        yield from find_other_data(title, before, now)
        for name, text in list_unjudged(before, now):
            yield Finding(UNJUDGED, title, name, text)


def _find_new(pairing: Pairing) -> Iterator[Finding]:
    shared = {new for _, new in pairing.shared}
    for identity in pairing.current.contenders:
        if identity not in shared:
            text = "not in the reference; `capsbench check --update` puts it there"
            yield Finding(NEW, pairing.titles[identity], "records", text)


def _find_unjudged(pairing: Pairing) -> Iterator[Finding]:
    for title, before, _ in pairing.comparable:
        seeds = len(before.records)
        if seeds < FEWEST_SEEDS:
            count = "1 seed" if seeds == 1 else f"{seeds} seeds"
            text = f"the reference has {count}; {FEWEST_SEEDS} or more tell how far seeds differ"
            yield Finding(UNJUDGED, title, "records", text)


def _read_reference(folder: str | Path) -> Side:
    try:
        return read_side(folder, "against")
    except NothingMeasured as error:
        remedy = f"{error.expected}, and `capsbench check` with {{flag:update}} puts them into a reference"
        raise UsageError(error.kind, error.problem, flag=error.flag, file=error.file, expected=remedy) from None


def _note_other_commits(current: Side) -> Iterator[str]:
    """Notes records of another commit than the latest run's, and a run of another commit than the one that is checked out."""
    here = provenance()["commit"]
    ran: str | None = here if current.run is None else current.run.commit
    others = [record for record in current.records if ran and record.provenance.get("commit") not in (ran, None)]
    if ran and others:
        which = "which is checked out" if current.run is None else "that of the latest run"
        yield (
            f"{len(others)} of {len(current.records)} records were made at another commit than {ran[:12]}, {which}; "
            f"`capsbench run {spell_flag('fresh')}` makes them again"
        )
    if here and ran and here != ran:
        yield f"the latest run was at commit {ran[:12]}; {here[:12]} is checked out"
