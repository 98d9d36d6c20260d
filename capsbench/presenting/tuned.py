"""Results of searches as contenders of a report: the networks of all studies are one contender, and a study one result.

The winners of a contender's studies have different settings. In a report they are one contender, with the settings that the
search started from and the mark of the search. Its unit is the study, as that of the test (`capsbench.stats.studies`): numbers of
a study are means over the seeds of its winner. A contender whose epochs were searched for likewise stands under the epochs that
its search started from, with the mark of that search; its unit is the seed, unless it is tuned too.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import NamedTuple

from capsbench.records.cell import FIELDS, Cell, Scalar
from capsbench.records.declaration import Role
from capsbench.records.join import rename_sources
from capsbench.records.record import TRAINING, Failure, Measurement, Record, Row
from capsbench.records.tuning import SEARCH, TUNED, USUAL_STUDIES, Tuning
from capsbench.records.tuning.convergence import AUTO_EPOCHS, Convergence

ABOUT_SEARCHES = {
    TUNED: (
        "Tuned: the settings were searched for with that many trials. Then n counts studies, in the place of seeds: each is a "
        "search of its own, whose winner was trained anew with fresh seeds, and its number is the mean over these."
    ),
    AUTO_EPOCHS: (
        "Auto epochs: the epochs were doubled, each time for a whole new training, as long as the contender was still improving. "
        "Its numbers are of networks with fresh seeds and the epochs that were found, which may be others than those of its CNN."
    ),
}
"""The option that marks the contenders of a search -> what captions of tables with them say."""

OF_SOME = ("reconstruction_weight", "iterations")
"""The tuned fields that only some contenders of a search have."""

SEEDS_A_STUDY = 2**20
"""More than a study has seeds. A report counts a network's seed from this times its study plus one, so that no network has the
seed of a study, which is its number."""


class Studies(NamedTuple):
    """The records of a report, with tuned results as one contender each.

    - ``results``: one record a network, and one a study of a tuned contender, with the study as its seed
    - ``networks``: one record a network; those of a tuned contender have its identity
    - ``origins``: identity of a network's cell in ``networks`` -> its identity on record
    - ``members``: identity of a study's cell in ``results`` -> those of its networks in ``networks``, in order of their seeds
    """

    results: list[Record]
    networks: list[Record]
    origins: dict[str, str]
    members: dict[str, list[str]]


def group_studies(records: Iterable[Record]) -> Studies:
    """Groups the tuned results among some records by contender and study; other records stay as they are.

    Results whose epochs were searched for stand under the epochs that the search started from.
    """
    results: list[Record] = []
    networks: list[Record] = []
    origins: dict[str, str] = {}
    studies: dict[tuple[str, int], list[Record]] = defaultdict(list)
    converged: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.role == "result" and record.tuning is not None:
            studies[identify_contender(record), record.tuning.study].append(record)
        elif record.role == "result" and record.convergence is not None:
            converged[identify_contender(record)].append(record)
        else:
            results.append(record)
            networks.append(record)
            origins[record.cell.id] = record.cell.id
    renamed: dict[str, str] = {}
    for of_all_searches in converged.values():
        for record in _keep_longest_search(of_all_searches):
            network = replace(record, cell=describe_contender(record).with_seed(record.cell.seed))
            results.append(network)
            networks.append(network)
            origins[network.cell.id] = record.cell.id
            renamed[record.cell.id] = network.cell.id
    members: dict[str, list[str]] = {}
    for (_, study), of_all_winners in studies.items():
        of_study = _keep_longest_search(_keep_winner(of_all_winners))
        cell = describe_contender(of_study[0])
        for place, record in enumerate(sorted(of_study, key=lambda record: record.cell.seed)):
            network = replace(record, cell=cell.with_seed(SEEDS_A_STUDY * (study + 1) + place))
            networks.append(network)
            origins[network.cell.id] = record.cell.id
            if record.status != "failed":
                members.setdefault(cell.with_seed(study).id, []).append(network.cell.id)
        results.append(merge_study(cell.with_seed(study), of_study))
    results += _list_missing_studies(studies)
    return Studies(rename_sources(results, renamed), networks, origins, members)


def _list_missing_studies(studies: Mapping[tuple[str, int], Sequence[Record]]) -> list[Record]:
    """Returns a failed result for each study of a contender that has none, so that its name says how many there should be.

    All trials of such a study failed, its winner has yet to be trained, or its result now belongs to another search.
    """
    missing = {}
    for (contender, _), records in studies.items():
        tuning, cell = records[0].tuning, describe_contender(records[0])
        assert tuning is not None
        for study in range(tuning.studies):
            if (contender, study) not in studies:
                failures = {TRAINING: Failure("no result of this study is on record")}
                missing[contender, study] = Record(cell.with_seed(study), failures=failures, tuning=tuning)
    return [*missing.values()]


def _keep_winner(records: Sequence[Record]) -> list[Record]:
    """Returns the results of the winner of a study.

    A folder may also have those of an earlier winner: a trial that had failed was trained since, and was better.
    """

    def rank(record: Record) -> tuple[float, int]:
        assert record.tuning is not None
        validation = record.tuning.validation
        return (-math.inf if validation is None else validation), -record.tuning.trial

    best = max(map(rank, records))
    return [record for record in records if rank(record) == best]


def _keep_longest_search(records: Sequence[Record]) -> list[Record]:
    """Returns the results of the search for epochs that tried the most.

    A folder may also have those of an earlier one that ended at trials that failed, and were trained since.
    """

    def count_tried(record: Record) -> int:
        return 0 if record.convergence is None else len(record.convergence.tried)

    most = max(map(count_tried, records))
    return [record for record in records if count_tried(record) == most]


def identify_contender(record: Record) -> str:
    """Returns the identity by which a report knows the contender of a record."""
    return describe_contender(record).contender


def is_of_search(trial: Record, tuning: Tuning) -> bool:
    """Returns true for a trial of the search that found a result.

    A random setting depends on the number of its trial, and not on how many there are or how they are divided. So searches with
    one seed share their first trials, which name the latest of these searches.
    """
    own = trial.tuning
    names = ["contender", "seed", "sampler", "space"] + (["studies", "trials"] if tuning.sampler != "random" else [])
    return (
        own is not None
        and all(getattr(own, name) == getattr(tuning, name) for name in names)
        and number_trial(own) < tuning.studies * tuning.trials
    )


def have_different_spaces(one: Record, other: Record) -> bool:
    """Returns true if a setting that two tuned contenders have was drawn from other values, or was fixed for one of them."""
    if one.tuning is None or other.tuning is None:
        return False
    spaces = one.tuning.space, other.tuning.space
    return any(
        _read_space(spaces[0], name) != _read_space(spaces[1], name)
        and all(_has_setting(record.cell, name) for record in (one, other))
        for name in spaces[0].keys() | spaces[1].keys()
    )


def _read_space(spaces: Mapping[str, str], name: str) -> str | None:
    """Returns the values of a setting, also of one that takes the value of another: ``as network.squash``."""
    text = spaces.get(name)
    return text if text is None else spaces.get(text.removeprefix("as "), text)


def _has_setting(cell: Cell, name: str) -> bool:
    if "." in name:
        return name in cell.options
    return cell.reconstruction if name == "reconstruction_weight" else getattr(cell, name) is not None


def number_trial(tuning: Tuning) -> int:
    """Returns the number of a trial among all of its contender."""
    return tuning.study * tuning.trials + tuning.trial


def describe_contender(record: Record) -> Cell:
    """Returns the cell by which a report names the contender of a record: where the searches of a result started."""
    if record.role != "result":
        return record.cell
    cell, tuning, convergence = record.cell, record.tuning, record.convergence
    if convergence is not None:
        cell = describe_converged(cell, convergence)
    if tuning is not None:
        cell = describe_tuned(cell, tuning)
    return cell


def describe_converged(cell: Cell, convergence: Convergence) -> Cell:
    """Returns a cell with the epochs from which a search for them started, and the mark of that search."""
    seeds = "/".join(map(str, sorted(convergence.seeds)))
    marks = {
        AUTO_EPOCHS: convergence.mark,
        SEARCH: hashlib.sha256(seeds.encode()).hexdigest()[:6],
    }
    return cell.model_copy(update={"epochs": convergence.start, "seed": 0, "options": {**cell.options, **marks}})


def describe_tuned(cell: Cell, tuning: Tuning) -> Cell:
    """Returns the cell by which a report names a tuned contender: where its search started, with the mark of the search.

    Fields of the budget that were tuned have no part in it: they have their usual value, so that contenders of one search are
    compared whatever value each started from.
    """
    fields = {name: _find_usual(name, value) for name, value in tuning.start.items() if "." not in name}
    options = {name: value for name, value in tuning.start.items() if "." in name}
    sampler = {"random": "", "tpe": ", TPE", "own": ", own tuner"}[tuning.sampler]
    studies = (
        ""
        if tuning.studies == USUAL_STUDIES
        else f" in {tuning.studies} {'studies' if tuning.studies > 1 else 'study'}"
    )
    budget = f"({tuning.studies * tuning.trials} trials{studies}{sampler})"
    marks = {TUNED: budget, SEARCH: _identify_search(tuning)}
    # Not validated: no network is built from it, and the marks are no options of a network.
    return cell.model_copy(update={**fields, "seed": 0, "options": {**cell.options, **options, **marks}})


def _find_usual(name: str, start: Scalar) -> Scalar:
    """Returns the default of a field of the budget; of any other field, and where there is none, the value of the start."""
    declared, default = FIELDS[name], Cell.model_fields[name].default
    usual = default if declared.default is None else declared.default
    return usual if declared.role is Role.BUDGET and isinstance(usual, bool | int | float | str) else start


def _identify_search(tuning: Tuning) -> str:
    """Returns what tells two searches of one contender and one budget apart; its beginning is what its rivals' share."""
    shared = {name: space for name, space in tuning.space.items() if "." not in name and name not in OF_SOME}
    own = [*sorted(tuning.space.items()), *sorted(tuning.start.items())]
    return f"{tuning.seed}/{tuning.studies}/{_digest(sorted(shared.items()))}/{_digest(own)}"


def _digest(values: Sequence[object]) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:6]


def find_shared_search(search: str) -> str:
    """Returns the part of the value of `SEARCH` that the contenders of one search share; empty of a search for epochs."""
    return search.rpartition("/")[0]


def merge_study(cell: Cell, records: Sequence[Record]) -> Record:
    """Returns the networks of a study as one record, whose numbers are means over those that have them.

    Args:
        cell: names the contender and, as its seed, the study.
    """
    measured = [record for record in records if record.status != "failed"]
    if not measured:
        return replace(records[0], cell=cell)
    first = measured[0]
    assert first.training is not None
    trainings = [record.training.rows for record in measured if record.training is not None]
    training = replace(first.training, rows=average_rows(trainings))
    taken: dict[str, list[Measurement]] = defaultdict(list)
    for record in measured:
        for spec, measurement in record.measures.items():
            taken[spec].append(measurement)
    measures = {
        spec: replace(of_spec[0], rows=average_rows([measurement.rows for measurement in of_spec]))
        for spec, of_spec in taken.items()
    }
    return replace(first, cell=cell, training=training, measures=measures)


def average_rows(rows: Sequence[Sequence[Row]]) -> list[Row]:
    """Returns one row a number: the mean over the networks that have it."""
    values: Mapping[Row, list[float]] = defaultdict(list)
    for of_network in rows:
        for row in of_network:
            values[row._replace(value=0.0)].append(row.value)
    return [row._replace(value=fmean(numbers)) for row, numbers in values.items()]


def describe_end(search: Convergence) -> str:
    """Returns why a search for epochs ended, as a phrase."""
    last = search.last
    if last is None:
        return "no trial could be trained"
    if last.is_improving is False:
        return "no longer improving"
    state = "still improving" if last.is_improving else "not known whether still improving"
    if last.epochs < search.tried[-1].epochs:
        return f"{state}, but no training with {search.tried[-1].epochs} epochs succeeded"
    return f"{state} at the ceiling"
