"""What the command line does, as Python functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

from capsbench import registry
from capsbench.data.base import data_folder
from capsbench.errors import Kind, NothingMeasured, UsageError
from capsbench.measures.build import ALL, checked, measures_of
from capsbench.measures.build import left_out as measures_left_out
from capsbench.planning.contender_defaults import title_cells
from capsbench.planning.count import MAX_CELLS, MOST_WORKERS, check_count, count_cells
from capsbench.planning.edits import UNDO, describe_edits, find_edits
from capsbench.planning.heavy import HeavyBaseline, heavy_baselines
from capsbench.planning.matrix import PlannedCell, plan_cells
from capsbench.planning.request import BASELINE_FLAG, MEASURE_FLAG, canonical, listed, spelled, trust_named
from capsbench.planning.suites import read_suite
from capsbench.presenting.terminal import make_console
from capsbench.records.cell import Cell
from capsbench.records.folder import allow_own, require_records
from capsbench.records.parts import Part, Parts
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.registry import measure_name
from capsbench.running.load_data import check_data, identify_data
from capsbench.running.progress import make_progress
from capsbench.running.runner import Outcome, Runner

OnCount = Callable[[int], None]


def cells(
    suite: str | Path | None = None, data_dir: str | Path | None = None, *, max_cells: int = MAX_CELLS, **request: Any
) -> list[Cell]:
    """The cells of a request, without running them.

    Args:
        suite: a TOML file or the name of a suite that ships with capsbench; ``request`` overrides it.
        data_dir: as in `run`; data sets of one's own are loaded, since their images are a part of the identity of a cell.
        max_cells: more cells than these are refused.
        request: the names of the command line's flags with underscores, each a value or a list of values (an axis):
            ``cells(routing="em", iters=[1, 2, 3], train_size=1000)``; options of networks and routings by their names.

    Raises:
        UsageError: an unknown name or a value that does not fit; an own data set that cannot be had, or gives other images
            at every load.
    """
    return [planned.cell for planned in _plan(suite, request, data_dir, max_cells)]


class Plan(NamedTuple):
    """What `run` would run.

    - ``cells``: with their measures
    - ``left_out``: of each data set or measure that it would leave out why
    - ``remarks``: what is to be told of the cells beforehand
    """

    cells: list[PlannedCell]
    left_out: dict[str, str]
    remarks: list[str]


def plan(
    suite: str | Path | None = None,
    data_dir: str | Path | None = None,
    *,
    max_cells: int = MAX_CELLS,
    on_count: OnCount = lambda count: None,
    **request: Any,
) -> Plan:
    """What `run` would run, and what it would leave out; for the arguments see there.

    Raises:
        UsageError: as `cells`, or none of a suite's data sets can be had.
    """
    chosen = _plan(suite, request, data_dir, max_cells, on_count)
    left_out = (
        check_data([planned.cell for planned in chosen], data_folder(data_dir), leave_out=True)
        if _leaves_out(suite, request)
        else {}
    )
    cells = [planned for planned in chosen if planned.cell.dataset not in left_out]
    return Plan(cells, left_out | _unmeasured(request), _remarks(cells, request))


def run(
    *,
    suite: str | Path | None = None,
    out: str | Path = "results",
    data_dir: str | Path | None = None,
    fresh: bool = False,
    workers: int | None = None,
    command: str = "capsbench.run",
    console: Console | None = None,
    max_cells: int = MAX_CELLS,
    on_count: OnCount = lambda count: None,
    **request: Any,
) -> Outcome:
    """Runs the cells of a request and writes a record of each under ``out``; cells on record are not run again.

    Cells of a suite whose data set cannot be had here are left out; a data set that ``request`` names has to be there.

    Args:
        suite, request: as in `cells`.
        out: the results folder.
        data_dir: where data sets lie or are downloaded to; else ``$CAPSBENCH_DATA``, else the user's cache.
        fresh: run cells again that are on record.
        workers: networks trained at a time; by default as many as fill the cores.
        command: noted with the run.
        console: where progress is shown.
        max_cells: as in `cells`.
        on_count: told how many cells there are at the most, before they are planned.

    Raises:
        UsageError: nothing was run; the message says what to change.
        StorageFailed: the folder took no more; what had been written stays.
    """
    _check_workers(workers)
    chosen = _plan(suite, request, data_dir, max_cells, on_count)
    with make_progress(console or make_console(stderr=True)) as progress:
        return Runner(
            chosen,
            Store(out),
            data_folder(data_dir),
            progress,
            workers=workers,
            command=command,
            fresh=fresh,
            suite=None if suite is None else str(suite),
            leave_out=_leaves_out(suite, request),
            unmeasured=_unmeasured(request),
            remarks=_remarks(chosen, request),
        ).run()


def measure(
    folder: str | Path = "results",
    *,
    measure: str | Sequence[str],
    where: Sequence[str] = (),
    data_dir: str | Path | None = None,
    workers: int | None = None,
    allow_code: bool = False,
    console: Console | None = None,
) -> Outcome:
    """Takes measures of the networks on record in a folder, from their weights; none is trained.

    Args:
        folder: the results folder.
        measure: which, as in `cells`; each network has those that apply to it and that it does not have yet.
        where: which networks, ``NAME=A,B`` or ``NAME!=A,B`` each, as in `report`; all of them by default.
        data_dir, workers, console: as in `run`.
        allow_code: import a user's own parts that the records name, from where their runs found them; networks with such parts
            are left out otherwise.

    Raises:
        UsageError: no such measure, or one that applies to none of the networks; or a network whose weights are not here.
        NothingMeasured: there is no trained network on record.
    """
    from capsbench.presenting.filter import chosen as choose_records  # imports pandas, which a plan does not need

    _check_workers(workers)
    asked = listed(measure)
    trust_named(MEASURE_FLAG, asked)
    specs = checked(asked)
    if not specs:
        raise UsageError(Kind.INVALID, flag="measure", expected="at least one measure", value="none")
    store = Store(folder)
    found, faults = require_records(store)
    if allow_code:
        allow_own(store)
    records = [record for record in choose_records(found, where) if record.training is not None]
    if not records:
        raise NothingMeasured(Kind.MISSING, "no trained network is on record", flag="out", file=store.folder)
    reasons = {record.cell.id: _not_measurable_here(record) for record in records}
    titles = title_cells(record.cell for record in records)
    remarks = [f"{titles[record.cell.id]} is left out: {why}" for record in records if (why := reasons[record.cell.id])]
    here = [record for record in records if not reasons[record.cell.id]]
    chosen = [planned for record in here if (planned := _plan_measures(record, specs)).measures]
    remarks += [*faults, *_about_names(chosen)]
    if not here:
        raise UsageError(Kind.CONFLICT, remarks[0], flag="out", file=store.folder)
    never = ({*specs} - {ALL}).difference(*(planned.measures for planned in chosen))
    if never or not chosen:
        problem = "can be taken of none of these networks"
        raise UsageError(Kind.CONFLICT, problem, flag="measure", value=",".join(sorted(never) or specs))
    with make_progress(console or make_console(stderr=True)) as progress:
        return Runner(
            chosen,
            store,
            data_folder(data_dir),
            progress,
            workers=workers,
            remarks=remarks,
            train=False,
        ).run()


def _plan(
    suite: str | Path | None,
    request: Mapping[str, Any],
    data_dir: str | Path | None,
    max_cells: int,
    on_count: OnCount = lambda count: None,
) -> list[PlannedCell]:
    asked = {name: value for name, value in request.items() if value is not None}
    requests = read_suite(suite).overridden(asked) if suite is not None else [asked]
    try:
        count = count_cells(*requests)
        check_count(count, max_cells)
        on_count(count)
        return identify_data(plan_cells(*requests), data_folder(data_dir), _leaves_out(suite, request))
    except UsageError as error:
        if suite is not None and error.file is None and error.flag not in {"max_cells", *map(canonical, asked)}:
            error.suite = str(suite)
        raise


def _plan_measures(record: Record, specs: tuple[str, ...]) -> PlannedCell:
    """A network on record with those of some measures that apply to it."""
    return PlannedCell(record.cell, measures_of(record.cell, specs), record.request, record.cell.device)


def _not_measurable_here(record: Record) -> str:
    """Why the network of a record cannot be built here as it was trained; empty where it can."""
    if record.cell.device == "cuda" and not torch.cuda.is_available():
        return "it was trained on a GPU, and torch sees no CUDA device here"
    try:
        edited = find_edits(record.cell, record.training.sources if record.training else {})
    except UsageError as error:
        return error.describe(spelled)
    return f"{describe_edits(edited)}; {UNDO}" if edited else ""


def _check_workers(workers: int | None) -> None:
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise UsageError(Kind.INVALID, flag="workers", expected=f"1 to {MOST_WORKERS:,}", value=workers)


def _unmeasured(request: Mapping[str, Any]) -> dict[str, str]:
    """What would be measured by default but cannot be here, and why."""
    asked = request.get("measure")
    return measures_left_out(None if asked is None else tuple(listed(asked)))


def _remarks(chosen: Sequence[PlannedCell], request: Mapping[str, Any]) -> list[str]:
    """What is to be told of cells before they are run."""
    return [
        *_about_iterations(chosen, request),
        *map(_about_heavy_baseline, heavy_baselines(chosen)),
        *_about_names(chosen),
    ]


def _about_heavy_baseline(heavy: HeavyBaseline) -> str:
    remedy = "none, or a CNN of its own size" if heavy.flag == BASELINE_FLAG else "own"
    title = heavy.cell.title.rpartition(", seed ")[0]
    return (
        f"{title}: {heavy.flops / 1e9:,.0f} GFLOP an image, which may take too long or too much memory; "
        f"{spelled(heavy.flag)} {remedy} avoids it"
    )


def _about_names(chosen: Sequence[PlannedCell]) -> list[str]:
    """A line for each entry point that is ignored though its name is asked for."""
    parts = {part for planned in chosen for part in Parts.from_cell(planned.cell)}
    parts |= {Part("measure", measure_name(spec)) for planned in chosen for spec in planned.measures}
    return [line for part in sorted(parts) for line in registry.about_name(part.kind, part.name)]


def _about_iterations(chosen: Sequence[PlannedCell], request: Mapping[str, Any]) -> list[str]:
    """What of the request the cells have no part in."""
    routings = sorted({planned.cell.routing for planned in chosen if planned.cell.routing is not None})
    once = [name for name in routings if not registry.get("routing", name).iterative]
    if request.get("iters") is None or not once:
        return []
    have, one = ("have", "one cell each") if len(once) > 1 else ("has", "one cell")
    asked = ",".join(map(str, listed(request["iters"])))
    return [
        f"{spelled('iters')} {asked}: {', '.join(once)} {have} no iterations; "
        f"whatever is asked for, {one} on record as x1"
    ]


def _leaves_out(suite: str | Path | None, request: Mapping[str, Any]) -> bool:
    """Whether the data sets are the suite's choice, so that those that cannot be had are left out."""
    return suite is not None and request.get("dataset") is None
