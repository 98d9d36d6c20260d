"""The table of the contenders as strings: all its columns, those that a user chooses, and those that a page shows."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from capsbench.errors import Kind, UsageError
from capsbench.measures.average_precision.spec import AVERAGE_PRECISION
from capsbench.presenting.caption import spell_caption
from capsbench.presenting.format import CAPTION, SEARCH_COLUMN, describe_sizes, format_summary
from capsbench.presenting.marks import is_shared_by_all
from capsbench.presenting.material import Material
from capsbench.presenting.tuned import ABOUT_SEARCHES
from capsbench.reporting.table import IN_ALL_ROWS, Table
from capsbench.stats.differences import FEWEST_SEEDS

HEADLINE, TITLE = "table", "Accuracy and cost"
"""The name of the table, which is that of its files, and its title."""

CONTENDER, MARKS = "contender", "marks"
"""The columns of the names of contenders, and of their marks in words."""

UNTESTED = re.compile(r" \(not tested, (\d+ \w+)\)(?=[^)]*$)")
"""The end of a difference that was not tested: the seeds or studies that both have."""

ABOUT_SHARED = "Other jobs may have run on the machine while times were taken."

ALL_COLUMNS = "all"
"""Stands for every column."""


def list_columns(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns a summary as strings with every column there is, the contender's name first."""
    strings = format_summary(summary)
    strings.insert(0, CONTENDER, summary["label"])
    return strings


def choose_columns(strings: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Returns the columns of some names in their order; upper case, units, hyphens and underscores do not matter.

    Raises:
        UsageError: no column has a name, or two of the names are of one column.
    """
    known = {_simplify(heading): heading for heading in map(str, strings)}
    wanted: list[str] = []
    for name in columns or [""]:
        if _simplify(name) == ALL_COLUMNS:
            wanted += [heading for heading in known.values() if heading not in wanted]
        elif _simplify(name) not in known:
            names = [*map(_spell_name, known.values()), ALL_COLUMNS]
            raise UsageError(Kind.UNKNOWN, flag="columns", value=name, expected=names)
        elif known[_simplify(name)] in wanted:
            raise UsageError(Kind.CONFLICT, "given twice", flag="columns", value=name)
        else:
            wanted.append(known[_simplify(name)])
    return strings[wanted]


def describe_matches(material: Material) -> list[str]:
    """Returns a sentence on the accuracy of images that show any number of classes, if there are such."""
    names = material.rows.loc[material.rows["measure"] == AVERAGE_PRECISION, "dataset"].unique()
    if not len(names):
        return []
    return [
        f"Images of {', '.join(sorted(map(str, names)))} show any number of classes, so their accuracy is the exact match: the "
        "share of the images of which exactly the shown classes are predicted."
    ]


def build_headline(summary: pd.DataFrame, columns: Sequence[str] | None = None, notes: Sequence[str] = ()) -> Table:
    """Returns the table of the contenders: names, numbers, options; and in its caption the values that all rows share.

    Args:
        columns: the names of the columns, in order; by default all but those in which no two rows differ.
        notes: further sentences of the caption.
    """
    strings = list_columns(summary)
    naming = [name for name in strings.columns[1 : strings.columns.get_loc("n")] if name != SEARCH_COLUMN]
    chosen = [] if columns is None else list(choose_columns(strings, columns))
    naming = [name for name in naming if name not in chosen]
    same = [name for name in naming if strings[name].nunique() == 1]
    capsules = strings[summary["routing"].notna()]
    of_capsules = [name for name in ("network", "routing") if name in naming and name not in same]
    of_capsules = [name for name in of_capsules if capsules[name].nunique() == 1]
    shared = {
        words: values
        for words, rows, names in ((IN_ALL_ROWS, strings, same), ("Capsule networks", capsules, of_capsules))
        if (values := {name: rows[name].iloc[0] for name in names if rows[name].iloc[0]})
    }
    # Names have the signs of marks, and say how settings were found.
    unneeded = [*same, *of_capsules, SEARCH_COLUMN, MARKS]
    # The names hold what differs, so that other columns with it stand behind the numbers.
    behind = [name for name in naming if name != "dataset"]
    rest = strings[chosen] if chosen else strings[[*strings.columns.drop(behind), *behind]]
    rest = rest if chosen else rest.drop(columns=unneeded, errors="ignore")
    searched = [text for name, text in ABOUT_SEARCHES.items() if name in summary]
    rest, untested = (rest, []) if chosen else _strip_untested(rest)
    shared_machine = [ABOUT_SHARED] if is_shared_by_all(summary) else []
    sentences = [spell_caption(CAPTION, rest), *notes, *untested, *shared_machine, *searched, *describe_sizes(summary)]
    caption = " ".join(sentences)
    return Table.from_strings(HEADLINE, TITLE, rest, caption, summary["contender"], shared, columns is not None)


def _strip_untested(strings: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Returns a table whose differences do not all say that they were not tested, and a sentence that says it once."""
    against = [name for name in map(str, strings) if name.startswith("vs ")]
    ends = {match[1] if (match := UNTESTED.search(text)) else "" for text in strings[against].to_numpy().flat if text}
    if len(ends) != 1 or ends == {""}:
        return strings, []
    bare = strings.copy()
    bare[against] = bare[against].replace(UNTESTED, "", regex=True)
    return bare, [f"No difference was tested: {ends.pop()} in common, and a test needs {FEWEST_SEEDS}."]


def _simplify(name: str) -> str:
    """Returns a column's name as it is compared."""
    return " ".join(re.sub(r"[-_ ]+", " ", name.replace("%", " ")).split()).casefold()


def _spell_name(heading: str) -> str:
    """Returns a column's name as it is typed without quotes: ``seeds-needed`` for ``seeds needed``."""
    return heading.removesuffix(" %").replace(" ", "-")
