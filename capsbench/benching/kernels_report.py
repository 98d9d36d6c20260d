"""Tables and pictures of `capsbench kernels bench`: time and memory of each contender at each layer, with their floors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from capsbench.presenting.figures.figure import Picture, finish_picture, wrap_panels
from capsbench.presenting.figures.files import render_files, write_files
from capsbench.presenting.figures.style import (
    CNN_DASHES,
    COLUMN,
    MARKERS,
    PAGE,
    PALE,
    PALETTE,
    SMALL,
    THIN,
    in_style,
)
from capsbench.presenting.markdown import to_markdown
from capsbench.presenting.words import TIMES
from capsbench.records.software.provenance import provenance
from capsbench_kernels.bench import BASELINE, COLUMNS, PASSES

Row = dict[str, Any]

FACTS = ("processor", "commit", "dirty")
"""Columns that are added to a row of `capsbench_kernels.bench`."""

CASE = ["layer", "batch", "children", "parents", "iterations", "dtype"]
"""Columns that identify a case."""

SWEPT = ["batch", "children", "parents", "iterations"]

AXES = {
    "batch": "images per batch",
    "children": "children per problem",
    "parents": "parents per problem",
    "iterations": "routing iterations",
}

CAPTION = (
    f"time: median of n runs of each pass, in brackets the speed-up over {BASELINE} in the same run; memory: peak memory that "
    "torch allocated in forward + backward beyond the inputs; of peak: the share of the time of forward + backward that its "
    "arithmetic, or its memory traffic if that takes longer, needs at the measured peaks of this machine"
)

SPREAD = "Points: medians; bars: 20th to 80th percentile."

PARTIAL = "kernels.partial.csv"

PER_LINE = 2
"""Panels in a row of a picture."""


def read_facts(device: str) -> Row:
    """Returns the `FACTS` of the machine and the source; ``device`` is ``cpu`` or ``cuda``."""
    known = provenance()
    return {
        "processor": known["gpu" if device == "cuda" else "cpu"],
        "commit": known["commit"],
        "dirty": known["dirty"],
    }


def list_defects(rows: Sequence[Row]) -> list[str]:
    """Returns a line for each contender and case with wrong results or a failure."""
    lines = [
        f"{row['layer']}, batch {row['batch']}, {row['dtype']}: {row['contender']}: {row['status']}"
        for row in rows
        if row["status"].startswith(("wrong", "failed"))
    ]
    return list(dict.fromkeys(lines))


def build_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Returns the tidy table: one row per case, contender and pass."""
    return pd.DataFrame(rows, columns=[*COLUMNS, *FACTS]).convert_dtypes()


def to_readable(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table as strings, one row per case and contender, with both passes side by side."""
    varied = [name for name in ("children", "parents") if table.groupby("layer")[name].nunique().gt(1).any()]
    lines = []
    for _, part in table.groupby([*CASE, "contender"], sort=False):
        passes = {row["pass"]: row for row in _to_rows(part)}
        forward, both = (passes.get(name, {}) for name in PASSES)
        first = part.iloc[0]
        line = {"layer": first["layer"], "batch": str(first["batch"])}
        line |= {name: str(first[name]) for name in varied}
        line |= {"iters": str(first["iterations"]), "dtype": first["dtype"], "contender": first["contender"]}
        line |= {"n": ", ".join(str(row["n"]) for row in (forward, both) if _is_known(row, "n"))}
        line |= {"forward": _format_time(forward), "forward + backward": _format_time(both)}
        line |= {"memory": f"{both['peak_bytes'] / 2**20:,.1f} MiB" if _is_known(both, "peak_bytes") else ""}
        line |= {"of peak": f"{100 * both['floor_fraction']:.2g} %" if _is_known(both, "floor_fraction") else ""}
        line |= {"note": _format_note(forward, both)}
        lines.append(line)
    cells = pd.DataFrame(lines)
    return cells if (cells["note"] != "").any() else cells.drop(columns="note")


def _to_rows(part: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in part.to_dict("records")]


def _is_known(row: Row, name: str) -> bool:
    return name in row and not pd.isna(row[name])


def _format_time(row: Row) -> str:
    if not _is_known(row, "median_s"):
        return ""
    faster = (
        "" if row["contender"] == BASELINE or not _is_known(row, "ratio") else f" ({format_factor(1 / row['ratio'])})"
    )
    return format_duration(row["median_s"]) + faster


def _format_note(*passes: Row) -> str:
    """Joins the statuses other than ``ok``, once if all passes share one, and the time of compilation."""
    statuses = {row["pass"]: row["status"] for row in passes if row and row["status"] != "ok"}
    if len(statuses) == len(passes) and len(set(statuses.values())) == 1:
        return str(passes[0]["status"])
    compiled = sum(row["compile_s"] for row in passes if _is_known(row, "compile_s"))
    notes = [f"{name}: {status}" for name, status in statuses.items()]
    return "; ".join([*notes, f"compiled in {compiled:.0f} s"] if compiled else notes)


def format_duration(seconds: float) -> str:
    """Formats a time with three digits: ``0.00841`` -> ``8.41 ms``."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        value = seconds * scale
        if value >= 1 or unit == "µs":
            break
    return f"{value:,.{max(0, 2 - int(math.log10(max(value, 1))))}f} {unit}"


def format_factor(number: float) -> str:
    """Formats a factor with the sign for times: ``12.34`` -> ``12×``, ``1.234`` -> ``1.2×``."""
    return f"{number:.1f}{TIMES}" if number < 9.95 else f"{number:,.0f}{TIMES}"


def build_page(table: pd.DataFrame, notes: Sequence[str] = (), pictures: Mapping[str, Picture] | None = None) -> str:
    """Returns the readable table as Markdown, with its caption, the pictures and the origin of the numbers."""
    parts = ["# Vote pass: time and memory", to_markdown(to_readable(table)), CAPTION[0].upper() + CAPTION[1:] + "."]
    for name, picture in (pictures or {}).items():
        parts += [f"## {picture.title}", f"![{picture.title}]({name}.png)", picture.caption]
    lines = [*notes, *describe_origin(table)]
    return "\n\n".join([*parts, "## Where the numbers are from", "\n".join(f"- {line}" for line in lines)]) + "\n"


def describe_origin(table: pd.DataFrame) -> list[str]:
    """Returns lines on the machine, its measured peaks, the versions and the commit."""
    first = table.iloc[0]
    flops, moved = first["peak_flops_per_s"] / 1e9, first["peak_bytes_per_s"] / 1e9
    peaks = f"{flops:,.0f} GFLOP/s in a float32 matrix product, {moved:,.0f} GB/s in a copy"
    software = [f"{name} {first[name]}" for name in ("python", "torch", "triton", "numba") if not pd.isna(first[name])]
    lines = [
        f"{first['processor']}, device {first['device']}, {first['threads']} threads",
        f"measured peaks, which give the floor: {peaks}",
        "; ".join(software),
    ]
    if not pd.isna(first["commit"]):
        lines.append(f"commit: {first['commit']}{' with uncommitted changes' if first['dirty'] else ''}")
    return lines


@in_style()
def draw_contenders(table: pd.DataFrame, measured: str) -> Picture:
    """Draws ``time`` or ``memory`` of each contender, a panel per case, for forward and forward + backward, on a log axis."""
    # The picture leaves out contenders that cannot run on this device, but not those that were refused or ran out of memory.
    table = table[~table["status"].str.startswith(("unavailable", "skipped"))]
    contenders = list(table["contender"].unique())
    groups = list(table.groupby(CASE, sort=False))
    width = PAGE if len(groups) > 1 else COLUMN
    figure, grid = wrap_panels(len(groups), PER_LINE, 0.75 + 0.29 * len(contenders), width, sharey=True)
    for (_, part), axes in zip(groups, grid, strict=True):
        _contender_panel(axes, part, contenders, measured)
    grid[0].set_ylim(len(contenders) - 0.5, -0.5)
    if measured == "time":
        title = "Time of a routing"
        caption = f"{SPREAD} Next to a point: the speed-up over {BASELINE}."
    else:
        title = "Peak memory of a routing beyond its inputs"
        caption = f"Next to a point: the factor of the memory of {BASELINE} over that of the contender."
    return finish_picture(figure, title, f"{caption} {_describe_machine(table)}")


def _contender_panel(axes: Axes, part: pd.DataFrame, contenders: list[str], measured: str) -> None:
    times = measured == "time"
    column, unit = ("median_s", 1e3) if times else ("peak_bytes", 2**-20)
    least_column = "floor_s" if times else "peak_bytes_floor"
    measured_rows = part[part[column].notna()]
    for number, pass_ in enumerate(PASSES):
        if not (part["pass"] == pass_).any():
            continue  # the run was interrupted before this pass
        color, aside = PALETTE[number], 0.2 * (2 * number - 1)
        rows = measured_rows[measured_rows["pass"] == pass_]
        base = rows.loc[rows["contender"] == BASELINE, column]
        spread = None
        least = unit * float(part.loc[part["pass"] == pass_, least_column].iloc[0])
        label = f"{'floor' if times else 'results alone'}, {_to_words(pass_)}"
        axes.axvline(least, color=color, linestyle=CNN_DASHES[number], zorder=1.5, label=label)
        if times:
            below, above = rows["median_s"] - rows["p20_s"], rows["p80_s"] - rows["median_s"]
            spread = unit * np.array([below, above], dtype=float)
        axes.errorbar(
            unit * rows[column].to_numpy(dtype=float),
            [contenders.index(name) + aside for name in rows["contender"]],
            xerr=spread,
            color=color,
            marker=MARKERS[number],
            linestyle="none",
            capsize=1.5,
            elinewidth=THIN,
            capthick=THIN,
            label=_to_words(pass_),
        )
        for row in _to_rows(rows[rows["contender"] != BASELINE]) if len(base) else []:
            _annotate_point(
                axes,
                unit * row["p80_s" if times else column],
                contenders.index(row["contender"]) + aside,
                format_factor(base.iloc[0] / row[column]),
                color,
            )
    for name in contenders:
        rows = part[part["contender"] == name]
        if rows[column].isna().all() and len(rows):
            status = str(rows["status"].iloc[0]).partition(":")[0]
            where = (0.5, contenders.index(name))
            note = axes.text(*where, f"no number: {status}", fontsize=SMALL, color=PALE, ha="center", va="center")
            note.set_transform(axes.get_yaxis_transform())
    axes.set(title=_build_title(part), xscale="log", xlabel="time (ms)" if times else "peak memory (MiB)")
    axes.set_yticks(range(len(contenders)), contenders)
    axes.grid(axis="y", visible=False)
    drawn = [column, least_column, *(["p20_s", "p80_s"] if times else [])]
    values = [unit * float(value) for name in drawn for value in part[name].dropna()]
    _log_axis(axes.xaxis, values, room=max(2.2, (max(values) / min(values)) ** 0.2))


def _annotate_point(axes: Axes, x: float, y: float, text: str, color: str) -> None:
    axes.annotate(
        text,
        (x, y),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=SMALL,
        color=color,
        zorder=5,
    )


@in_style()
def draw_sweep(table: pd.DataFrame, swept: str) -> Picture:
    """Draws the time of forward + backward against a swept column, a line per contender, a panel per case otherwise equal."""
    table = table[(table["pass"] == PASSES[-1]) & table["median_s"].notna()]
    contenders = list(table["contender"].unique())
    groups = list(table.groupby([name for name in CASE if name != swept], sort=False))
    figure, grid = wrap_panels(len(groups), PER_LINE, 2.1, PAGE if len(groups) > 1 else COLUMN)
    for (_, part), axes in zip(groups, grid, strict=True):
        for number, name in enumerate(contenders):
            rows = part[part["contender"] == name].sort_values(swept)
            below, middle, above = (1e3 * rows[name].to_numpy(dtype=float) for name in ("p20_s", "median_s", "p80_s"))
            axes.errorbar(
                rows[swept].to_numpy(dtype=float),
                middle,
                yerr=np.array([middle - below, above - middle]),
                color=PALETTE[number % len(PALETTE)],
                marker=MARKERS[number % len(MARKERS)],
                linestyle="--" if name.endswith("-compiled") else "-",
                capsize=1.5,
                elinewidth=THIN,
                capthick=THIN,
                label=name,
            )
        least = part.drop_duplicates(swept).sort_values(swept)
        axes.plot(
            least[swept].astype(float), 1e3 * least["floor_s"].astype(float), color=PALE, linestyle=":", label="floor"
        )
        axes.set(title=_build_title(part, without=swept), xlabel=AXES[swept], xscale="log", yscale="log")
        counts = sorted({int(value) for value in part[swept]})
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.xaxis.set_minor_locator(NullLocator())
        _log_axis(axes.yaxis, [*(1e3 * part["median_s"].astype(float)), *(1e3 * part["floor_s"].astype(float))], 1.5)
    for axes in grid[::PER_LINE]:
        axes.set_ylabel("forward + backward (ms)")
    return finish_picture(figure, f"Time of a routing against {AXES[swept]}", f"{SPREAD} {_describe_machine(table)}")


def _log_axis(axis: Axis, values: Iterable[float], room: float) -> None:
    """Sets a logarithmic axis with ``room`` above its values and round numbers, even for a narrow range."""
    numbers = list(values) or [1.0]
    low, high = min(numbers) / 1.5, max(numbers) * room
    axis.axes.set(**{f"{axis.axis_name}lim": (low, high)})  # type: ignore[attr-defined]
    axis.set_major_locator(LogLocator(subs=(1,) if high / low > 100 else (1, 3) if high / low > 20 else (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _to_words(pass_: str) -> str:
    return pass_.replace("+", " + ")


def _build_title(part: pd.DataFrame, without: str = "") -> str:
    """Returns the title of a panel: the layer, and below it the batch, the capsules, the iterations and the dtype."""
    row = part.iloc[0]
    capsules = [f"{row[name]} {name}" for name in ("children", "parents") if name != without]
    sizes = ["" if without == "batch" else f"batch {row['batch']}", *capsules]
    rest = ["" if without == "iterations" else f"{row['iterations']} iterations", row["dtype"]]
    return f"{row['layer']}\n{', '.join(filter(None, sizes))}\n{', '.join(filter(None, rest))}"


def _describe_machine(table: pd.DataFrame) -> str:
    row = table.iloc[0]
    threads = f", {row['threads']} thread{'' if row['threads'] == 1 else 's'}" if row["device"] == "cpu" else ""
    return f"{row['processor']}{threads}, torch {row['torch']}."


PICTURES: dict[str, Callable[[pd.DataFrame], Picture]] = {
    "kernels-time": lambda table: draw_contenders(table, "time"),
    "kernels-memory": lambda table: draw_contenders(table, "memory"),
    **{f"kernels-{swept}": lambda table, swept=swept: draw_sweep(table, swept) for swept in SWEPT},  # type: ignore[misc]
}
"""File name without suffix -> the function that draws it."""


def draw_pictures(table: pd.DataFrame) -> dict[str, Picture]:
    """Draws those of `PICTURES` that have numbers: time and memory, and a sweep of each axis with several values."""
    timed = table[table["median_s"].notna()]
    if timed.empty:
        return {}
    pictures = {name: PICTURES[name](table) for name in ("kernels-time", "kernels-memory")}
    both = timed[timed["pass"] == PASSES[-1]]
    for swept in SWEPT:
        rest = [name for name in CASE if name != swept]
        if both.groupby(rest)[swept].nunique().gt(1).any():
            pictures[f"kernels-{swept}"] = PICTURES[f"kernels-{swept}"](table)
    return pictures


def write_partial(rows: Sequence[Row], folder: Path) -> None:
    """Writes the rows so far to a separate file, which `write_report` removes. Until then, an earlier report stays whole."""
    write_files(folder, {PARTIAL: _to_csv(build_table(rows))}, (), flag="out")


def write_report(rows: Sequence[Row], folder: Path, notes: Sequence[str] = ()) -> list[Path]:
    """Writes the tidy rows to ``kernels.csv``, the readable table to ``kernels.md``, and each picture as PNG and SVG."""
    files: list[Path] = []
    if rows:
        table = build_table(rows)
        pictures = draw_pictures(table)
        contents = {"kernels.csv": _to_csv(table), "kernels.md": build_page(table, notes, pictures).encode()}
        files = write_files(folder, contents | render_files(pictures), PICTURES, flag="out")
    (folder / PARTIAL).unlink(missing_ok=True)
    return files


def _to_csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False).encode()
