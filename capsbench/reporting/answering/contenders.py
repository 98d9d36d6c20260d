"""The contenders that a name fits, and the rivals of each; of several settings the best by validation accuracy stands for all.

Nothing here reads a number of the test images.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from capsbench.errors import Kind, UsageError
from capsbench.measures.accuracy.spec import TEST_ACCURACY
from capsbench.presenting.contenders import BASELINE, baseline_kinds
from capsbench.presenting.marks import MARKS, said_of
from capsbench.presenting.material import Material
from capsbench.presenting.naming import MATCHED
from capsbench.presenting.words import TIMES, shorten_name
from capsbench.records.cell import fields_of
from capsbench.records.declaration import Role

TASK = fields_of(Role.TASK)
"""The fields of a task: contenders of two tasks are no rivals."""

MOST_KNOWN = 30
"""The most names that the message on an unknown name lists."""

MOST_EACH = 4
"""The most contenders of a task that are answered for where no validation accuracy says which is the best."""

_SAID = re.compile(rf"(\s|\(\d+ of \d+ (?:seeds|studies)\)|[{''.join(mark.sign for mark in MARKS)}])+$")
"""The text of `said_of` behind a name."""

SAME_SEARCH, SAME_BUDGET, OTHER_BUDGET = range(3)

CompareBudgets = Callable[[str, str], int]
"""(one, other) -> `SAME_SEARCH` of two contenders with the same budget, of training and of tuning, that none or one search tuned;
`SAME_BUDGET` if two searches did; else `OTHER_BUDGET`."""


class Choice(NamedTuple):
    """A contender, and how it was chosen.

    - ``contender``
    - ``among``: the contenders from which it was chosen, itself included, in the order of the headline table
    - ``validation``: contender -> validation accuracy, of all in ``among``; empty if some are not on record
    """

    contender: str
    among: list[str]
    validation: dict[str, float]


def find_validation(material: Material) -> dict[str, float]:
    """Returns contender -> its accuracy on the validation images, the mean over seeds, as far as it is on record."""
    rows = material.rows
    wanted = (rows["measure"] == TEST_ACCURACY[0]) & (rows["metric"] == TEST_ACCURACY[1])
    chosen = material.select_rows(wanted & (rows["condition"] == "validation"))
    means = chosen.groupby("contender")["value"].mean()
    return {str(contender): float(value) for contender, value in means.items()}


def split_tasks(material: Material) -> list[list[str]]:
    """Returns the contenders of each task, in the order of the headline table."""
    summary = material.summary
    fields = [name for name in TASK if name in summary]
    return [group["contender"].tolist() for _, group in summary.groupby(fields, dropna=False, sort=False)]


def choose_asked(material: Material, name: str) -> list[tuple[list[str], list[Choice]]]:
    """Returns the contenders that a name fits: for each task with any, all its contenders and the chosen ones.

    Raises:
        UsageError: no contender has the name, or it is the short name of several parts of a user's own.
    """
    validation = find_validation(material)
    fitting = find_fitting(material.summary, name)
    if not fitting:
        raise UsageError(Kind.UNKNOWN, flag="for", value=name, expected=list_known(material.summary))
    if len(namesakes := find_namesakes(material.summary, fitting, name)) > 1:
        raise UsageError(Kind.AMBIGUOUS, "stands for several parts", flag="for", value=name, expected=namesakes)
    tasks = []
    for contenders in split_tasks(material):
        if among := [contender for contender in contenders if contender in fitting]:
            best = choose_best(among, validation)
            several = len(among) > 1 and not best.validation
            tasks.append((contenders, [Choice(one, [one], {}) for one in among[:MOST_EACH]] if several else [best]))
    return tasks


def find_fitting(summary: pd.DataFrame, name: str) -> set[str]:
    """Returns the contenders that a name fits: those with that label, else those with that series, routing or network."""
    wanted = _simplify(name)
    fitting: set[str] = set()
    rows = summary.assign(bare=list_labels(summary))
    for _, of_dataset in rows.groupby("dataset", sort=False):
        for list_names in (_list_labels, _list_parts):
            found = {
                str(row["contender"])
                for row in of_dataset.to_dict("records")
                if wanted in map(_simplify, list_names(row))
            }
            if found:
                fitting |= found
                break
    return fitting


def find_namesakes(summary: pd.DataFrame, fitting: Collection[str], name: str) -> list[str]:
    """Returns the import paths of the user's own parts that a short name stands for, among the contenders that it fits.

    Two settings of one routing are one contender's; two classes of one name are rivals.
    """
    rows = summary[summary["contender"].isin(list(fitting))]
    parts = {str(part) for column in ("network", "routing") for part in rows[column].dropna()}
    return sorted(
        part for part in parts if shorten_name(part) != part and _simplify(shorten_name(part)) == _simplify(name)
    )


def list_labels(summary: pd.DataFrame) -> list[str]:
    """Returns the label of each contender, without marks."""
    pairs = zip(summary["label"], said_of(summary), strict=True)
    return [label.removesuffix(said).rstrip() for label, said in pairs]


def list_names_in_task(summary: pd.DataFrame) -> list[str]:
    """Returns the label of each contender without marks, and without size and training images, which a task shares."""
    names = []
    for label, row in zip(list_labels(summary), summary.to_dict("records"), strict=True):
        images = row.get("train_size")
        shared = (f", {row['size']}", f", {'all' if pd.isna(images) else images} images")
        name, comma, rest = label.partition(", ")
        rest = comma + rest
        for part in shared:
            rest = rest.replace(part, "", 1)
        names.append(name + rest)
    return names


def list_known(summary: pd.DataFrame) -> list[str]:
    """Returns the names that a message suggests: routings and CNNs, then labels up to their first option."""
    parts = summary["routing"].fillna(summary["network"]).map(shorten_name)
    labels = (label.partition(", ")[0] for label in list_labels(summary))
    return list(dict.fromkeys([*parts, *labels]))[:MOST_KNOWN]


def choose_best(among: Sequence[str], validation: Mapping[str, float]) -> Choice:
    """Returns the best of some contenders by validation accuracy; the first where several have it, or not all have any."""
    if len(among) == 1 or any(contender not in validation for contender in among):
        return Choice(among[0], [*among], {})
    known = {contender: validation[contender] for contender in among}
    return Choice(max(known, key=known.__getitem__), [*among], known)


def choose_rivals(
    summary: pd.DataFrame,
    task: Iterable[str],
    choice: Choice,
    validation: Mapping[str, float],
    compare_budgets: CompareBudgets,
) -> list[Choice]:
    """Returns the rivals of a contender: its baselines, and of each other network and routing one setting.

    That is the best by validation accuracy of those of the contender's own search, else of those with its budget, else of all.
    The other settings that the name fits are rivals only where there is nobody else.

    Args:
        summary: all contenders.
        task: the contenders of the task.
    """
    rows: dict[Any, dict[Any, Any]] = summary.set_index("contender").to_dict("index")
    mine = rows[choice.contender]
    others = [name for name in task if name not in choice.among]
    others = others or [name for name in task if name != choice.contender]
    baselines = {name for kind in baseline_kinds(summary) if (name := mine[BASELINE + kind]) in others}
    of_baselines = {rows[name]["network"] for name in baselines}
    pools: dict[Any, list[str]] = {}
    for name in others:
        routing, network = rows[name]["routing"], rows[name]["network"]
        if name in baselines:
            pools[name] = [name]
        elif not pd.isna(routing) or network not in of_baselines:
            pools.setdefault((network, None if pd.isna(routing) else routing), []).append(name)
    rivals = []
    for pool in pools.values():
        distances = {name: compare_budgets(choice.contender, name) for name in pool}
        nearest = min(distances.values())
        rivals.append(choose_best([name for name in pool if distances[name] == nearest], validation))

    def rank(rival: Choice) -> tuple[int, bool, bool]:
        row = rows[rival.contender]
        own_network = not pd.isna(row["routing"]) and row["network"] == mine["network"]
        return compare_budgets(choice.contender, rival.contender), not own_network, rival.contender not in baselines

    return sorted(rivals, key=rank)


def _list_labels(row: Mapping[Any, Any]) -> list[str]:
    return [row["bare"], f"{row['dataset']}: {row['bare']}"]


def _list_parts(row: Mapping[Any, Any]) -> list[str]:
    """Returns the names that a contender shares with its other settings."""
    network, routing = row["network"], row["routing"]
    names = [row["series"], row["bare"].partition(", ")[0], row["series"].partition(", ")[0], network]
    names += [f"{MATCHED} CNN"] if network == MATCHED else []
    names += [] if pd.isna(routing) else [routing]
    return [*names, *(shorten_name(name) for name in (network, routing) if not pd.isna(name))]


def _simplify(name: str) -> str:
    """Returns a name as it is compared: without marks, and with an x for the sign before iterations."""
    plain = _SAID.sub("", name).replace(TIMES, "x").casefold()
    return " ".join(plain.split())
