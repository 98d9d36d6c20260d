"""What a report says beside its numbers, as one Markdown page."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pandas as pd

from capsbench.reporting.published import CAPTION as PUBLISHED_CAPTION
from capsbench.reporting.sections import Made
from capsbench.reporting.text import CAPTION, markdown
from capsbench.store import Record, Run

MACHINE = ("cpu", "cores", "gpu", "driver", "cuda", "threads", "backend")
SOFTWARE = ("capsbench", "python", "torch", "triton")


def page(
    readable: pd.DataFrame,
    published: pd.DataFrame,
    sections: list[Made],
    pictures: Collection[str],
    records: list[Record],
    run: Run | None,
    missing: int,
    faults: list[str],
    notes: list[str],
) -> str:
    """The tables, the sections with their pictures, then what failed, what is not there yet, what could not be read, and where
    the numbers are from.
    """
    failed = [f"{r.cell.title}: {' '.join(r.reason.split())}" for r in records if r.reason]
    parts = ["# Results", f"{markdown(readable)}\n\n{CAPTION}." if len(readable) else "No cell finished."]
    if len(published):
        beside = markdown(published, numbers={"published", "measured", "n"})
        parts.append(f"## Paper against measured\n\n{beside}\n\n{PUBLISHED_CAPTION}.")
    for made in sections:
        shown = [f"![{name}]({name}.png)" for name in made.section.pictures if name in pictures]
        parts += [
            f"## {made.section.title}",
            f"{markdown(made.readable, numbers=made.readable.columns[1:])}\n\n{made.section.caption}",
            *shown,
        ]
    parts += _section("Failed cells", failed)
    if run is not None and missing:
        parts += _section("Not finished", [f"{missing} of {len(run.cells)} cells; the run's command goes on with them"])
    parts += _section("Files that are not whole records", faults)
    parts += _section("Notes", notes)
    parts += _section("Where the numbers are from", origin(records, run))
    return "\n\n".join(parts) + "\n"


def origin(records: list[Record], run: Run | None) -> list[str]:
    """Command, commit, versions and machines of some records, a line each; what differs among them is listed."""
    lines = [f"command: `{run.command}`, run {run.name}"] if run else []
    commits = {(fact.get("commit"), fact.get("dirty")) for fact in (record.provenance for record in records)}
    lines += [
        f"commit: {commit}{' with uncommitted changes' if dirty else ''}"
        for commit, dirty in sorted(commits, key=str)
        if commit
    ]
    for names in (SOFTWARE, MACHINE):
        found = {name: _distinct(record.provenance.get(name) for record in records) for name in names}
        line = "; ".join(f"{name} {values}" for name, values in found.items() if values)
        lines += [line] if line else []
    started = sorted(record.provenance["started"] for record in records if record.provenance.get("started"))
    return [*lines, f"measured: {started[0]} to {started[-1]}"] if started else lines


def machines(records: list[Record]) -> int:
    """How many kinds of processor the finished records' times are from."""
    measured = [r.provenance.get("measured", r.provenance) for r in records if r.status == "finished"]
    return len({(where.get("cpu"), where.get("gpu")) for where in measured})


def _distinct(values: Iterable[object]) -> str:
    return ", ".join(sorted({str(value) for value in values if value is not None}))


def _section(title: str, lines: list[str]) -> list[str]:
    return ["\n".join([f"## {title}", "", *(f"- {line}" for line in lines)])] if lines else []
