"""The section on epochs: how many each contender got where they were searched for, by one rule for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from capsbench.presenting.caption import AboutColumn
from capsbench.presenting.format import name_column
from capsbench.presenting.marks import PART, POINTS
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section
from capsbench.presenting.tuned import describe_end, identify_contender
from capsbench.records.tuning.convergence import Convergence

BETWEEN_STUDIES = "; "


def build_table(material: Material) -> pd.DataFrame:
    """Returns one row a contender whose epochs were searched for, in the order of the headline table."""
    searches: dict[str, dict[int, Convergence]] = {}
    for record in material.converged:
        assert record.convergence is not None
        study = 0 if record.tuning is None else record.tuning.study
        searches.setdefault(identify_contender(record), {})[study] = record.convergence
    if not searches:
        raise NoDataError("a search for epochs", "is not on record")
    rows = material.summary[["dataset", "contender", "label"]].itertuples(index=False)
    lines = [
        {"dataset": row.dataset, "contender": row.contender, "name": row.label, **_describe_searches(of_contender)}
        for row in rows
        if (of_contender := [search for _, search in sorted(searches.get(str(row.contender), {}).items())])
    ]
    return pd.DataFrame(lines)


def _describe_searches(searches: Sequence[Convergence]) -> dict[str, Any]:
    """Returns the numbers of the searches of a contender, one a study if it is tuned."""
    return {
        "searches": len(searches),
        "start": searches[0].start,
        "ceiling": searches[0].ceiling,
        "trials": len(searches[0].seeds),
        "tried": BETWEEN_STUDIES.join(_spell_tried(search) for search in searches),
        "epochs": BETWEEN_STUDIES.join(str(search.epochs) for search in searches),
        "converged": sum(search.is_concluded for search in searches),
        "at the end": BETWEEN_STUDIES.join(dict.fromkeys(describe_end(search) for search in searches)),
        "spent": sum(search.spent for search in searches),
    }


def _spell_tried(search: Convergence) -> str:
    """Returns ``30 (93.1 %), 60 (94.0 %)``: the epochs, each with the mean validation performance of its trials."""
    return ", ".join(f"{rung.epochs} ({_spell_validation(rung.validation)})" for rung in search.tried)


def _spell_validation(validation: float | None) -> str:
    if validation is None:
        return "failed"
    # A network that classifies nothing is judged by its loss, with a minus.
    return f"{100 * validation:.1f} %" if validation >= 0 else f"{-validation:.3g}"


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table as strings, without what all rows share."""
    heading = "epochs, study by study" if (table["searches"] > 1).any() else "epochs"
    return pd.DataFrame(
        {
            **name_column(table),
            heading: table["epochs"],
            "tried (validation)": table["tried"],
            "at the end": table["at the end"],
            "epochs of all trials": table["spent"].map("{:,}".format),
        }
    )


SECTION = Section(
    name="epochs",
    title="Epochs by one rule for every contender",
    caption=(
        "Trials were trained with the epochs of the start and judged by their validation error. A contender that was still "
        "improving was trained anew with twice the epochs, up to 8 times those of the start, each time with a whole schedule. "
        f"Still improving: as much training again would take {POINTS:g} point or more from its validation error, or "
        f"{100 * PART:g} % from its loss where it classifies nothing. Where that is not known, as of very few epochs or near "
        "chance, the search went on. Epochs: those of the results, which have fresh seeds. Tried: the epochs of the trials, with "
        "the mean validation accuracy over seeds, or the loss. Epochs of all trials: the budget that the search took.",
        AboutColumn(
            "study", "Of a tuned contender each study has epochs of its own, and its first trial is that of the search."
        ),
    ),
    table=build_table,
    readable=format_table,
)
