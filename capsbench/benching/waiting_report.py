"""The table of `--waiting`: times as imported, compared with those of threads that were told not to spin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from capsbench.benching.kernels_report import FACTS, format_duration
from capsbench.presenting.figures.files import write_files
from capsbench.presenting.markdown import to_markdown
from capsbench_kernels.bench.waiting import COLUMNS, PASSIVE, summarise_pairs

SETTING = " ".join(f"{name}={value}" for name, value in PASSIVE.items())

CAPTION = (
    f"as imported: the environment says nothing on how OpenMP's threads wait; passive: {SETTING}. busy: beside a process that "
    "uses a core at the same priority. The two processes of a pair ran one after the other, in alternating order; times: medians "
    "over pairs of the median of a process; ratio: median over pairs of as imported / passive, with a bootstrap 95 % interval"
)


def to_readable(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Returns the summary as strings: a row for each program and load."""
    return pd.DataFrame(
        {
            "program": row["program"],
            "machine": row["load"],
            "as imported": format_duration(row["imported_s"]),
            "passive": format_duration(row["passive_s"]),
            "ratio": f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})",
            "pairs": str(row["pairs"]),
        }
        for row in summarise_pairs(rows)
    )


def write_report(rows: Sequence[dict[str, Any]], folder: Path, notes: Sequence[str] = ()) -> list[Path]:
    """Writes every pair to ``waiting.csv``, and the summary to ``waiting.md``."""
    table = _build_table(rows)
    cells = to_markdown(to_readable(rows), {"as imported", "passive", "ratio", "pairs"})
    first = table.iloc[0]
    lines = [f"{first['processor']}, {first['threads']} threads"]
    if not pd.isna(first["commit"]):
        lines.append(f"commit: {first['commit']}{' with uncommitted changes' if first['dirty'] else ''}")
    page = (
        "\n\n".join(["# How torch's idle threads wait", cells, f"{CAPTION[0].upper()}{CAPTION[1:]}.", *notes, *lines])
        + "\n"
    )
    return [*write_pairs(rows, folder), *write_files(folder, {"waiting.md": page.encode()}, (), flag="out")]


def write_pairs(rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """Writes every pair to ``waiting.csv``."""
    return write_files(folder, {"waiting.csv": _build_table(rows).to_csv(index=False).encode()}, (), flag="out")


def _build_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[*COLUMNS, *FACTS]).convert_dtypes()
