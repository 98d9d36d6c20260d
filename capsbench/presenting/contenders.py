"""Records -> one row a contender: mean and interval over seeds, differences to its baselines, cost.

A contender is all the cells that differ in nothing but their seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import pandas as pd

from capsbench.measures.accuracy.spec import TEST_ACCURACY
from capsbench.measures.cost.spec import FLOPS
from capsbench.measures.speed.spec import INFERENCE_TIME, STEP_MEMORY, STEP_TIME
from capsbench.presenting.baselines import PAIR, find_baselines, judge_baselines
from capsbench.presenting.naming import BUDGET, NAMING, Defaults, Names, no_defaults
from capsbench.presenting.paired import Kept, PairName, Pairs, nothing_kept
from capsbench.presenting.steps import Steps
from capsbench.presenting.verdicts import Verdicts
from capsbench.records.record import TRAINING, Record
from capsbench.records.table import describe_cells, history_of
from capsbench.registry import measure_name
from capsbench.stats.differences import estimate_intervals

BASELINE = "baseline."
"""Begins the columns that say which contenders are baselines; what follows is the kind."""

START, TRAIN = "start", "train"
"""The parts of a cell's time beside its measures."""

SIZES = ["tiny", "small", "paper"]

TESTED = "test_accuracy"

NUMBERS = {
    TESTED: TEST_ACCURACY,
    "parameters": (TRAINING, "parameters", "network"),
    "flops": FLOPS,
    "training_step_ms": STEP_TIME,
    "inference_ms": INFERENCE_TIME,
    "memory_mib": STEP_MEMORY,
}
"""A number of a cell -> its measure, metric and condition. All but the accuracy are costs, of which the median is shown."""


def summary(records: list[Record], verdicts: Verdicts | None = None, defaults: Defaults = no_defaults) -> pd.DataFrame:
    """One row a contender of the records that have not failed, in numbers; what was not measured has no column.

    Columns: `NAMING` (``train_size`` only where one is set); each other field or option that is in a contender's name; ``n``
    seeds that were trained, of ``seeds`` that were to be: the others failed; ``accuracy_percent`` on the test images, the mean
    over the ``accuracy_n`` seeds that have one, and ``accuracy_ci95``, the half-width of its 95 % t-interval (empty for n = 1).

    Of each kind of baseline, such as ``matched``: ``difference_points.matched`` to it, the mean over the
    ``difference_n.matched`` seeds that both have, with ``difference_ci95.matched``, the half-width of its interval, and
    ``difference_p.matched``, both of the paired test of `capsbench.stats.differences` and adjusted for all differences of the
    table (`Verdicts.judge_baselines`); ``difference_verdict.matched``, an `Outcome`; ``difference_seeds_needed.matched``, which
    would show it, and ``difference_images_needed.matched``, the test images to add where no number of seeds would;
    ``difference_unlike.matched``, in what the two trainings differ beside; ``baseline.matched``, the contender.

    Then ``parameters`` (decoder included), ``flops`` (inference of an image), ``training_step_ms`` and ``inference_ms`` (p50 of
    a batch), ``memory_mib`` (peak of a training step); ``label`` and ``series``, the names of
    `capsbench.presenting.naming.Names`; ``contender``, an identity, and ``baseline``, that of the first of its baselines: the
    matched one unless there is none.

    Args:
        verdicts: judges the differences; without it they are over seeds alone, as no predictions are known.
        defaults: what contenders have where nothing is asked for, which no name holds.
    """
    cells = _build_cells([record for record in records if record.status != "failed"])
    if cells.empty:
        return pd.DataFrame(columns=[*NAMING, "n", "seeds", "label", "series", "contender", "baseline"])
    names = Names((record.cell for record in records if record.status != "failed"), defaults)
    seeds = cells.groupby("contender", sort=False)
    table = cells.drop_duplicates("contender").set_index("contender", drop=False)
    table["n"] = seeds.size()
    table["seeds"] = table["contender"].map(Counter(record.cell.contender for record in records))
    costs = [name for name in NUMBERS if name in cells and name != TESTED]
    for name in costs:
        table[name] = seeds[name].median()
    table = table.assign(label=table["contender"].map(names.label), series=table["contender"].map(names.series))

    baselines = find_baselines(table, names)
    table["baseline"] = baselines.drop_duplicates("contender").set_index("contender")["baseline"]
    measured = []
    if TESTED in cells:
        verdicts = verdicts or verdicts_of(records)
        steps = {name: verdicts.steps.of(name, *TEST_ACCURACY) for name in cells["dataset"].unique()}
        table["accuracy_percent"], table["accuracy_ci95"] = _estimate_accuracies(cells, cells["dataset"].map(steps))
        table["accuracy_n"] = seeds[TESTED].count()
        measured += ["accuracy_percent", "accuracy_ci95", "accuracy_n"]
        apart = judge_baselines(baselines, verdicts)
        baselines = baselines.merge(apart, on=PAIR, how="left")
    for kind, pairs in baselines.groupby("against", sort=False):
        numbers = pairs.set_index("contender").drop(columns="against")
        if "difference_n" in numbers and numbers["difference_n"].isna().all():
            numbers = numbers[["baseline"]]
        table = table.join(numbers.add_suffix(f".{kind}"))
        measured += [f"{name}.{kind}" for name in numbers]
    columns = [name for name in NAMING if name != "train_size" or table[name].notna().any()]
    last = ["label", "series", "contender", "baseline"]
    table = _sort_contenders(table, names.columns)[[*columns, *names.columns, "n", "seeds", *measured, *costs, *last]]
    return table.reset_index(drop=True)


def baseline_kinds(summary: pd.DataFrame) -> list[str]:
    """Returns the kinds of baselines that a summary has, such as ``matched``."""
    return [name.removeprefix(BASELINE) for name in map(str, summary) if name.startswith(BASELINE)]


def verdicts_of(
    records: Sequence[Record],
    pairs: Pairs | None = None,
    by: Sequence[str] = (),
    kept: Kept = nothing_kept,
    sequences: Collection[PairName] = (),
) -> Verdicts:
    """Returns the verdicts on the differences between the contenders of some records.

    Args:
        pairs: has the predictions of the test images; without it differences are over seeds alone.
        by: the choices whose effect is asked for.
        kept: what measures kept, which tells the number of their images.
        sequences: as in `Verdicts`.
    """
    measured = [record for record in records if record.status != "failed"]
    return Verdicts(measured, pairs or Pairs(nothing_kept), BUDGET, bool(by), Steps(measured, kept), sequences)


def collect_curves(records: list[Record]) -> pd.DataFrame:
    """Returns the training curves of the records that have not failed: `capsbench.records.table.history_of` with each cell's
    ``contender``.
    """
    trained = [record for record in records if record.status != "failed"]
    table = history_of(trained)
    contenders = {record.cell.id: record.cell.contender for record in trained}
    return table if table.empty else table.assign(contender=table["cell"].map(contenders))


def collect_times(records: Iterable[Record]) -> pd.DataFrame:
    """Returns where the time of the cells went: one row = one cell x one part of its work, those that are on record.

    Columns: ``cell``, ``contender``, ``seconds``, and ``part``, which is `START`, `TRAIN`, or the name of a measure.
    """
    rows = []
    for record in records:
        start = next((row.value for row in record.rows if row[:3] == (TRAINING, "start", "network")), None)
        seconds = {START: start, TRAIN: record.training.seconds if record.training else None}
        seconds |= {measure_name(spec): taken.seconds for spec, taken in record.measures.items()}
        rows += [
            (record.cell.id, record.cell.contender, part, value) for part, value in seconds.items() if value is not None
        ]
    return pd.DataFrame(rows, columns=["cell", "contender", "part", "seconds"])


def varying_columns(table: pd.DataFrame) -> list[str]:
    """Returns the columns of a summary in which contenders differ that have the same `NAMING`."""
    return [name for name in table.columns[: table.columns.get_loc("n")] if name not in NAMING]


def _build_cells(finished: list[Record]) -> pd.DataFrame:
    """Returns one row a cell: its fields, options and code, and those of `NUMBERS` that were measured."""
    names = {number: name for name, number in NUMBERS.items()}
    numbers = [
        {"contender": record.cell.contender}
        | {names[row[:3]]: float(row.value) for row in record.rows if row[:3] in names}
        for record in finished
    ]
    cells = pd.concat([describe_cells(record.cell for record in finished), pd.DataFrame(numbers)], axis="columns")
    return cells if cells.empty else cells.astype({"train_size": "Int64", "iterations": "Int64"})


def _estimate_accuracies(cells: pd.DataFrame, steps: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Returns the mean accuracy of each contender in per cent and the half-width of its 95 % t-interval, empty for one value."""
    grouped = (100 * cells[TESTED]).groupby(cells["contender"])
    means, step = grouped.mean(), 100 * steps.groupby(cells["contender"]).first()
    return means, estimate_intervals(means, grouped.sem(), grouped.count(), step)


def _sort_contenders(table: pd.DataFrame, varying: list[str]) -> pd.DataFrame:
    """Sorts capsule networks by name, each baseline after the last network that it is compared with, other CNNs at the end."""
    size = table["size"].map(lambda name: SIZES.index(name) if name in SIZES else len(SIZES))
    keys = table[["dataset", "train_size"]].assign(order=size, cnn=table["routing"].isna())
    keys = keys.join(table[["size", "network", "routing", *varying, "iterations"]])
    order = keys.sort_values(list(keys.columns)).index
    place = pd.Series([float(i) for i in range(len(order))], index=order)
    beside = pd.concat([table[BASELINE + kind] for kind in baseline_kinds(table)] or [table["baseline"]]).dropna()
    place.update(place.reindex(beside.index).groupby(beside.to_numpy()).max() + 0.5)
    return table.loc[place.sort_values(kind="stable").index]
