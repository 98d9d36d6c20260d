"""Matrix: a user's request -> the cells to run, and what is wanted of each.

A request is a mapping from names to values or lists of values, the same names on the command line, in a suite and in
Python: ``{"routing": ["em"], "iters": [1, 2, 3], "seeds": [0, 1, 2]}``. Lists are axes; the cells are their product, with
everything left open decided here and written into the Cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from capsbench import registry
from capsbench.errors import Kind, UsageError
from capsbench.measures.build import ALL, NONE, explain_refused, is_fit, make_measure, measures_of
from capsbench.planning.baselines import resolve_baseline
from capsbench.planning.defaults import complete_axes
from capsbench.planning.fitting import Fitting, describe_unfit_measures
from capsbench.planning.options import choose_options, list_options, multiply_axes, refuse_option
from capsbench.planning.parts import choose_parts
from capsbench.planning.request import (
    BASELINE_FLAG,
    BASELINE_SIZE_FLAG,
    MEASURE_FLAG,
    WEIGHTS,
    Request,
    narrow_request,
    refuse_namesakes,
    split_request,
    split_values,
)
from capsbench.planning.resolve import resolve_cell
from capsbench.planning.weights import find_fitting
from capsbench.records.cell import Cell, Scalar, asked_fields, flag_of, short_name
from capsbench.records.parts import Parts
from capsbench.records.record import Role
from capsbench.records.tuning import Tuning
from capsbench.records.tuning.convergence import Convergence
from capsbench.sources.weights import WeightsFile

SEED = "seed"
"""The axis that makes further cells of a contender."""


@dataclass(frozen=True)
class PlannedCell:
    """A cell to run, and what is wanted beside its weights.

    Attributes:
        measures: the specs of the measures to take.
        request: the user's request that led to this cell: names of flags in Python, each with one value.
        device: the device to run on: ``cpu``, ``cuda`` or ``cuda:1``. Which GPU it is makes no other cell.
        data: part -> digest, of a user's own data set as loaded when the cell was planned; empty for built-in ones.
        role: a result, or a trial of a search.
        tuning: the search that the cell is a trial of, or that found its settings.
        convergence: the search for epochs that the cell is a trial of, or that found its epochs.
        weights: the file of weights that were trained elsewhere.
        unnamed: those of the measures that the user did not name, which are left out where what is on record excludes them.
    """

    cell: Cell
    measures: tuple[str, ...] = ()
    request: Mapping[str, Scalar | None] = field(default_factory=dict)
    device: str = "cpu"
    data: Mapping[str, str] = field(default_factory=dict)
    role: Role = "result"
    tuning: Tuning | None = None
    convergence: Convergence | None = None
    weights: WeightsFile | None = None
    unnamed: tuple[str, ...] = ()

    def with_seed(self, seed: int) -> PlannedCell:
        """Returns the cell of the same contender with another seed."""
        flag = flag_of(SEED)
        request = {**self.request, flag: seed} if flag in self.request else self.request
        return replace(self, cell=self.cell.with_seed(seed), request=request)


def cells_of(*requests: Mapping[str, Any]) -> list[Cell]:
    """Returns the cells of `plan_cells` without what is wanted of each."""
    return [planned.cell for planned in plan_cells(*requests)]


def plan_cells(*requests: Mapping[str, Any], remarks: list[str] | None = None) -> list[PlannedCell]:
    """Returns the cells of some requests, baselines included, each once: seeds of a contender together, baselines last.

    Args:
        requests: names as in `asked_fields` (``routing``, ``iters``, ``train_size``, ...), ``measure``, ``baseline``,
            ``baseline_size`` and options of networks and routings; each a value, a list of values, or a string with commas.
            ``all`` stands for every routing, network or baseline that fits the rest of the request.
        remarks: a line on what ``all`` leaves out is added to it.

    Raises:
        UsageError: an unknown name, such as an option that none of the requests can use, or a value that does not fit.
    """
    cells: dict[str, PlannedCell] = {}
    used: set[str] = set()  # the names of options that a cell has
    known: set[str] = set()  # the options of all parts
    refuse_namesakes(requests)
    split = [split_request(request) for request in requests]
    for request, wanted in zip(requests, split, strict=True):
        contenders: dict[tuple[Any, ...], list[PlannedCell]] = {}
        fitting = Fitting(wanted.expanded)
        for point in multiply_axes(complete_axes(wanted.fields)):
            contender = tuple(value for name, value in point.items() if name != SEED)
            if contender not in contenders:
                contenders[contender] = list(_plan_contenders(request, wanted, point, fitting, used, known))
            for planned in contenders[contender]:
                # Weights that are given are one network, whatever the seeds of the others.
                _add_cell(cells, planned if planned.weights else planned.with_seed(point[SEED]))
        fitting.refuse_unfit()
        if remarks is not None:
            remarks += fitting.describe()
    _refuse_measures_of_none([*cells.values()], split)
    _refuse_flags_of_routing([*cells.values()], requests)
    _refuse_unused_options(split, used, known)
    if remarks is not None and any(ALL in (wanted.measures or ()) for wanted in split):
        remarks += describe_unfit_measures([planned.cell for planned in cells.values()])
    return sorted(cells.values(), key=lambda planned: not planned.cell.has_routing)


def _plan_contenders(
    request: Mapping[str, Any],
    wanted: Request,
    point: Mapping[str, Any],
    fitting: Fitting,
    used: set[str],
    known: set[str],
) -> Iterator[PlannedCell]:
    """Yields a cell of each contender of a point, baselines included; cells of other seeds differ in nothing else.

    Args:
        used, known: the names of options that a cell has, and those of all parts, are added to them.
    """
    parts = choose_parts(point)
    known.update(map(short_name, list_options(parts)))
    of_parts: set[str] = set()
    for options in choose_options(parts, wanted.options, of_parts):
        planned = fitting.attempt({**point, **options}, partial(_plan_point, request, wanted, point, parts, options))
        if planned is None:
            continue
        used |= of_parts
        yield planned
        if planned.cell.has_routing:
            # Weights that are given are one network's; its baselines are sized and trained as beside one that is trained here.
            trained = resolve_cell({**point, WEIGHTS: None}, parts, options) if planned.weights else planned.cell
            yield from _plan_baselines(planned, trained, wanted, fitting)


def _plan_point(
    request: Mapping[str, Any],
    wanted: Request,
    point: Mapping[str, Any],
    parts: Parts,
    options: Mapping[str, Scalar],
) -> PlannedCell:
    """Returns the cell of one point, without baselines; raises UsageError if none of the measures applies to it."""
    cell = resolve_cell(point, parts, options)
    measures = measures_of(cell, wanted.measures)
    if not measures and wanted.measures != ():
        raise _explain_unmeasurable(wanted.measures or (), cell)
    narrowed = narrow_request(request, point, options)
    if wanted.measures is not None:
        narrowed[MEASURE_FLAG] = ",".join(spec for spec in wanted.measures if spec in (ALL, *measures)) or NONE
    if cell.has_routing:
        narrowed[BASELINE_FLAG] = "none"
    device = point.get("device")
    device = cell.device if device in (None, "auto") else str(device)
    return PlannedCell(
        cell, measures, narrowed, device, weights=find_fitting(cell), unnamed=find_unnamed(measures, wanted.measures)
    )


def _plan_baselines(beside: PlannedCell, trained: Cell, wanted: Request, fitting: Fitting) -> Iterator[PlannedCell]:
    """Yields the baselines of a capsule network, without those that none of the measures asked for applies to.

    Args:
        trained: its cell, trained here.
    """
    for name, size in wanted.baselines:
        pair = {BASELINE_FLAG: name, BASELINE_SIZE_FLAG: size}
        cell = fitting.attempt(pair, partial(resolve_baseline, trained, name, size, wanted.fields))
        measures = () if cell is None else measures_of(cell, wanted.measures)
        if cell is not None and (measures or wanted.measures == ()):
            request = {flag: value for flag, value in beside.request.items() if flag != WEIGHTS} | pair
            if size == "own":
                del request[BASELINE_SIZE_FLAG]
            unnamed = find_unnamed(measures, wanted.measures)
            yield PlannedCell(cell, measures, request, beside.device, unnamed=unnamed)


def _add_cell(cells: dict[str, PlannedCell], planned: PlannedCell) -> None:
    """Adds a cell; one that was planned before gets the measures of both."""
    known = cells.setdefault(planned.cell.id, planned)
    if known.device != planned.device:
        problem = "which GPU a cell runs on makes no other experiment"
        both = f"{known.device},{planned.device}"
        raise UsageError(Kind.CONFLICT, problem, flag="device", value=both, expected="name one")
    measures = tuple(sorted({*known.measures, *planned.measures}))
    request = known.request if measures == known.measures else {**known.request, MEASURE_FLAG: ",".join(measures)}
    named = {spec for job in (known, planned) for spec in job.measures if spec not in job.unnamed}
    unnamed = tuple(spec for spec in measures if spec not in named)
    cells[planned.cell.id] = replace(known, measures=measures, request=request, unnamed=unnamed)


def find_unnamed(measures: tuple[str, ...], asked: tuple[str, ...] | None) -> tuple[str, ...]:
    """Returns those of the measures of a cell that the user did not name."""
    return tuple(spec for spec in measures if spec not in (asked or ()))


def _explain_unmeasurable(specs: Iterable[str], cell: Cell) -> UsageError:
    others = [name for name in registry.names("measure") if is_fit(make_measure(name), cell)]
    problem = f"cannot be taken of {cell.network} on {cell.dataset}{explain_refused(specs, [cell])}"
    return UsageError(Kind.CONFLICT, problem, flag="measure", value=", ".join(specs), expected=others)


def _refuse_measures_of_none(cells: Sequence[PlannedCell], split: Sequence[Request]) -> None:
    """Refuses a measure that applies to none of the cells."""
    asked = {spec for wanted in split for spec in wanted.measures or ()} - {ALL}
    unmeasured = sorted(asked.difference(*(planned.measures for planned in cells)))
    if unmeasured and cells:
        raise _explain_unmeasurable(unmeasured, cells[0].cell)
    if unmeasured:
        problem = "can be taken of none of the networks asked for"
        raise UsageError(Kind.CONFLICT, problem, flag=MEASURE_FLAG, value=", ".join(unmeasured))


def _refuse_flags_of_routing(cells: Sequence[PlannedCell], requests: Sequence[Mapping[str, Any]]) -> None:
    """Refuses a routing, iterations or a baseline if none of the networks has routing."""
    if any(planned.cell.has_routing for planned in cells):
        return
    for flag in ("routing", "iters", BASELINE_FLAG):
        for request in requests:
            if (value := request.get(flag)) not in (None, "none", ["none"]):
                problem = "none of the networks asked for has capsules that are routed"
                raise UsageError(Kind.CONFLICT, problem, flag=flag, value=",".join(map(str, split_values(value))))


def _refuse_unused_options(split: Sequence[Request], used: set[str], options: set[str]) -> None:
    """Refuses a name that is no option of any of the networks, routings and losses."""
    asked = {name for wanted in split for name in wanted.options}
    for name in sorted(asked - used):
        refuse_option(name, {*asked_fields(), MEASURE_FLAG, BASELINE_FLAG, BASELINE_SIZE_FLAG, *options})
