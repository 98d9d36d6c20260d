"""Tables of `capsbench kernels steps`: what a whole training step costs, beside the usual implementation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from capsbench.benching.kernels_report import FACTS, duration, factor
from capsbench.benching.training_step import COLUMNS
from capsbench.presenting.figures.files import write_files
from capsbench.presenting.format import format_si
from capsbench.presenting.markdown import to_markdown

CAPTION = (
    "step: forward, loss, backward and optimiser, median of n steps with the 20th and the 80th percentile; memory: peak of a "
    "step beyond the network, as far as torch allocated it; gradients: the largest deviation from the usual implementation's, "
    "as a share of a gradient's length. The contenders have the same weights and batch, and take turns in one process"
)


def table_of(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The tidy table: one row a network and contender."""
    return pd.DataFrame(rows, columns=[*COLUMNS, *FACTS]).convert_dtypes()


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table as strings."""
    lines = []
    for row in table.to_dict("records"):
        line = {"network": f"{row['network']} {row['size']}", "routing": f"{row['routing']} x{row['iterations']}"}
        line |= {"parameters": format_si(row["parameters"]), "batch": str(row["batch"]), "contender": row["contender"]}
        if row["status"] == "ok":
            spread = f"{duration(row['median_s'])} ({duration(row['p20_s'])} to {duration(row['p80_s'])})"
            line |= {"step": spread, "times as fast": factor(row["times_as_fast"]), "n": str(row["n"])}
            line |= {"memory": f"{row['peak_bytes'] / 2**20:,.0f} MiB", "gradients": f"{row['error']:.1e}"}
        else:
            line |= {"step": row["status"], "times as fast": "", "n": "", "memory": "", "gradients": ""}
        lines.append(line)
    return pd.DataFrame(lines)


def write(rows: Sequence[dict[str, Any]], folder: Path, notes: Sequence[str] = ()) -> list[Path]:
    """``steps.csv``, the tidy rows, and ``steps.md``, the readable table."""
    table = table_of(rows)
    shown = readable(table)
    lines = [to_markdown(shown, {"batch", "step", "times as fast", "n", "memory", "gradients"}), CAPTION, *notes]
    page = "\n\n".join(["# Training steps", *lines, *origin(table)]) + "\n"
    return write_files(folder, {"steps.csv": table.to_csv(index=False).encode(), "steps.md": page.encode()}, ())


def origin(table: pd.DataFrame) -> list[str]:
    """The machine, the software and the commit, a line each."""
    first = table.iloc[0]
    lines = [f"{first['processor']}, device {first['device']}, {first['threads']} threads; torch {first['torch']}"]
    if not pd.isna(first["commit"]):
        lines.append(f"commit: {first['commit']}{' with uncommitted changes' if first['dirty'] else ''}")
    return lines
