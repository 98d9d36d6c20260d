"""Tables of `capsbench kernels steps`: time and memory of a training step, compared with the usual implementation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from capsbench.benching.kernels_report import FACTS, format_duration, format_factor
from capsbench.benching.training_step import COLUMNS
from capsbench.presenting.figures.files import write_files
from capsbench.presenting.format import format_si
from capsbench.presenting.markdown import to_markdown

CAPTION = (
    "step: forward, loss, backward and optimiser, median of n steps with the 20th and the 80th percentile; memory: peak memory "
    "that torch allocated in a step beyond the network; gradients: the largest deviation from the usual implementation, "
    "relative to the norm of a gradient. The contenders have the same weights and batch, and take turns, each in its own "
    "processes. `none` has no routing: its parents are the mean child, so that its step bounds what a faster routing can reach"
)


def build_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Returns the tidy table: one row per network and contender."""
    return pd.DataFrame(rows, columns=[*COLUMNS, *FACTS]).convert_dtypes()


def to_readable(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table as strings."""
    lines = []
    for row in table.to_dict("records"):
        line = {"network": f"{row['network']} {row['size']}", "routing": f"{row['routing']} x{row['iterations']}"}
        line |= {"parameters": format_si(row["parameters"]), "batch": str(row["batch"]), "contender": row["contender"]}
        if row["status"] == "ok":
            spread = f"{format_duration(row['median_s'])} ({format_duration(row['p20_s'])} to {format_duration(row['p80_s'])})"
            line |= {"step": spread, "times as fast": _format_factor(row["times_as_fast"]), "n": str(row["n"])}
            line |= {"memory": f"{row['peak_bytes'] / 2**20:,.0f} MiB", "gradients": _format_error(row["error"])}
        else:
            line |= {"step": row["status"], "times as fast": "", "n": "", "memory": "", "gradients": ""}
        lines.append(line)
    return pd.DataFrame(lines)


def _format_factor(factor: Any) -> str:
    return "" if pd.isna(factor) else format_factor(factor)  # the usual implementation may have failed


def _format_error(error: Any) -> str:
    return "" if pd.isna(error) else f"{error:.1e}"  # nothing to compare without a routing


def write_report(rows: Sequence[dict[str, Any]], folder: Path, notes: Sequence[str] = ()) -> list[Path]:
    """Writes the tidy rows to ``steps.csv`` and the readable table to ``steps.md``."""
    table = build_table(rows)
    cells = to_readable(table)
    lines = [to_markdown(cells, {"batch", "step", "times as fast", "n", "memory", "gradients"}), CAPTION, *notes]
    page = "\n\n".join(["# Training steps", *lines, *describe_origin(table)]) + "\n"
    return write_files(
        folder, {"steps.csv": table.to_csv(index=False).encode(), "steps.md": page.encode()}, (), flag="out"
    )


def describe_origin(table: pd.DataFrame) -> list[str]:
    """Returns lines on the machine, the software and the commit."""
    first = table.iloc[0]
    beside = ", beside a process that uses a core" if first["load"] == "busy" else ""
    lines = [
        f"{first['processor']}, device {first['device']}, {first['threads']} threads{beside}; torch {first['torch']}"
    ]
    if not pd.isna(first["commit"]):
        lines.append(f"commit: {first['commit']}{' with uncommitted changes' if first['dirty'] else ''}")
    return lines
