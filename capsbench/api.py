"""The public Python API: the commands of the command line as functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

from capsbench import registry
from capsbench.data.base import data_folder
from capsbench.data.own import adopt_request, remove_refused
from capsbench.errors import Kind, NothingMeasured, UsageError
from capsbench.measures.build import ALL, check_measures, explain_refused, measures_of
from capsbench.measures.build import left_out as measures_left_out
from capsbench.planning.classes import name_classes, name_request
from capsbench.planning.contender_defaults import title_cells
from capsbench.planning.count import MAX_CELLS, check_count, count_cells
from capsbench.planning.defaults import SECONDS_BETWEEN_CHECKPOINTS
from capsbench.planning.edits import UNDO, describe_edits, find_edits
from capsbench.planning.fitting import describe_unfit_measures
from capsbench.planning.heavy import find_heavy_baselines
from capsbench.planning.matrix import PlannedCell, find_unnamed, plan_cells
from capsbench.planning.request import (
    MEASURE_FLAG,
    canonical_name,
    spell_flag,
    split_values,
    trust_named,
)
from capsbench.planning.shards import SHARD_FLAG, Shard, list_between, parse_shard, select_shard
from capsbench.planning.suites import read_suite
from capsbench.presenting.terminal import make_console
from capsbench.records.cell import Cell
from capsbench.records.folder import allow_own, find_data, require_records
from capsbench.records.parts import Part, Parts, open_dataset
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.registry import measure_name
from capsbench.running.events import Listener
from capsbench.running.listeners import Listeners, name_listeners
from capsbench.running.load_data import check_data, find_unfit, group_by_data, identify_data
from capsbench.running.machines import Machines
from capsbench.running.outcome import Outcome
from capsbench.running.progress import make_progress
from capsbench.running.trackers.build import choose_trackers, describe_trackers, start_trackers

OnCount = Callable[[int], None]


def cells(
    suite: str | Path | None = None, data_dir: str | Path | None = None, *, max_cells: int = MAX_CELLS, **request: Any
) -> list[Cell]:
    """Returns the cells of a request without running them.

    Args:
        suite: a TOML file or the name of a suite that ships with capsbench; ``request`` overrides it.
        data_dir: as in `run`; a user's own data sets are loaded, since their images are part of a cell's identity.
        max_cells: the most cells that the request may make.
        request: the names of the command line's flags with underscores, each a value or a list of values (an axis):
            ``cells(routing="em", iters=[1, 2, 3], train_size=1000)``; options of networks and routings by their names.
            A class of yours, ``routing=MyRouting``, stands for its name, ``"my_module:MyRouting"``.
            ``dataset`` may be images in memory, as `capsbench.data.own.objects.write_object` takes them.

    Raises:
        UsageError: an unknown name or an invalid value; a user's own data set cannot be loaded, or gives other images at every
            load.
    """
    planned, _ = _plan_request(suite, request, data_dir, max_cells)
    return [job.cell for job in planned]


class Plan(NamedTuple):
    """The plan of a run.

    - ``cells``: the cells with their measures
    - ``left_out``: data set or measure that the run leaves out -> the reason
    - ``remarks``: remarks on the cells, a line each
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
    shard: str | Sequence[int] | None = None,
    **request: Any,
) -> Plan:
    """Returns the cells that `run` would run, and what it would leave out; the arguments are those of `run`.

    Raises:
        UsageError: as `cells`, or none of a suite's data sets is available.
    """
    chosen, remarks = _plan_shard(suite, request, data_dir, max_cells, on_count, shard)
    left_out = (
        check_data([planned.cell for planned in chosen], data_folder(data_dir), leave_out=True)
        if _leaves_out(suite, request)
        else {}
    )
    cells = [planned for planned in chosen if planned.cell.dataset not in left_out]
    return Plan(cells, left_out | _find_unavailable_measures(request), [*remarks, *_collect_remarks(cells, request)])


def run(
    *,
    suite: str | Path | None = None,
    out: str | Path = "results",
    data_dir: str | Path | None = None,
    fresh: bool = False,
    workers: int | None = None,
    executor: str = "local",
    per_gpu: int = 1,
    cell_timeout: str | float | None = None,
    slurm: Mapping[str, str] | None = None,
    cells_per_job: int | None = None,
    detach: bool = False,
    ray_address: str | None = None,
    track: str | Sequence[str] = (),
    listener: Listener | Sequence[Listener] | None = None,
    checkpoint_seconds: float = SECONDS_BETWEEN_CHECKPOINTS,
    budget: str | float | None = None,
    command: str = "capsbench.run",
    console: Console | None = None,
    max_cells: int = MAX_CELLS,
    on_count: OnCount = lambda count: None,
    shard: str | Sequence[int] | None = None,
    **request: Any,
) -> Outcome:
    """Runs the cells of a request and writes a record of each under ``out``; cells on record are not run again.

    If a suite's data set is not available, its cells are left out; a data set that ``request`` names must be available.

    Args:
        suite, request: as in `cells`.
        out: the results folder.
        data_dir: where data sets lie or are downloaded to; else ``$CAPSBENCH_DATA``, else the user's cache.
        fresh: run cells again that are on record.
        workers: networks trained at a time on a machine; by default as many as fill its cores or GPUs.
        executor: where cells run: ``local``, in processes of this machine; ``ray``, as tasks of Ray, on any number of machines;
            or ``slurm``, as array tasks of Slurm.
        per_gpu: networks trained at a time on a GPU.
        cell_timeout: the time limit of a cell in seconds, or such as ``30m`` or ``2h``; a cell that takes longer fails.
        slurm: options of Slurm by name, such as ``{"partition": "gpu", "time": "4:00:00"}``.
        cells_per_job: cells that an array task of Slurm runs, one after the other; by default 1.
        detach: submit the cells to Slurm and return; the same call later collects them.
        ray_address: the Ray cluster to join, ``HOST:PORT`` or ``auto``; by default a Ray starts on this machine.
        track: trackers of the cells by name, or by the import path of your own (`capsbench.running.trackers.Tracker`).
        listener: one or several objects whose ``notify(event)`` receives the events of `capsbench.running.events`. A listener or
            tracker that raises is named once and dropped; the run goes on.
        checkpoint_seconds: the least time between two checkpoints of a training, from which an interrupted one goes on.
        budget: the time that the call may take, in seconds or such as ``8h``. Comparisons are completed one after the other
            (`capsbench.running.schedule`), a cell that is not expected to end in time is not started, and one that runs at the
            end writes a checkpoint. The same call goes on.
        command: the command on record with the run.
        console: shows the progress.
        max_cells: as in `cells`.
        on_count: called with the largest possible number of cells before they are planned.
        shard: ``"2/4"`` or ``(2, 4)`` runs the second of four parts of the cells, without measures between networks. Each machine
            runs a part in a folder of its own; `capsbench.merge` joins the folders, and the same call without ``shard`` takes the
            measures between networks.

    Raises:
        UsageError: nothing was run; the message says what to change.
        StorageFailed: a result could not be written; those written before stay.
    """
    machines = Machines(
        executor, workers, per_gpu, cell_timeout, slurm, cells_per_job, detach, ray_address, checkpoint_seconds, budget
    )
    tracker_classes, others = choose_trackers(split_values(name_classes("track", track))), name_listeners(listener)
    chosen, remarks = _plan_shard(suite, request, data_dir, max_cells, on_count, shard)
    leave_out, folder = _leaves_out(suite, request), data_folder(data_dir)
    with make_progress(console or make_console(stderr=True)) as progress:
        schedule = machines.make_schedule(chosen, Store(out), folder, progress, fresh=fresh, leave_out=leave_out)
        trackers = start_trackers(tracker_classes, Path(out) / "tracking")
        with Listeners(progress, [*others, *trackers.items()]) as listeners:
            return machines.make_runner(
                chosen,
                Store(out),
                folder,
                listeners,
                command=command,
                fresh=fresh,
                suite=None if suite is None else str(suite),
                leave_out=leave_out,
                schedule=schedule,
                unmeasured=_find_unavailable_measures(request),
                remarks=[*remarks, *_collect_remarks(chosen, request), *describe_trackers(trackers)],
                note={"shard": None if shard is None else str(parse_shard(shard))},
            ).run()


def measure(
    folder: str | Path = "results",
    *,
    measure: str | Sequence[str],
    where: str | Sequence[str] = (),
    dataset: str | Sequence[str] = (),
    data_dir: str | Path | None = None,
    workers: int | None = None,
    executor: str = "local",
    per_gpu: int = 1,
    cell_timeout: str | float | None = None,
    slurm: Mapping[str, str] | None = None,
    cells_per_job: int | None = None,
    detach: bool = False,
    ray_address: str | None = None,
    allow_code: bool = False,
    console: Console | None = None,
) -> Outcome:
    """Takes measures of the networks on record in a folder, from their weights; none is trained.

    Args:
        folder: the results folder.
        measure: the measures, as in `cells`; each network gets those that apply to it and that it lacks.
        where: conditions on the networks, ``NAME=A,B`` or ``NAME!=A,B`` each, as in `report`; all networks by default.
        dataset: where images of the user's own lie now that were moved since the training, such as ``folder:data/shapes``.
        data_dir, workers, executor, per_gpu, cell_timeout, slurm, cells_per_job, detach, ray_address, console: as in `run`.
        allow_code: import a user's own parts that the records name, from the folders in which their runs found them; networks
            with such parts are left out otherwise.

    Raises:
        UsageError: an unknown measure, or one that applies to none of the networks; or a network without its weights.
        NothingMeasured: no trained network is on record.
    """
    # It imports pandas, which a plan does not need.
    from capsbench.presenting.filter import choose_records, list_conditions

    machines = Machines(executor, workers, per_gpu, cell_timeout, slurm, cells_per_job, detach, ray_address)
    asked = split_values(name_classes(MEASURE_FLAG, measure))
    trust_named(MEASURE_FLAG, asked)
    specs = check_measures(asked)
    if not specs:
        raise UsageError(Kind.INVALID, flag="measure", expected="at least one measure", value="none")
    store = Store(folder)
    on_record, faults = require_records(store)
    chosen_records = choose_records(on_record, list_conditions(where))
    find_data(store, (record.cell for record in chosen_records), split_values(dataset))
    if allow_code:
        allow_own(store)
    records = [record for record in chosen_records if record.training is not None]
    if not records:
        raise NothingMeasured(Kind.MISSING, "no trained network is on record", flag="out", file=store.folder)
    reasons = {record.cell.id: _explain_unmeasurable(record) for record in records}
    usable = (record.cell for record in records if not reasons[record.cell.id])
    reasons |= {name: fault.describe(spell_flag) for name, fault in find_unfit(usable, data_folder(data_dir)).items()}
    titles = title_cells(record.cell for record in records)
    remarks = [f"{titles[record.cell.id]} is left out: {why}" for record in records if (why := reasons[record.cell.id])]
    here = [record for record in records if not reasons[record.cell.id]]
    chosen = [planned for record in here if (planned := _plan_measures(record, specs)).measures]
    remarks += [*faults, *_describe_ignored_names(chosen)]
    if not here:
        raise UsageError(Kind.CONFLICT, remarks[0], flag="out", file=store.folder)
    if ALL in specs:
        remarks += describe_unfit_measures([record.cell for record in here])
    never = ({*specs} - {ALL}).difference(*(planned.measures for planned in chosen))
    if never or not chosen:
        refused = sorted(never) or specs
        reason = explain_refused(refused, [record.cell for record in here])
        problem = f"can be taken of none of these networks{reason}"
        raise UsageError(Kind.CONFLICT, problem, flag="measure", value=",".join(refused))
    return machines.run_cells(chosen, store, remarks, data_dir=data_dir, console=console, train=False)


def _plan_shard(
    suite: str | Path | None,
    request: Mapping[str, Any],
    data_dir: str | Path | None,
    max_cells: int,
    on_count: OnCount,
    shard: str | Sequence[int] | None,
) -> tuple[list[PlannedCell], list[str]]:
    """Returns the cells of a request that this machine runs, and remarks on those that it leaves to others."""
    part = None if shard is None else parse_shard(shard)
    planned, remarks = _plan_request(suite, request, data_dir, max_cells, on_count)
    return (
        (planned, remarks)
        if part is None
        else (select_shard(planned, part), [*remarks, *_describe_shard(planned, part)])
    )


def _describe_shard(planned: Sequence[PlannedCell], shard: Shard) -> list[str]:
    count = len(select_shard(planned, shard))
    remarks = [f"{spell_flag(SHARD_FLAG)} {shard}: {count} of {len(planned)} cells"]
    if between := list_between(planned):
        remarks.append(
            f"{', '.join(between)}: needs all networks; left to the same command without {spell_flag(SHARD_FLAG)} in the merged "
            "folder"
        )
    return remarks


def _plan_request(
    suite: str | Path | None,
    request: Mapping[str, Any],
    data_dir: str | Path | None,
    max_cells: int,
    on_count: OnCount = lambda count: None,
) -> tuple[list[PlannedCell], list[str]]:
    """Returns the cells of a request, and remarks on what it leaves out."""
    remarks: list[str] = []
    asked = name_request({name: value for name, value in request.items() if value is not None})
    with remove_refused() as note:
        asked = adopt_request(asked, data_folder(data_dir), note)
        requests = read_suite(suite).override_with(asked) if suite is not None else [asked]
        try:
            count = count_cells(*requests)
            check_count(count, max_cells)
            on_count(count)
            requests = [adopt_request(dict(item), data_folder(data_dir)) for item in requests]
            planned = plan_cells(*requests, remarks=remarks)
            return identify_data(planned, data_folder(data_dir), _leaves_out(suite, request)), remarks
        except UsageError as error:
            if (
                suite is not None
                and error.file is None
                and error.flag not in {"max_cells", *map(canonical_name, asked)}
            ):
                error.suite = str(suite)
            raise


def _plan_measures(record: Record, specs: tuple[str, ...]) -> PlannedCell:
    """Plans those of some measures that apply to a network on record."""
    measures = measures_of(record.cell, specs)
    unnamed = find_unnamed(measures, specs)
    return PlannedCell(record.cell, measures, record.request, record.cell.device, unnamed=unnamed)


def _explain_unmeasurable(record: Record) -> str:
    """Returns the reason why a record's network cannot be built here as it was trained; empty if it can."""
    if record.cell.device == "cuda" and not torch.cuda.is_available():
        return "it was trained on a GPU, and torch sees no CUDA device here"
    try:
        edited = find_edits(record.cell, record.training.sources if record.training else {})
    except UsageError as error:
        return error.describe(spell_flag)
    return f"{describe_edits(edited)}; {UNDO}" if edited else ""


def _find_unavailable_measures(request: Mapping[str, Any]) -> dict[str, str]:
    """Returns measure -> why this machine cannot take it, for measures that the user did not name one by one."""
    asked = name_classes(MEASURE_FLAG, request.get(MEASURE_FLAG))
    return measures_left_out(None if asked is None else tuple(split_values(asked)))


def _collect_remarks(chosen: Sequence[PlannedCell], request: Mapping[str, Any]) -> list[str]:
    """Returns the remarks on cells before they run, a line each."""
    return [
        *_describe_unused_iterations(chosen, request),
        *map(str, find_heavy_baselines(chosen)),
        *_describe_ignored_names(chosen),
        *_describe_images(chosen),
    ]


def _describe_images(chosen: Sequence[PlannedCell]) -> list[str]:
    """Returns what data sets say of their images, such as the splits that were drawn and an imbalance of the classes."""
    groups = group_by_data(planned.cell for planned in chosen)
    lines = (
        f"{dataset}: {line}" for dataset, options in groups for line in open_dataset(dataset, dict(options)).remarks
    )
    return [*dict.fromkeys(lines)]  # options may leave what is told as it is


def _describe_ignored_names(chosen: Sequence[PlannedCell]) -> list[str]:
    """Returns a line for each entry point that is ignored though the user asked for its name."""
    parts = {part for planned in chosen for part in Parts.from_cell(planned.cell)}
    parts |= {Part("measure", measure_name(spec)) for planned in chosen for spec in planned.measures}
    return [line for part in sorted(parts) for line in registry.about_name(part.kind, part.name)]


def _describe_unused_iterations(chosen: Sequence[PlannedCell], request: Mapping[str, Any]) -> list[str]:
    """Returns a line if iterations are asked for and some routings have none."""
    routings = sorted({planned.cell.routing for planned in chosen if planned.cell.routing is not None})
    once = [name for name in routings if not registry.get("routing", name).iterative]
    if request.get("iters") is None or not once:
        return []
    have, one = ("have", "one cell each") if len(once) > 1 else ("has", "one cell")
    asked = ",".join(map(str, split_values(request["iters"])))
    return [f"{spell_flag('iters')} {asked}: {', '.join(once)} {have} no iterations; {one} on record as x1 in any case"]


def _leaves_out(suite: str | Path | None, request: Mapping[str, Any]) -> bool:
    """Returns true if the suite chose the data sets: those that are not available are then left out."""
    return suite is not None and request.get("dataset") is None
