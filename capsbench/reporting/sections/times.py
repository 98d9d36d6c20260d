"""Where the time of a cell goes: start, training, and each measure."""

from __future__ import annotations

import pandas as pd

from capsbench.presenting.contenders import START, TRAIN
from capsbench.presenting.format import name_column, spell_seed_counts
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section

TOTAL = "total"

UNIT = " s"
"""Ends the heading of each part."""

DASH = "\N{EN DASH}"


def build_table(material: Material) -> pd.DataFrame:
    """Returns one row a contender: the seconds of each part of its cells' work, means over seeds, and the sum of these.

    Parts are in the order of a run: start, training, then measures as the records have them. One that no contender has on record
    has no column; there is always one for the start.
    """
    times = material.times
    if times.empty:
        raise NoDataError("time", "is not on record")
    means = times.pivot_table(index="contender", columns="part", values="seconds", aggfunc="mean")
    measures = [part for part in times["part"].unique() if part not in (START, TRAIN)]
    means = means.reindex(columns=[START, TRAIN, *measures])
    means.insert(0, TOTAL, means.sum(axis="columns"))
    table = material.summary[["dataset", "contender", "label", "n", "seeds"]].rename(columns={"label": "name"})
    return table.merge(means.add_suffix(UNIT), left_on="contender", right_index=True).reset_index(drop=True)


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table as strings, with a dash for what is not on record, and no column of dashes."""
    strings = {**name_column(table), "n": spell_seed_counts(table["n"], table["seeds"])}
    for heading in [str(name) for name in table if str(name).endswith(UNIT)]:
        if table[heading].notna().any():
            strings[f"{heading.removesuffix(UNIT)} (s)"] = table[heading].map(_spell_seconds)
    return pd.DataFrame(strings)


def _spell_seconds(seconds: float) -> str:
    if pd.isna(seconds):
        return DASH
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.3g}"


SECTION = Section(
    name="times",
    title="Where the time goes",
    caption=(
        "Seconds of a cell, the mean over its seeds. Start: from the beginning of its process to the first training step, which "
        "is loading the data and building the network. Train: the epochs, with their validation. Then each measure. "
        f"{DASH}: not on record, as the start of older records. Cells that run side by side slow each other down, and each "
        "number is of the machine that took it. Measures between networks are left out."
    ),
    table=build_table,
    readable=format_table,
)
