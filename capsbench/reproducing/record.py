"""A record as the aim of a reproduction."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from capsbench.comparing.side import VERSIONS, same_bits_expected
from capsbench.data.base import load_splits
from capsbench.data.digest import LABELS, digest_parts
from capsbench.errors import FOREIGN, Kind, UsageError, message_of
from capsbench.measures.base import MeasureBetween
from capsbench.measures.build import ALL, check_measures, make_measure
from capsbench.networks.build import parameter_count
from capsbench.planning.matrix import PlannedCell
from capsbench.planning.request import MEASURE_FLAG, split_request, split_values
from capsbench.planning.suites.rows import ROW
from capsbench.predicting import Found
from capsbench.predicting.load import check_unedited
from capsbench.presenting.steps import Steps
from capsbench.records.cell import DATA, Cell, fields_of, flag_of, short_name
from capsbench.records.declaration import Role
from capsbench.records.folder import allow_own, find_data
from capsbench.records.parts import Parts
from capsbench.records.record import Record
from capsbench.records.software.provenance import provenance
from capsbench.records.software.requirements import find_requirements
from capsbench.records.specs import find_unrepeatable, specs_of
from capsbench.records.store import Store
from capsbench.records.versions import stale_measures, stale_training
from capsbench.reproducing.differences import OF_CODE, UNIMPORTANT, find_differences
from capsbench.reproducing.numbers import compare_numbers, find_first_other_epoch
from capsbench.reproducing.reproduction import SHORT, Reproduction, Verdict
from capsbench.running.load_data import find_unfit
from capsbench.running.outcome import Outcome
from capsbench.sources import changed_parts

INSTALL = "the commit on record can make it"
"""The remedy for a cell that this version cannot make."""


@dataclass(frozen=True)
class RecordAim:
    """A record: its cell, and those of its measures that can be taken of one network; see `capsbench.reproducing.aim.Aim`."""

    found: Found
    planned: Sequence[PlannedCell]
    remarks: Sequence[str]
    notes: Sequence[str]
    suite: None = None

    @property
    def name(self) -> str:
        return f"{self.found.store.folder / self.found.record.cell.id}"

    def conclude(self, store: Store, outcome: Outcome) -> Reproduction:
        """Compares the numbers, the training curve and the weights, and what may explain a difference."""
        before, (job,) = self.found.record, self.planned
        now = store.find(job.cell)
        result = Reproduction(self.name, self.found.title, outcome, notes=[*self.notes])
        if now is None or now.training is None or before.training is None:
            return result

        def read_kept(measure: str, cell: str) -> Any:
            return self.found.store.kept(before, measure) or store.kept(now, measure)

        steps = Steps([before, now], read_kept)
        digests = [weights and weights.sha256 for weights in (before.training.weights, now.training.weights)]
        differences = find_differences(before, now)
        explaining = [each for each in differences if each.name not in UNIMPORTANT]
        if any(each.name in VERSIONS for each in differences):
            result.notes += _advise_installing(self.found.store, before)
        result = replace(
            result,
            numbers=compare_numbers(before, now, job.measures, steps),
            other_epoch=find_first_other_epoch(before.history, now.history),
            same_weights=None if None in digests else digests[0] == digests[1],
            differences=differences,
            same_bits_expected=same_bits_expected(before, now) and not explaining,
        )
        is_of_code = explaining != [] and all(each.name in OF_CODE for each in explaining)
        if result.verdict is not Verdict.SAME and is_of_code:
            result.notes += _advise_checkout(before)
        return result


def _advise_installing(store: Store, record: Record) -> list[str]:
    """Returns how to install the versions on record, if the folder has the file of them."""
    path = find_requirements(store.folder, record.provenance)
    return [] if path is None else [f"`pip install -r {path}` installs the versions on record, in a new environment"]


def _advise_checkout(record: Record) -> list[str]:
    """Returns which code is expected to give the same bits, if the record has its commit and nothing was changed in it."""
    commit = record.provenance.get("commit")
    if not commit or record.provenance.get("dirty"):
        return []
    return [
        f"machine, packages and versions are the same, but not the code, which may sum in another order; commit {commit[:SHORT]} "
        "is expected to give the same bits"
    ]


def aim_at_record(
    found: Found, data_folder: Path, dataset: Sequence[str], allow_code: bool, request: Mapping[str, Any]
) -> RecordAim:
    """Plans the cell of a record as it is.

    Args:
        data_folder: the folder of the data sets.
        dataset: where images of the user's own lie now that were moved since the training.
        allow_code: import a user's own parts that the record names.
        request: ``measure``, and fields of the machine such as ``device``; nothing else of a cell can be changed.

    Raises:
        UsageError: this version cannot make the cell: it does not know an option, own parts are missing or were edited, the data
            have changed, or the machine lacks the device.
    """
    record, store = found.record, found.store
    if allow_code:
        allow_own(store)
    _check_trained(record)
    find_data(store, [record.cell], dataset)
    cell, device = _choose_machine(record.cell, request)
    _check_cell(record, cell)
    _check_data(record, data_folder)
    measures, notes = _choose_measures(record, request.get(MEASURE_FLAG))
    planned = PlannedCell(cell, measures, {**record.request, MEASURE_FLAG: ",".join(measures) or "none"}, device)
    return RecordAim(found, [planned], _describe_stale(record), notes)


def _check_trained(record: Record) -> None:
    if record.cell.is_given:
        raise _refuse(record, "its weights were trained elsewhere, so nothing trains them again")


def _choose_machine(cell: Cell, request: Mapping[str, Any]) -> tuple[Cell, str]:
    """Returns the cell with the fields of the machine that are asked for, and the device to run on."""
    asked = {name: value for name, value in request.items() if value is not None and name != MEASURE_FLAG}
    split = split_request(asked)
    of_machine = fields_of(Role.MACHINE)
    others = [*(flag_of(name) for name in split.fields if name not in of_machine), *split.options]
    if others or split.measures or "baseline" in asked or "baseline_size" in asked:
        name = next(iter(others), "baseline")
        allowed = ", ".join(f"{{flag:{flag_of(field)}}}" for field in of_machine)
        problem = "a record is run as it is; only the machine may be another"
        raise UsageError(Kind.CONFLICT, problem, flag=name, expected=f"one of {allowed}, or `capsbench run`")
    for name, values in split.fields.items():
        if len(values) > 1:
            raise UsageError(Kind.INVALID, flag=flag_of(name), expected="one value", value=",".join(map(str, values)))
    fields = {name: values[0] for name, values in split.fields.items()}
    device = str(fields.get("device", cell.device))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        problem = "it was trained on a GPU, and torch sees no CUDA device here"
        raise UsageError(
            Kind.MISSING, problem, flag=ROW, value=f"{cell.id}, {cell.title}", expected="{flag:device} cpu runs it here"
        )
    fields["device"] = device.partition(":")[0]
    return Cell.model_validate({**cell.model_dump(), **fields}), device


def _check_cell(record: Record, cell: Cell) -> None:
    """Raises UsageError for a cell that this version cannot make as it was."""
    parts = Parts.from_cell(cell)
    if unknown := [
        option for option in cell.options if not _has_option(parts.of(option).component, short_name(option))
    ]:
        raise _refuse(record, f"this version has no option {', '.join(unknown)}", INSTALL)
    check_unedited(cell, record.training.sources if record.training else {})
    try:
        parameter_count(cell)
    except UsageError:
        raise
    except FOREIGN as error:
        raise _refuse(record, f"its network cannot be built: {message_of(error)}", INSTALL) from error


def _has_option(component: Any, name: str) -> bool:
    """Returns true if a component takes an argument."""
    parameters = inspect.signature(component).parameters
    return name in parameters or any(known.kind is inspect.Parameter.VAR_KEYWORD for known in parameters.values())


def _check_data(record: Record, folder: Path) -> None:
    """Raises UsageError if images or labels are known not to be those of the training.

    Pixels that are computed may differ in their last bits on another machine or with other software; labels may not.
    """
    if (fault := next(iter(find_unfit([record.cell], folder).values()), None)) is not None:
        raise fault
    known = record.training.sources.get(DATA, {}) if record.training else {}
    if not known or DATA in record.cell.code:
        return
    cell = record.cell
    parts = digest_parts(load_splits(cell.dataset, folder, options=cell.component_options("dataset")))
    here = replace(record, training=replace(record.training, provenance=provenance())) if record.training else record
    is_same_machine = same_bits_expected(record, here)
    others = [name for name in changed_parts(known, parts) if name.endswith(LABELS) or is_same_machine]
    if others:
        problem = f"{cell.dataset} is not as it was at the training: {', '.join(others)}"
        raise _refuse(record, problem, "put back the files as they were; `capsbench data verify` checks them")


def _choose_measures(record: Record, asked: Any) -> tuple[tuple[str, ...], list[str]]:
    """Returns the measures to take again, and a note for each that cannot be taken of this network alone or here."""
    if asked is None:
        wanted = [*record.measures]
    else:
        wanted = [*check_measures(split_values(asked))]
        if ALL in wanted:
            wanted = [*record.measures, *(spec for spec in wanted if spec not in (ALL, *record.measures))]
        if others := [spec for spec in wanted if spec not in record.measures]:
            expected = ", ".join(record.measures) or "none; it was only trained"
            raise UsageError(
                Kind.CONFLICT,
                f"not on record: {', '.join(others)}",
                flag=MEASURE_FLAG,
                expected=f"on record: {expected}",
            )
    measures, notes = [], []
    timed = find_unrepeatable(specs_of([record]))
    for spec in wanted:
        measure, rows = make_measure(spec), record.measures[spec].rows
        if rows and all(row[:2] in timed for row in rows):
            notes.append(f"{spec} is left out: times and memory differ at every run")
        elif isinstance(measure, MeasureBetween):
            notes.append(f"{spec} is left out: it is measured between the networks of a run")
        elif (reason := measure.missing()) is not None:
            notes.append(f"{spec} is left out: {reason}")
        else:
            measures.append(spec)
    return tuple(sorted(measures)), notes


def _describe_stale(record: Record) -> list[str]:
    stale = [*stale_training(record), *stale_measures(record).values()]
    return [f"on record is another {each}: other numbers are to be expected" for each in stale]


def _refuse(record: Record, problem: str, expected: str | None = None) -> UsageError:
    value = f"{record.cell.id}, {record.cell.title}"
    return UsageError(Kind.CONFLICT, problem, flag=ROW, value=value, expected=expected)
