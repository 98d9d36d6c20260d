"""Records -> one row a contender: mean and interval over seeds, difference to the matched baseline, cost.

A contender is all the cells that differ in nothing but their seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from capsbench.presenting.paired import Pairs, nothing_kept
from capsbench.presenting.verdicts import Verdicts
from capsbench.records.cell import Cell
from capsbench.records.record import Record
from capsbench.records.table import described_cell, history_of
from capsbench.stats.differences import intervals
from capsbench.stats.steps import step_of

MATCHED = "matched"
"""The network that is sized after the capsule network it stands beside."""

NAMING = ["dataset", "train_size", "size", "network", "routing", "iterations"]
"""The columns that name a contender; those that tell further ones apart follow."""

SIZES = ["tiny", "small", "paper"]

NUMBERS = {
    "accuracy": ("accuracy", "accuracy", "test"),
    "parameters": ("training", "parameters", "network"),
    "flops": ("speed", "flops", "inference"),
    "training_step_ms": ("speed", "latency p50", "training step"),
    "inference_ms": ("speed", "latency p50", "inference"),
    "memory_mib": ("speed", "peak memory", "training step"),
}
"""A number of a cell -> its measure, metric and condition. All but the accuracy are costs: their median is shown."""

UNPAIRED = {
    "network", "routing", "iterations", "loss", "reconstruction", "learning_rate", "seed", "options", "code",
}  # fmt: skip
"""Fields in which a capsule network and its matched baseline may differ; the others are the budget that both have."""


def summary(records: list[Record], verdicts: Verdicts | None = None) -> pd.DataFrame:
    """One row a contender of the records that have not failed, in numbers; what was not measured has no column.

    Columns: `NAMING` (``train_size`` only where one is set); each other field or option that varies within a network;
    ``n`` seeds that were trained, of ``seeds`` that were to be: the others failed; ``accuracy_percent`` on the test images, the
    mean over the ``accuracy_n`` seeds that have one, and ``accuracy_ci95``, the half-width of its 95 % t-interval (empty for
    n = 1); ``difference_points`` to the matched baseline, the mean over the ``difference_n`` seeds that both have, with
    ``difference_ci95``, the half-width of its interval, and ``difference_p``, both of the paired test of
    `capsbench.stats.differences` and adjusted for all differences of the table (`Verdicts.judge_baselines`);
    ``difference_verdict``, an `Outcome`; ``difference_seeds_needed``, which would show it, and ``difference_unlike``, in what the
    two trainings differ beside; ``parameters`` (decoder included), ``flops`` (inference of an image),
    ``training_step_ms`` and ``inference_ms`` (p50 of a batch), ``memory_mib`` (peak of a training step); ``contender``, an
    identity, and ``baseline``, that of the matched baseline.

    Args:
        verdicts: judges the differences; without it they are over seeds alone, as no predictions are known.
    """
    cells = _cells([record for record in records if record.status != "failed"])
    if cells.empty:
        return pd.DataFrame(columns=[*NAMING, "n", "seeds", "contender", "baseline"])
    seeds = cells.groupby("contender", sort=False)
    table = cells.drop_duplicates("contender").set_index("contender", drop=False)
    varying = _varying(table)
    table["n"] = seeds.size()
    table["seeds"] = table["contender"].map(Counter(record.cell.contender for record in records))
    costs = [name for name in NUMBERS if name in cells and name != "accuracy"]
    for name in costs:
        table[name] = seeds[name].median()
    table["baseline"] = _baselines(table)

    measured = []
    if "accuracy" in cells:
        by_dataset = cells.dropna(subset="accuracy").groupby("dataset")["accuracy"]
        steps = cells["dataset"].map({name: step_of(values) for name, values in by_dataset})
        table["accuracy_percent"], table["accuracy_ci95"] = _intervals(cells, steps)
        table["accuracy_n"] = seeds["accuracy"].count()
        measured += ["accuracy_percent", "accuracy_ci95", "accuracy_n"]
        if table["baseline"].notna().any():
            differences = _differences(table["baseline"], verdicts or verdicts_of(records))
            table = table.join(differences)
            measured += list(differences.columns)
    naming = [name for name in NAMING if name != "train_size" or table[name].notna().any()]
    table = _ordered(table, varying)[[*naming, *varying, "n", "seeds", *measured, *costs, "contender", "baseline"]]
    return table.reset_index(drop=True)


def verdicts_of(records: Sequence[Record], pairs: Pairs | None = None) -> Verdicts:
    """What judges the differences between the contenders of some records.

    Args:
        pairs: has the predictions of the test images; without it differences are over seeds alone.
    """
    budget = [name for name in Cell.model_fields if name not in UNPAIRED]
    measured = [record for record in records if record.status != "failed"]
    return Verdicts(measured, pairs or Pairs(nothing_kept), budget)


def curves(records: list[Record]) -> pd.DataFrame:
    """Training curves of the records that have not failed: `capsbench.records.table.history_of` with each cell's
    ``contender``.
    """
    trained = [record for record in records if record.status != "failed"]
    table = history_of(trained)
    contenders = {record.cell.id: record.cell.contender for record in trained}
    return table if table.empty else table.assign(contender=table["cell"].map(contenders))


def varying_columns(table: pd.DataFrame) -> list[str]:
    """The columns of a summary that tell apart what `NAMING` does not."""
    return [name for name in table.columns[: table.columns.get_loc("n")] if name not in NAMING]


def _cells(finished: list[Record]) -> pd.DataFrame:
    """One row a cell: its fields, options and code, and `NUMBERS` as far as they were measured."""
    names = {number: name for name, number in NUMBERS.items()}
    described = []
    for record in finished:
        numbers = {names[row[:3]]: float(row.value) for row in record.rows if row[:3] in names}
        described.append({**described_cell(record.cell), "contender": record.cell.contender, **numbers})
    cells = pd.DataFrame(described)
    return cells if cells.empty else cells.astype({"train_size": "Int64", "iterations": "Int64"})


def _varying(table: pd.DataFrame) -> list[str]:
    """The fields and options that were varied, rather than follow from the data set, the network or its size."""
    capsules = table[table["network"] != MATCHED]
    beside = {*NAMING, *NUMBERS, "cell", "contender", "seed"}
    values = capsules.groupby(["dataset", "size", "network"])[[name for name in table if name not in beside]].nunique()
    return [str(name) for name in values.columns[(values > 1).any()]]


def _intervals(cells: pd.DataFrame, steps: pd.Series) -> tuple[pd.Series, pd.Series]:
    """The mean accuracy of each contender in per cent and the half-width of its 95 % t-interval, empty for one value."""
    grouped = (100 * cells["accuracy"]).groupby(cells["contender"])
    means, step = grouped.mean(), 100 * steps.groupby(cells["contender"]).first()
    return means, intervals(means, grouped.sem(), grouped.count(), step)


def _baselines(table: pd.DataFrame) -> pd.Series:
    """Contender -> the contender that is its matched baseline: the same budget, sized for its count of parameters.

    Of several that differ in their learning rate, it is the one with the capsule network's own, else none of them.
    """
    pairs = pd.DataFrame(columns=["contender", "contender_matched"])
    if {"parameters", "network.parameters"} <= set(table):
        data = ["code.dataset"] if "code.dataset" in table else []
        budget = [name for name in Cell.model_fields if name not in UNPAIRED] + data
        rate = ["contender", "learning_rate"]
        pairs = table.loc[table["routing"].notna(), [*rate, *budget, "parameters"]].merge(
            table.loc[table["network"] == MATCHED, [*rate, *budget, "network.parameters"]],
            left_on=[*budget, "parameters"],
            right_on=[*budget, "network.parameters"],
            suffixes=("", "_matched"),
        )
        own_rate = pairs["learning_rate"] == pairs["learning_rate_matched"]
        pairs = pairs[own_rate | ~own_rate.groupby(pairs["contender"]).transform("any")]
    return pairs.drop_duplicates("contender", keep=False).set_index("contender")["contender_matched"]


def _differences(baselines: pd.Series, verdicts: Verdicts) -> pd.DataFrame:
    """The differences to the matched baselines, one row a contender; see `summary`."""
    pairs = [(str(name), str(baseline)) for name, baseline in baselines.dropna().items()]
    found = verdicts.judge_baselines(pairs)
    return pd.DataFrame(
        {
            "difference_points": [100 * verdict.difference.mean for verdict in found.values()],
            "difference_ci95": [100 * verdict.half for verdict in found.values()],
            "difference_n": pd.array([verdict.difference.seeds for verdict in found.values()], dtype="Int64"),
            "difference_p": [verdict.p for verdict in found.values()],
            "difference_verdict": [str(verdict.outcome) for verdict in found.values()],
            "difference_seeds_needed": pd.array([verdict.seeds_needed for verdict in found.values()], dtype="Int64"),
            "difference_unlike": [", ".join(verdicts.unlike(*pair)) for pair in found],
        },
        index=[name for name, _ in found],
    )


def _ordered(table: pd.DataFrame, varying: list[str]) -> pd.DataFrame:
    """Capsule networks by name, each matched baseline after the last that it stands beside, other CNNs at the end."""
    size = table["size"].map(lambda name: SIZES.index(name) if name in SIZES else len(SIZES))
    keys = table[["dataset", "train_size"]].assign(order=size, cnn=table["routing"].isna())
    keys = keys.join(table[["size", "network", "routing", *varying, "iterations"]])
    order = keys.sort_values(list(keys.columns)).index
    place = pd.Series([float(i) for i in range(len(order))], index=order)
    place.update(place.groupby(table["baseline"].reindex(order)).max() + 0.5)
    return table.loc[place.sort_values(kind="stable").index]
