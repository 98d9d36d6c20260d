"""The shortest `capsbench run` that makes some cells again, with exactly their identities.

A flag stands where a cell differs from what capsbench would choose by itself. What it would choose by the machine (the device,
the threads at ``paper`` size) always stands, so that the command makes the same cells elsewhere. A user's own parts are not
imported to learn their defaults, or which measures apply to them: all of their options stand, and the measures by name.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from capsbench import registry
from capsbench.errors import UsageError
from capsbench.measures.base import Measure, MeasureBetween
from capsbench.measures.build import ALL, BY_DEFAULT, make_measure, measure_name
from capsbench.planning.defaults import AXES, PAPER_LEARNING_RATE, RECIPE
from capsbench.planning.matrix import settled
from capsbench.planning.options import loss_of
from capsbench.planning.request import BASELINE_FLAG, BASELINE_SIZE_FLAG, spelled
from capsbench.presenting.contenders import MATCHED
from capsbench.records.cell import Cell, asked_fields, flag
from capsbench.reporting.again import Again, Failure, Groups

FIRST = ("routing", "network", "iters", "dataset", "train_size", "size")
LAST = ("seeds", "measure", "device", BASELINE_FLAG, BASELINE_SIZE_FLAG)
"""The flags that a command begins and ends with; the others stand between."""

TAKEN = {
    *asked_fields(),
    *Cell.model_fields,
    BASELINE_FLAG,
    BASELINE_SIZE_FLAG,
    "suite",
    "axis",
    "out",
    "workers",
    "fresh",
    "json",
}
"""Names that mean something else on the command line: an option that is called so stands with its component."""

NOT_TAKEN_OVER = {
    "options",
    "code",
    "routing",
    "iterations",
    "loss",
    "learning_rate",
    "measures",
    "network",
    "reconstruction",
    "seed",
}
"""Fields in which a baseline may differ from the capsule network that it is made beside."""


def commands(groups: Groups) -> dict[str, Again]:
    """How the cells of each contender are made again that have not failed.

    A baseline that is sized after a capsule network is made beside one, of those on record.
    """
    cells = {name: [record.cell for record in records if record.status != "failed"] for name, records in groups.items()}
    cells = {name: own for name, own in cells.items() if own}
    return dict(zip(cells, commands_of(list(cells.values()), groups), strict=True))


def failures(groups: Groups) -> list[Failure]:
    """The failed cells, those together that differ in their seed alone and failed alike."""
    alike: dict[tuple[str, str], list[Cell]] = {}
    for name, records in groups.items():
        for record in records:
            if record.reason:
                alike.setdefault((name, " ".join(record.reason.split())), []).append(record.cell)
    return [
        Failure(cells[0].title.rpartition(", seed")[0], sorted(cell.seed for cell in cells), reason, again)
        for (_, reason), cells, again in zip(alike, alike.values(), commands_of([*alike.values()], groups), strict=True)
    ]


def commands_of(cells: Sequence[Sequence[Cell]], groups: Groups) -> list[Again]:
    """How lists of cells are made again, each of cells that differ in nothing but their seed.

    Args:
        groups: the capsule networks beside which a baseline may be made are among these.
    """
    networks = _by_size(groups) if cells else {}
    requests = _Requests()
    made = []
    for own in cells:
        first, seeds = own[0], sorted(cell.seed for cell in own)
        try:
            if _is_sized_by_another(first):
                size = int(first.options["network.parameters"])
                made.append(_beside(first, seeds, networks.get(size, []), requests))
            else:
                made.append(
                    Again(_spelled(requests[first], seeds), _said(_of_another_version(first), _of_several(first)))
                )
        except _NotSayableError as error:
            made.append(Again("", str(error)))
        except UsageError as error:
            made.append(Again("", f"no command can be told: {error.describe(spelled)}"))
    return made


def _by_size(groups: Groups) -> dict[int, list[Cell]]:
    """Number of parameters -> a cell of each capsule network that has it."""
    networks: dict[int, list[Cell]] = {}
    for records in groups.values():
        counted = [row for row in records[0].rows if row[:3] == ("training", "parameters", "network")]
        if records[0].cell.routing is not None and counted:
            networks.setdefault(int(counted[0].value), []).append(records[0].cell)
    return networks


class _Requests(dict[Cell, dict[str, Any]]):
    """What to ask for to get a cell, worked out once each."""

    def __missing__(self, cell: Cell) -> dict[str, Any]:
        self[cell] = request_of(cell)
        return self[cell]


def request_of(cell: Cell) -> dict[str, Any]:
    """What to ask for to get the cell, its seed left out: names as in `capsbench.cells`, each with one value."""
    if {"dataset", "network", "loss"} & _own(cell):
        return _in_full(cell)
    try:
        request, standard = _standard_of(cell)
    except UsageError:  # a part that this version does not have
        return _in_full(cell)
    for field in Cell.model_fields:
        own = getattr(cell, field)
        if field not in ("measures", "options", "code", "seed") and own != getattr(standard, field):
            request[flag(field)] = own
    if cell.size == "paper":
        request["threads"] = cell.threads
    differing = {name: value for name, value in cell.options.items() if value != standard.options.get(name)}
    request |= _options(cell, cell.options if "routing" in _own(cell) else differing)
    measures = _measures(cell)
    if measures:
        request["measure"] = measures
    request["device"] = cell.device
    if cell.routing is not None:
        request[BASELINE_FLAG] = "none"
    return request


def _standard_of(cell: Cell) -> tuple[dict[str, Any], Cell]:
    """The names that a cell's parts need, and the cell that they alone make."""
    request: dict[str, Any] = {}
    own = "routing" in _own(cell)
    routing = registry.get("network", cell.network).routing if own else cell.routing
    if routing is None:
        request["network"] = cell.network
    elif registry.get("routing", routing).network == cell.network:
        request["routing"] = routing
    else:
        request["network"] = cell.network
        if registry.get("network", cell.network).routing != routing:
            request["routing"] = routing
    for field in ("dataset", "size"):
        if getattr(cell, field) != AXES[field][0]:
            request[field] = getattr(cell, field)
    if cell.loss != loss_of({"network": cell.network, "routing": routing}):
        request["loss"] = cell.loss
    standard = _standard(tuple(request.items()))
    if own:
        request |= {"network": cell.network, "routing": cell.routing}
    return request, standard


@cache
def _standard(request: tuple[tuple[str, Any], ...]) -> Cell:
    open_ = {"network": None, "routing": None, **{field: values[0] for field, values in AXES.items()}}
    return settled(open_ | dict(request), {})


def _in_full(cell: Cell) -> dict[str, Any]:
    """All that there is to say of a cell whose parts' defaults are not known."""
    request = {
        flag(field): getattr(cell, field)
        for field in Cell.model_fields
        if field not in ("seed", "options", "code", "measures") and getattr(cell, field) is not None
    }
    request |= _options(cell, cell.options)
    request |= {"measure": ",".join(cell.measures)}
    return request | ({BASELINE_FLAG: "none"} if cell.routing is not None else {})


def _options(cell: Cell, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by the shortest name that means these alone."""
    named = {}
    for name, value in options.items():
        short = name.partition(".")[2]
        alike = [other for each, other in cell.options.items() if each.partition(".")[2] == short]
        named[name if short in TAKEN or any(other != value for other in alike) else short] = value
    return named


def _measures(cell: Cell) -> str:
    """What has to be asked for to have the cell's measures: nothing where they are those by default.

    Which optional packages there are here is left out of account: with all of them, the command makes the same cell everywhere.
    """
    if cell.measures == _applying(cell, BY_DEFAULT):
        return ""
    return ALL if cell.measures == _applying(cell, registry.names("measure")) else ",".join(cell.measures)


def _applying(cell: Cell, measures: Iterable[str]) -> tuple[str, ...]:
    """Those of some measures that a cell has; where a user's own part would have to say it, all, so that others stand by name."""
    asked = not {"dataset", "network", "routing", "loss"} & _own(cell)
    return tuple(
        sorted(spec for spec in measures if not asked or _is_own_measure(spec) or _measure(spec).applies_to(cell))
    )


def _own(cell: Cell) -> set[str]:
    """Which parts of a cell are a user's own: those whose code it notes, and those that go by an import path."""
    paths = {kind for kind in ("dataset", "network", "routing", "loss") if ":" in (getattr(cell, kind) or "")}
    return {*cell.code, *paths}


def _is_own_measure(spec: str) -> bool:
    return measure_name(spec) not in registry.BUILT_IN["measure"]


@cache
def _measure(spec: str) -> Measure:
    """A measure of capsbench's own."""
    return make_measure(spec)


def _is_sized_by_another(cell: Cell) -> bool:
    """Whether a cell is of a baseline that is made beside a capsule network alone."""
    return cell.network == MATCHED or ("network.parameters" in cell.options and "network" in _own(cell))


def _beside(cell: Cell, seeds: list[int], networks: Sequence[Cell], requests: Mapping[Cell, dict[str, Any]]) -> Again:
    """How a baseline is made that is sized after one of these capsule networks, of its number of parameters."""
    kept = [field for field in Cell.model_fields if field not in NOT_TAKEN_OVER]
    own_rate = PAPER_LEARNING_RATE if cell.size == "paper" else RECIPE["learning_rate"]
    for network in networks:
        if any(getattr(network, field) != getattr(cell, field) for field in kept):
            continue
        request = dict(requests[network])
        if cell.learning_rate == network.learning_rate != own_rate:
            request["lr"] = cell.learning_rate
        elif cell.learning_rate != (network.learning_rate if "lr" in request else own_rate):
            continue
        if _measures_beside(request, cell) != cell.measures:
            request["measure"] = ",".join(cell.measures)
        del request[BASELINE_FLAG]
        if cell.network != MATCHED:
            request |= {BASELINE_FLAG: cell.network, BASELINE_SIZE_FLAG: "matched"}
        beside = f"makes the capsule network as well that it is sized after ({network.routing} x{network.iterations})"
        return Again(_spelled(request, seeds), _said(beside, _of_another_version(cell), _of_several(cell)))
    return Again(
        "",
        f"sized for {cell.options['network.parameters']:,} parameters after a capsule network that is not among these records: "
        "run that one, and this comes with it",
    )


def _measures_beside(request: Mapping[str, Any], cell: Cell) -> tuple[str, ...]:
    """The measures of a baseline beside a capsule network that is asked for."""
    asked = request.get("measure", "")
    return _applying(cell, BY_DEFAULT if not asked else registry.names("measure") if asked == ALL else asked.split(","))


def _said(*notes: str) -> str:
    return "; ".join(filter(None, notes))


def _of_another_version(cell: Cell) -> str:
    """What is to be said of a cell whose parts have other options by now: its identity is not to be had any more."""
    if _own(cell) or cell.network == MATCHED:
        return ""
    try:
        now = set(_standard_of(cell)[1].options) | ({"network.parameters"} & set(cell.options))
    except UsageError as error:
        return f"this capsbench cannot make it: {error.describe(spelled)}"
    changed = sorted(name.partition(".")[2] for name in now ^ set(cell.options))
    return (
        f"made before an option came or went ({', '.join(changed)}): the command makes what is nearest"
        if changed
        else ""
    )


def _of_several(cell: Cell) -> str:
    """What is to be said of numbers that are between networks."""
    between = [
        spec for spec in cell.measures if not _is_own_measure(spec) and isinstance(_measure(spec), MeasureBetween)
    ]
    return (
        f"{', '.join(between)} is measured between the networks of one run: for it, run them together"
        if between
        else ""
    )


def _spelled(request: Mapping[str, Any], seeds: Sequence[int]) -> str:
    asked = dict(request)
    if list(seeds) != AXES["seed"]:
        asked["seeds"] = ",".join(map(str, seeds))
    names = [name for name in FIRST if name in asked]
    names += [name for name in asked if name not in FIRST and name not in LAST]
    names += [name for name in LAST if name in asked]
    words = [word for name in names for word in (spelled(name), _text(name, asked[name]))]
    return shlex.join(["capsbench", "run", *words])


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    if not text or ("," in text and name not in ("seeds", "measure")) or text.startswith("--"):
        raise _NotSayableError(
            f"{spelled(name)} {text!r} cannot be said on the command line; use capsbench.run in Python"
        )
    return text


class _NotSayableError(ValueError):
    """A value that the command line has no way to say."""
