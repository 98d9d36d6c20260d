"""The command line: parses, calls, prints; decides nothing."""

from __future__ import annotations

import inspect
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from capsbench import registry
from capsbench.cell import Cell, flag, spelled
from capsbench.cli.compare import check, compare
from capsbench.data_cli import app as data_app
from capsbench.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_NOTHING_MEASURED,
    EXIT_USAGE,
    Kind,
    NothingMeasured,
    ProcessFailed,
    StorageFailed,
    TrainingFailed,
    UsageError,
)
from capsbench.kernels_cli import app as kernels_app
from capsbench.recipe import default_in_words
from capsbench.report_cli import report
from capsbench.show_cli import show

app = typer.Typer(
    name="capsbench",
    help="What capsule networks are worth: capsules against CNNs of equal size, on accuracy, speed and memory.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(kernels_app)
app.add_typer(data_app)
app.command()(report)
app.command()(compare)
app.command()(check)
app.command()(show)

PANELS = {
    "Data": ["dataset", "train_size", "shift", "warp"],
    "Network": ["network", "size", "routing", "iterations", "loss", "reconstruction", "reconstruction_weight"],
    "Training": [
        "epochs", "batch_size", "optimizer", "learning_rate", "schedule", "decay", "decay_steps", "weight_decay", "clip",
        "patience", "stop_at", "seed",
    ],
    "Measuring and machine": [
        "measures", "precision", "device", "backend", "threads", "channels_last", "fused_optimizer", "compile",
    ],
}  # fmt: skip

OutOption = Annotated[Path, typer.Option("--out", help="Results folder.")]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="Where data sets lie or are downloaded to; else $CAPSBENCH_DATA, else the user's cache."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def with_cell_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command one option a field of the Cell, in place of its ``**asked``: a new field is a new flag."""
    signature = inspect.signature(command, eval_str=True)
    parameters = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    for panel, fields in PANELS.items():
        for field in fields:
            name = "--" + flag(field).replace("_", "-")
            text = f"{Cell.model_fields[field].description}. [dim]Default: {default_in_words(field)}.[/dim]"
            option = typer.Option(name, help=text[0].upper() + text[1:], rich_help_panel=panel, metavar="A,B,...")
            parameters.append(
                inspect.Parameter(
                    flag(field), inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
                )
            )
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


# An option of a network, a routing or a loss is a flag too. Which there are depends on what is run, so it is told later.
@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
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
    from capsbench.store import Store

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
        _say(
            f"{done} of {total} cells on record in {out}"
            + (f", {len(outcome.failed)} failed" if outcome.failed else "")
            + (f"; left out, since they cannot be had here: {', '.join(outcome.left_out)}" if outcome.left_out else "")
        )
    for record in outcome.failed:
        noted = (record.provenance, *record.provenance.get("failed measures", {}).values())
        if any("traceback" in each for each in noted) and not as_json:
            _say(f"the traceback of {record.cell.title}: {Store(out).record_path(record.cell.id)}")
    if outcome.interrupted:
        again = shlex.join(["capsbench", *(part for part in sys.argv[1:] if part != "--fresh")])
        left = f"{len(outcome.left)} cells are left, {len(outcome.trained)} of them trained and only to be measured"
        _say(f"interrupted; {left}; to go on, run the same command again: {again}")
        raise typer.Exit(EXIT_INTERRUPTED)
    if not as_json:
        _say("see them: capsbench report" + ("" if out == Path("results") else f" --out {shlex.quote(str(out))}"))
    if outcome.failed:
        raise typer.Exit(EXIT_FAILED)


@app.command("list")
def list_(
    kind: Annotated[
        str | None, typer.Argument(help="routing, network, baseline, dataset, loss, measure or suite.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What there is: routings, networks, baselines, data sets, losses, measures, suites.

    capsbench list network      shows the options as well, each of them a flag that sweeps: --squash sabour,unit
    """
    from capsbench.suites import describe_suite, suite_names

    kinds = [*registry.BUILT_IN, "suite"]
    if kind is not None and kind not in kinds:
        raise UsageError(Kind.UNKNOWN, flag="KIND", value=kind, expected=kinds)
    found: dict[str, dict[str, str]] = {
        each: {name: describe_suite(name) for name in suite_names()}
        if each == "suite"
        else {
            name: (inspect.getdoc(registry.get(each, name)) or "").partition("\n")[0] for name in registry.names(each)
        }
        for each in ([kind] if kind else kinds)
    }
    if as_json:
        print(json.dumps(found))
        return
    for each, entries in found.items():
        table = Table(title=each, title_justify="left", title_style="bold", show_header=False, box=None)
        table.add_column(no_wrap=True, min_width=16)
        table.add_column()
        for name, text in entries.items():
            table.add_row(f"  {name}", text)
            if kind in ("routing", "network", "baseline", "loss"):
                table.add_row("", f"[dim]{' '.join(_option_names(kind, name)) or '(no options)'}[/dim]")
        _console().print(table)


@app.command()
def env(as_json: JsonOption = False, data_dir: DataOption = None) -> None:
    """This machine and its software, as every record has them, and what runs the vote pass here."""
    import torch

    from capsbench.data.base import data_folder
    from capsbench.provenance import provenance
    from capsbench_kernels import choose_backend

    device = "cuda" if torch.cuda.is_available() else "cpu"
    facts = {**provenance(), "vote pass": choose_backend("auto", device), "data folder": str(data_folder(data_dir))}
    if as_json:
        print(json.dumps(facts))
        return
    for name, value in facts.items():
        _say(f"{name:14} {'-' if value is None else value}")


def main() -> None:
    """The console script: errors that a user can mend end in one line and an exit code of their own."""
    # After each of torch's parallel loops the threads of GNU OpenMP spin for milliseconds, in the way of the vote pass's
    # threads and of other cells. Read when torch is first imported, here and in the processes of the cells.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        code = app(standalone_mode=False)
    except UsageError as error:
        code = _fail(
            error.describe(spelled), EXIT_NOTHING_MEASURED if isinstance(error, NothingMeasured) else EXIT_USAGE
        )
    except StorageFailed as error:
        code = _fail(f"{error}; what was on record stays, and the same command goes on from there", EXIT_FAILED)
    except (KeyboardInterrupt, typer.Abort):
        code = _fail("interrupted", EXIT_INTERRUPTED)
    except (ProcessFailed, TrainingFailed) as error:
        code = _fail(error, EXIT_FAILED)
    except typer.TyperException as error:
        # Without arguments the help has been printed, and there is no message.
        code = _fail(error.format_message(), EXIT_USAGE) if error.format_message() else EXIT_USAGE
    sys.exit(code)


def _fail(message: object, code: int) -> int:
    print(f"capsbench: {message}", file=sys.stderr)
    return code


def _option_names(kind: str, name: str) -> list[str]:
    from capsbench.components import options_of

    return [f"{spelled(option)} {default}" for option, default in options_of(kind, name).items()]


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
    from capsbench.estimate import estimate
    from capsbench.models.build import parameter_count
    from capsbench.store import Store

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
    _console().print(table)
    for dataset, reason in left_out.items():
        _say(f"left out, {dataset}: {reason}")
    about = f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {seconds:.0f} s"
    _say(f"{len(cells)} cells, {len(left)} to run, {about} on this machine (from timed training steps)")


def _console() -> Console:
    # Piped output is not folded at 80 columns: a program or a file has no width.
    return Console() if sys.stdout.isatty() else Console(width=240)


def _say(line: str) -> None:
    print(line)
