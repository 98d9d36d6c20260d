"""The baselines of each capsule network: CNNs of its budget, and its differences in test accuracy to them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from capsbench import registry
from capsbench.presenting.naming import BUDGET, MATCHED, Names
from capsbench.presenting.verdicts import Verdicts
from capsbench.records.cell import DATA, TARGET

TOLERANCE = 0.02
"""The largest relative difference in parameters of a sized CNN to its capsule network, as in `capsbench_baselines.sizing`."""

PAIR = ["contender", "against", "baseline"]


def find_baselines(table: pd.DataFrame, names: Names) -> pd.DataFrame:
    """Returns one row a pair of a capsule network and a CNN that it is compared with.

    A baseline has the budget of its capsule network: the same data, seeds aside, and the same in every field of `BUDGET`. A CNN
    that was sized, as the matched one is, is one within `TOLERANCE` of its parameters. Of several of one kind that differ in
    their learning rate it is the one with the capsule network's own, else none of them; then the one sized for the nearest count.

    Args:
        table: one row a contender: its fields and options, and ``parameters``.

    Returns:
        ``contender``, ``against`` (what the baseline is, `Names.kind`) and ``baseline``, a contender; matched CNNs first, then
        others that were sized, then by their names.
    """
    table = table.assign(parameters=table.get("parameters", np.nan), target=table.get(TARGET, np.nan))
    budget = [*BUDGET, *(name for name in ("code.dataset", f"code.{DATA}") if name in table)]
    cnns = table[table["routing"].isna() & table["loss"].notna()]  # without a loss it has an objective of its own
    columns = ["contender", "learning_rate", "parameters"]
    pairs = table.loc[table["routing"].notna(), [*columns, *budget]].merge(
        cnns[[*columns, *budget, "network", "target"]], on=budget, suffixes=("", "_cnn")
    )
    target = pairs["target"].astype(float).replace(0, np.nan)
    pairs["sized"] = target.notna() | (pairs["network"] == MATCHED)
    parameters = pairs["parameters"].astype(float)
    apart = (pairs["parameters_cnn"].astype(float).fillna(target) / parameters - 1).abs()
    pairs["distance"] = (target / parameters - 1).abs().where(pairs["sized"], 0.0)
    pairs = pairs[~pairs["sized"] | (apart <= TOLERANCE)]
    pairs = pairs.assign(against=[names.kind(cnn) for cnn in pairs["contender_cnn"]])
    kind = ["contender", "against"]
    own_rate = pairs["learning_rate"] == pairs["learning_rate_cnn"]
    pairs = pairs[own_rate | ~own_rate.groupby([pairs[name] for name in kind]).transform("any").astype(bool)]
    pairs = pairs[pairs["distance"] == pairs.groupby(kind)["distance"].transform("min")]
    pairs = pairs.drop_duplicates(kind, keep=False)
    known = registry.names("baseline")
    place = [known.index(name) if name in known else len(known) for name in pairs["network"]]
    pairs = pairs.assign(place=place, unsized=~pairs["sized"].astype(bool))
    pairs = pairs.sort_values(["unsized", "place", "against"], kind="stable")
    return pairs.rename(columns={"contender_cnn": "baseline"})[PAIR].reset_index(drop=True).astype(object)


def judge_baselines(baselines: pd.DataFrame, verdicts: Verdicts) -> pd.DataFrame:
    """Returns the differences in test accuracy of capsule networks to their baselines, one row a pair with a seed in common.

    Args:
        baselines: as `find_baselines` gives them.

    Returns:
        `PAIR` and the differences, in the columns of `capsbench.presenting.contenders.summary`.
    """
    kinds = {(contender, baseline): kind for contender, kind, baseline in baselines[PAIR].itertuples(index=False)}
    judged = verdicts.judge_baselines(kinds)
    return pd.DataFrame(
        {
            "contender": [contender for contender, _ in judged],
            "against": [kinds[pair] for pair in judged],
            "baseline": [baseline for _, baseline in judged],
            "difference_points": [100 * verdict.difference.mean for verdict in judged.values()],
            "difference_ci95": [100 * verdict.half for verdict in judged.values()],
            "difference_n": pd.array([verdict.difference.seeds for verdict in judged.values()], dtype="Int64"),
            "difference_p": [verdict.p for verdict in judged.values()],
            "difference_verdict": [str(verdict.outcome) for verdict in judged.values()],
            "difference_seeds_needed": pd.array([verdict.seeds_needed for verdict in judged.values()], dtype="Int64"),
            "difference_unlike": [", ".join(verdicts.unlike(*pair)) for pair in judged],
        },
    ).astype(dict.fromkeys(PAIR, object))
