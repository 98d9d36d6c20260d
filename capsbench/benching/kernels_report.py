"""Tables and pictures of `capsbench kernels bench`: what each contender costs at each layer, beside the floor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
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
    STYLE,
    THIN,
)
from capsbench.presenting.markdown import to_markdown
from capsbench.presenting.words import TIMES
from capsbench.records.provenance import provenance
from capsbench_kernels.bench import BASELINE, COLUMNS, PASSES

Row = dict[str, Any]

FACTS = ("processor", "commit", "dirty")
"""What the harness adds to a row of `capsbench_kernels.bench`."""

CASE = ["layer", "batch", "children", "parents", "iterations", "dtype"]
"""The columns that tell cases apart."""

SWEPT = ["batch", "children", "parents", "iterations"]

AXES = {
    "batch": "images a batch",
    "children": "children a problem",
    "parents": "parents a problem",
    "iterations": "routing iterations",
}

CAPTION = (
    f"time: median of n runs in each pass, in brackets how many times faster than {BASELINE} in the same run; memory: peak of "
    "forward + backward beyond the inputs, as far as torch allocated it; of peak: the part of forward + backward that "
    "its arithmetic, or its bytes if that is longer, would take at this machine's measured peaks"
)

SPREAD = "Points: medians; bars: 20th to 80th percentile."

PARTIAL = "kernels.partial.csv"

PER_LINE = 2
"""Panels beside one another."""


def facts(device: str) -> Row:
    """Of the machine and the source, what `FACTS` names; ``device`` is ``cpu`` or ``cuda``."""
    known = provenance()
    return {
        "processor": known["gpu" if device == "cuda" else "cpu"],
        "commit": known["commit"],
        "dirty": known["dirty"],
    }


def defects(rows: Sequence[Row]) -> list[str]:
    """A line for each contender and case that routed wrong or failed."""
    lines = [
        f"{row['layer']}, batch {row['batch']}, {row['dtype']}: {row['contender']}: {row['status']}"
        for row in rows
        if row["status"].startswith(("wrong", "failed"))
    ]
    return list(dict.fromkeys(lines))


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """The tidy table: one row a case, contender and pass."""
    return pd.DataFrame(rows, columns=[*COLUMNS, *FACTS]).convert_dtypes()


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """One row of strings a case and contender, both passes side by side."""
    varied = [name for name in ("children", "parents") if table.groupby("layer")[name].nunique().gt(1).any()]
    lines = []
    for _, part in table.groupby([*CASE, "contender"], sort=False):
        passes = {row["pass"]: row for row in _rows_of(part)}
        forward, both = (passes.get(name, {}) for name in PASSES)
        first = part.iloc[0]
        line = {"layer": first["layer"], "batch": str(first["batch"])}
        line |= {name: str(first[name]) for name in varied}
        line |= {"iters": str(first["iterations"]), "dtype": first["dtype"], "contender": first["contender"]}
        line |= {"n": ", ".join(str(row["n"]) for row in (forward, both) if _known(row, "n"))}
        line |= {"forward": _time(forward), "forward + backward": _time(both)}
        line |= {"memory": f"{both['peak_bytes'] / 2**20:,.1f} MiB" if _known(both, "peak_bytes") else ""}
        line |= {"of peak": f"{100 * both['floor_fraction']:.2g} %" if _known(both, "floor_fraction") else ""}
        line |= {"note": _note(forward, both)}
        lines.append(line)
    shown = pd.DataFrame(lines)
    return shown if (shown["note"] != "").any() else shown.drop(columns="note")


def _rows_of(part: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in part.to_dict("records")]


def _known(row: Row, name: str) -> bool:
    return name in row and not pd.isna(row[name])


def _time(row: Row) -> str:
    if not _known(row, "median_s"):
        return ""
    faster = "" if row["contender"] == BASELINE or not _known(row, "ratio") else f" ({factor(1 / row['ratio'])})"
    return duration(row["median_s"]) + faster


def _note(*passes: Row) -> str:
    """The statuses that are not ``ok``, once where the passes share one; how long was compiled."""
    said = {row["pass"]: row["status"] for row in passes if row and row["status"] != "ok"}
    if len(said) == len(passes) and len(set(said.values())) == 1:
        return str(passes[0]["status"])
    compiled = sum(row["compile_s"] for row in passes if _known(row, "compile_s"))
    notes = [f"{name}: {status}" for name, status in said.items()]
    return "; ".join([*notes, f"compiled in {compiled:.0f} s"] if compiled else notes)


def duration(seconds: float) -> str:
    """``0.00841`` -> ``8.41 ms``; three digits."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        value = seconds * scale
        if value >= 1 or unit == "µs":
            break
    return f"{value:,.{max(0, 2 - int(math.log10(max(value, 1))))}f} {unit}"


def factor(number: float) -> str:
    """``12.34`` -> ``12`` times, ``1.234`` -> ``1.2`` times, with the sign for it."""
    return f"{number:.1f}{TIMES}" if number < 9.95 else f"{number:,.0f}{TIMES}"


def page(table: pd.DataFrame, notes: Sequence[str] = (), pictures: Mapping[str, Picture] | None = None) -> str:
    """The readable table as Markdown, with what it means, the pictures and where the numbers are from."""
    parts = ["# Vote pass: time and memory", to_markdown(readable(table)), CAPTION[0].upper() + CAPTION[1:] + "."]
    for name, picture in (pictures or {}).items():
        parts += [f"## {picture.title}", f"![{picture.title}]({name}.png)", picture.caption]
    lines = [*notes, *origin(table)]
    return "\n\n".join([*parts, "## Where the numbers are from", "\n".join(f"- {line}" for line in lines)]) + "\n"


def origin(table: pd.DataFrame) -> list[str]:
    """Machine, its measured peaks, versions and commit, a line each."""
    first = table.iloc[0]
    flops, moved = first["peak_flops_per_s"] / 1e9, first["peak_bytes_per_s"] / 1e9
    peaks = f"{flops:,.0f} GFLOP/s in a float32 matrix product, {moved:,.0f} GB/s in a copy"
    software = [f"{name} {first[name]}" for name in ("python", "torch", "triton", "numba") if not pd.isna(first[name])]
    lines = [
        f"{first['processor']}, device {first['device']}, {first['threads']} threads",
        f"measured peaks, of which the floor is made: {peaks}",
        "; ".join(software),
    ]
    if not pd.isna(first["commit"]):
        lines.append(f"commit: {first['commit']}{' with uncommitted changes' if first['dirty'] else ''}")
    return lines


@mpl.rc_context(STYLE)
def against_contenders(table: pd.DataFrame, measured: str) -> Picture:
    """``time`` or ``memory`` of each contender, a panel a case: forward, and forward + backward, on a logarithmic axis."""
    # Who cannot run on this device has no place in the picture; who was refused or ran out of memory has.
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
        caption = f"{SPREAD} Beside a point: how many times faster than {BASELINE}."
    else:
        title = "Peak memory of a routing beyond its inputs"
        caption = f"Beside a point: how many times less than {BASELINE}."
    return finish_picture(figure, title, f"{caption} {_machine(table)}")


def _contender_panel(axes: Axes, part: pd.DataFrame, contenders: list[str], measured: str) -> None:
    times = measured == "time"
    column, unit = ("median_s", 1e3) if times else ("peak_bytes", 2**-20)
    least_column = "floor_s" if times else "peak_bytes_floor"
    shown = part[part[column].notna()]
    for number, pass_ in enumerate(PASSES):
        if not (part["pass"] == pass_).any():
            continue  # interrupted before it
        color, aside = PALETTE[number], 0.2 * (2 * number - 1)
        rows = shown[shown["pass"] == pass_]
        base = rows.loc[rows["contender"] == BASELINE, column]
        spread = None
        least = unit * float(part.loc[part["pass"] == pass_, least_column].iloc[0])
        label = f"{'floor' if times else 'results alone'}, {_words(pass_)}"
        axes.axvline(least, color=color, linestyle=CNN_DASHES[number], zorder=1.5, label=label)
        if times:
            spread = [unit * (rows["median_s"] - rows["p20_s"]), unit * (rows["p80_s"] - rows["median_s"])]
            spread = [each.astype(float) for each in spread]
        axes.errorbar(
            (unit * rows[column]).astype(float),
            [contenders.index(name) + aside for name in rows["contender"]],
            xerr=spread,
            color=color,
            marker=MARKERS[number],
            linestyle="none",
            capsize=1.5,
            elinewidth=THIN,
            capthick=THIN,
            label=_words(pass_),
        )
        for row in _rows_of(rows[rows["contender"] != BASELINE]) if len(base) else []:
            _beside(
                axes,
                unit * row["p80_s" if times else column],
                contenders.index(row["contender"]) + aside,
                factor(base.iloc[0] / row[column]),
                color,
            )
    for name in contenders:
        rows = part[part["contender"] == name]
        if rows[column].isna().all() and len(rows):
            status = str(rows["status"].iloc[0]).partition(":")[0]
            where = (0.5, contenders.index(name))
            note = axes.text(*where, f"no figure: {status}", fontsize=SMALL, color=PALE, ha="center", va="center")
            note.set_transform(axes.get_yaxis_transform())
    axes.set(title=_title(part), xscale="log", xlabel="time (ms)" if times else "peak memory (MiB)")
    axes.set_yticks(range(len(contenders)), contenders)
    axes.grid(axis="y", visible=False)
    drawn = [column, least_column, *(["p20_s", "p80_s"] if times else [])]
    values = [unit * float(value) for name in drawn for value in part[name].dropna()]
    _log_axis(axes.xaxis, values, room=max(2.2, (max(values) / min(values)) ** 0.2))


def _beside(axes: Axes, x: float, y: float, text: str, color: str) -> None:
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


@mpl.rc_context(STYLE)
def against_sweep(table: pd.DataFrame, swept: str) -> Picture:
    """Time of forward + backward against what was swept, such as the batch: a line a contender, a panel for the rest."""
    table = table[(table["pass"] == PASSES[-1]) & table["median_s"].notna()]
    contenders = list(table["contender"].unique())
    groups = list(table.groupby([name for name in CASE if name != swept], sort=False))
    figure, grid = wrap_panels(len(groups), PER_LINE, 2.1, PAGE if len(groups) > 1 else COLUMN)
    for (_, part), axes in zip(groups, grid, strict=True):
        for number, name in enumerate(contenders):
            rows = part[part["contender"] == name].sort_values(swept)
            middle = 1e3 * rows["median_s"].astype(float)
            axes.errorbar(
                rows[swept].astype(float),
                middle,
                yerr=[middle - 1e3 * rows["p20_s"].astype(float), 1e3 * rows["p80_s"].astype(float) - middle],
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
        axes.set(title=_title(part, without=swept), xlabel=AXES[swept], xscale="log", yscale="log")
        counts = sorted({int(value) for value in part[swept]})
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.xaxis.set_minor_locator(NullLocator())
        _log_axis(axes.yaxis, [*(1e3 * part["median_s"].astype(float)), *(1e3 * part["floor_s"].astype(float))], 1.5)
    for axes in grid[::PER_LINE]:
        axes.set_ylabel("forward + backward (ms)")
    return finish_picture(figure, f"Time of a routing against {AXES[swept]}", f"{SPREAD} {_machine(table)}")


def _log_axis(axis: Axis, values: Iterable[float], room: float) -> None:
    """A logarithmic axis with ``room`` around its values and round numbers on it, however narrow the range."""
    values = list(values) or [1.0]
    low, high = min(values) / 1.5, max(values) * room
    axis.axes.set(**{f"{axis.axis_name}lim": (low, high)})  # type: ignore[attr-defined]
    axis.set_major_locator(LogLocator(subs=(1,) if high / low > 100 else (1, 3) if high / low > 20 else (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _words(pass_: str) -> str:
    return pass_.replace("+", " + ")


def _title(part: pd.DataFrame, without: str = "") -> str:
    """What a panel shows: the layer, and below it the batch, the capsules, the iterations and the dtype."""
    row = part.iloc[0]
    capsules = [f"{row[name]} {name}" for name in ("children", "parents") if name != without]
    said = ["" if without == "batch" else f"batch {row['batch']}", *capsules]
    rest = ["" if without == "iterations" else f"{row['iterations']} iterations", row["dtype"]]
    return f"{row['layer']}\n{', '.join(filter(None, said))}\n{', '.join(filter(None, rest))}"


def _machine(table: pd.DataFrame) -> str:
    row = table.iloc[0]
    threads = f", {row['threads']} thread{'' if row['threads'] == 1 else 's'}" if row["device"] == "cpu" else ""
    return f"{row['processor']}{threads}, torch {row['torch']}."


PICTURES: dict[str, Callable[[pd.DataFrame], Picture]] = {
    "kernels-time": lambda table: against_contenders(table, "time"),
    "kernels-memory": lambda table: against_contenders(table, "memory"),
    **{f"kernels-{swept}": lambda table, swept=swept: against_sweep(table, swept) for swept in SWEPT},  # type: ignore[misc]
}
"""File name without ending -> what draws it."""


def pictures(table: pd.DataFrame) -> dict[str, Picture]:
    """Those of `PICTURES` that there are numbers for: time and memory, and a sweep of each axis that has several values."""
    timed = table[table["median_s"].notna()]
    if timed.empty:
        return {}
    made = {name: PICTURES[name](table) for name in ("kernels-time", "kernels-memory")}
    both = timed[timed["pass"] == PASSES[-1]]
    for swept in SWEPT:
        rest = [name for name in CASE if name != swept]
        if both.groupby(rest)[swept].nunique().gt(1).any():
            made[f"kernels-{swept}"] = PICTURES[f"kernels-{swept}"](table)
    return made


def write_partial(rows: Sequence[Row], folder: Path) -> None:
    """Keeps the rows so far in a file of their own, which `write` removes: an earlier report stays whole until then."""
    write_files(folder, {PARTIAL: _csv(table_of(rows))}, ())


def write(rows: Sequence[Row], folder: Path, notes: Sequence[str] = ()) -> list[Path]:
    """``kernels.csv``, the tidy rows; ``kernels.md``, the readable table; each of `pictures` as PNG and SVG."""
    files: list[Path] = []
    if rows:
        table = table_of(rows)
        made = pictures(table)
        contents = {"kernels.csv": _csv(table), "kernels.md": page(table, notes, made).encode()}
        files = write_files(folder, contents | render_files(made), PICTURES)
    (folder / PARTIAL).unlink(missing_ok=True)
    return files


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False).encode()
