"""`capsbench run`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from capsbench.cli.console import make_console, say
from capsbench.cli.options import DataOption, JsonOption, OutOption, with_cell_options
from capsbench.errors import EXIT_FAILED, EXIT_INTERRUPTED, Kind, UsageError
from capsbench.records.cell import Cell


@with_cell_options
def run(
    context: typer.Context,
    suite: Annotated[str | None, typer.Option(help="A suite's name or TOML file; flags override it.")] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option(
            help="Any name as NAME=A,B,..., also an option of a network, routing or loss (--NAME A,B); repeatable."
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="CNNs beside each capsule network (matched by default), or none.")
    ] = None,
    baseline_size: Annotated[
        str | None, typer.Option(help="Their size: own (by default), or matched to the capsule network's parameters.")
    ] = None,
    out: OutOption = Path("results"),
    data_dir: DataOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run cells again that are on record.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Networks trained at a time; by default as many as fill the cores.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the cells and an estimate, run nothing.")] = False,
    as_json: JsonOption = False,
    **asked: str | None,
) -> None:
    """Run a matrix of experiments. Comma lists are axes; what is on record is not run again.

    capsbench run --routing em --iters 1,2,3

    capsbench run --routing dynamic,em,uniform --dataset mnist --train-size 1000,12000 --seeds 0,1,2,3,4

    capsbench run --routing dynamic --squash sabour,unit --leaky yes,no

    capsbench run --routing my_module:MyRouting --temperature 0.5,1 --epochs 5
    """
    from capsbench import api
    from capsbench.records.store import Store

    named = {**asked, "baseline": baseline, "baseline_size": baseline_size}
    request: dict[str, Any] = {**named, **_options([*(axis or []), *_flags(context.args)], named)}
    if dry_run:
        _print_plan(*api.plan(suite, data_dir, **request), out, data_dir, as_json, fresh)
        return
    command = shlex.join(["capsbench", *sys.argv[1:]])
    outcome = api.run(suite=suite, out=out, data_dir=data_dir, fresh=fresh, workers=workers, command=command, **request)
    if as_json:
        failed = [{"cell": r.cell.id, "title": r.cell.title, "reason": r.reason} for r in outcome.failed]
        print(json.dumps({**asdict(outcome), "failed": failed}))
    else:
        done = len(outcome.finished) + len(outcome.on_record)
        total = done + len(outcome.failed) + len(outcome.left)
        say(
            f"{done} of {total} cells on record in {out}"
            + (f", {len(outcome.failed)} failed" if outcome.failed else "")
            + (f"; left out, since they cannot be had here: {', '.join(outcome.left_out)}" if outcome.left_out else "")
        )
    for record in outcome.failed:
        noted = (record.provenance, *record.provenance.get("failed measures", {}).values())
        if any("traceback" in each for each in noted) and not as_json:
            say(f"the traceback of {record.cell.title}: {Store(out).record_path(record.cell.id)}")
    if outcome.interrupted:
        again = shlex.join(["capsbench", *(part for part in sys.argv[1:] if part != "--fresh")])
        left = f"{len(outcome.left)} cells are left, {len(outcome.trained)} of them trained and only to be measured"
        say(f"interrupted; {left}; to go on, run the same command again: {again}")
        raise typer.Exit(EXIT_INTERRUPTED)
    if not as_json:
        say("see them: capsbench report" + ("" if out == Path("results") else f" --out {shlex.quote(str(out))}"))
    if outcome.failed:
        raise typer.Exit(EXIT_FAILED)


def _flags(arguments: list[str]) -> list[str]:
    """What came beside the flags that are known beforehand, ``--squash unit,sabour``, as NAME=VALUES."""
    axes, rest = [], iter(arguments)
    for argument in rest:
        name, equals, values = argument.partition("=")
        if not name.startswith("--") or name == "--":
            raise UsageError(Kind.INVALID, expected="flags alone", value=argument)
        values = values if equals else next(rest, "")
        if not values or values.startswith("--"):
            expected = f"{name} A,B,... with a value"
            raise UsageError(Kind.INVALID, flag=_in_python(name), expected=expected, value=values)
        axes.append(f"{name.removeprefix('--')}={values}")
    return axes


def _in_python(name: str) -> str:
    """A flag's name in Python: ``--train-size`` is ``train_size``."""
    return name.removeprefix("--").replace("-", "_")


def _options(axes: list[str], named: Mapping[str, str | None]) -> dict[str, str]:
    """NAME=VALUES as a request; raises UsageError for a name that is also among the flags given."""
    options: dict[str, str] = {}
    for axis in axes:
        name, equals, values = axis.partition("=")
        if not equals or not name or not values:
            raise UsageError(Kind.INVALID, flag="axis", expected="NAME=A,B,...", value=axis)
        key = _in_python(name.strip())
        if key in options or named.get(key) is not None:
            raise UsageError(Kind.CONFLICT, "given twice", flag=key, expected="its values go into one list, A,B,...")
        options[key] = values
    return options


def _print_plan(
    cells: list[Cell], left_out: dict[str, str], out: Path, data_dir: Path | None, as_json: bool, fresh: bool
) -> None:
    from capsbench.networks.build import parameter_count
    from capsbench.records.store import Store
    from capsbench.running.estimate import estimate

    store = Store(out)
    rows = [(cell, not fresh and store.has(cell), parameter_count(cell)) for cell in cells]
    left = [cell for cell, on_record, _ in rows if not on_record]
    seconds = estimate(left, data_dir)
    if as_json:
        plan = [
            {"id": cell.id, "on_record": known, "parameters": n, **cell.model_dump(mode="json")}
            for cell, known, n in rows
        ]
        print(json.dumps({"cells": plan, "seconds": seconds, "left_out": left_out}))
        return
    table = Table("cell", "experiment", "epochs", "parameters", "on record", box=None, pad_edge=False)
    for cell, on_record, parameters in rows:
        table.add_row(cell.id, cell.title, str(cell.epochs), f"{parameters:,}", "yes" if on_record else "")
    make_console().print(table)
    for dataset, reason in left_out.items():
        say(f"left out, {dataset}: {reason}")
    about = f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {seconds:.0f} s"
    say(f"{len(cells)} cells, {len(left)} to run, {about} on this machine (from timed training steps)")
