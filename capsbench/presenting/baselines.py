"""The baselines of each capsule network: CNNs of its budget, and its differences in test accuracy to them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from capsbench import registry
from capsbench.presenting.naming import BUDGET, MATCHED, Names
from capsbench.presenting.tuned import find_shared_search
from capsbench.presenting.verdicts import Verdicts
from capsbench.records.cell import DATA, TARGET
from capsbench.records.tuning import SEARCH, TUNED
from capsbench.records.tuning.convergence import AUTO_EPOCHS

TOLERANCE = 0.02
"""The largest relative difference in parameters of a sized CNN to its capsule network, as in `capsbench_baselines.sizing`."""

PAIR = ["contender", "against", "baseline"]

KIND = ["contender", "against"]


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
    table = table.assign(parameters=table.get("parameters", np.nan), target=table.get(TARGET, np.nan)).reset_index(
        drop=True
    )
    # Contenders of one search are compared with each other, and those of none with others of none.
    if SEARCH in table:
        table = table.assign(**{SEARCH: table[SEARCH].map(find_shared_search, na_action="ignore")})
    searches = (TUNED, AUTO_EPOCHS, SEARCH)
    budget = [*BUDGET, *(name for name in ("code.dataset", f"code.{DATA}", *searches) if name in table)]
    cnns = table[table["routing"].isna() & table["loss"].notna()]  # without a loss it has an objective of its own
    cnns = cnns.assign(against=pd.Series([names.kind(cnn) for cnn in cnns["contender"]], cnns.index, dtype=object))
    networks = table[table["routing"].notna()]
    pairs = _pair_at_own_rate(networks, cnns, budget)
    pairs = pairs[pairs["distance"] == pairs.groupby(KIND)["distance"].transform("min")]
    pairs = pairs.drop_duplicates(KIND, keep=False)
    known = registry.names("baseline")
    place = [known.index(name) if name in known else len(known) for name in pairs["network"]]
    pairs = pairs.assign(place=place, unsized=~pairs["sized"].astype(bool))
    pairs = pairs.assign(order=pairs["contender"].map({name: row for row, name in enumerate(networks["contender"])}))
    pairs = pairs.sort_values(["unsized", "place", "against", "order"], kind="stable")
    return pairs[PAIR].reset_index(drop=True).astype(object)


def _pair_at_own_rate(networks: pd.DataFrame, cnns: pd.DataFrame, budget: list[str]) -> pd.DataFrame:
    """Returns the pairs of a network and a CNN of its budget: of each kind those with the network's own learning rate, else all.

    CNNs of other learning rates are looked at only where no other is found: in a sweep of a thousand, each with a matched CNN of
    its own, all pairs would be a million.
    """
    own = _pair(networks, cnns, [*budget, "learning_rate"])
    kinds = networks[["contender", *budget]].merge(cnns[["against", *budget]].drop_duplicates(), on=budget)[KIND]
    left = kinds[~pd.MultiIndex.from_frame(kinds).isin(pd.MultiIndex.from_frame(own[KIND]))]
    if left.empty:
        return own
    others = _pair(left.merge(networks, on="contender"), cnns, [*budget, "against"])
    return pd.concat([own, others], ignore_index=True)


def _pair(networks: pd.DataFrame, cnns: pd.DataFrame, on: list[str]) -> pd.DataFrame:
    """Returns the pairs that are alike in some columns, without CNNs that were sized for another network.

    Columns: `PAIR`, ``network`` (of the CNN), ``sized``, and ``distance``, relative, of the size asked for to the network's.
    """
    pairs = networks[["contender", "parameters", *on]].merge(
        cnns[["contender", "parameters", "network", "target", *dict.fromkeys(["against", *on])]],
        on=on,
        suffixes=("", "_cnn"),
    )
    target = pairs["target"].astype(float).replace(0, np.nan)
    parameters = pairs["parameters"].astype(float)
    apart = (pairs["parameters_cnn"].astype(float).fillna(target) / parameters - 1).abs()
    pairs["sized"] = target.notna() | (pairs["network"] == MATCHED)
    pairs["distance"] = (target / parameters - 1).abs().where(pairs["sized"], 0.0)
    pairs = pairs[~pairs["sized"] | (apart <= TOLERANCE)]
    return pairs.rename(columns={"contender_cnn": "baseline"})[[*PAIR, "network", "sized", "distance"]]


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
            "difference_images_needed": pd.array([verdict.images_needed for verdict in judged.values()], dtype="Int64"),
            "difference_unlike": [", ".join(verdicts.unlike(*pair)) for pair in judged],
        },
    ).astype(dict.fromkeys(PAIR, object))
