"""`capsbench kernels`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.table import Table

from capsbench.cli.flags.options import JsonOption
from capsbench.cli.shell.app import App
from capsbench.errors import EXIT_FAILED, EXIT_INTERRUPTED, Kind, NothingMeasured, UsageError
from capsbench.presenting.terminal import make_console

if TYPE_CHECKING:
    import torch

LARGEST = 1_000_000
"""The largest number that a flag accepts, so that the size of the votes still fits in torch's integers."""


app = App(
    name="kernels",
    help="Benchmark and compile the fused routing kernels.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


WaitingOption = Annotated[
    bool,
    typer.Option(
        "--waiting",
        help="Instead, compare how torch's idle threads wait: pairs of processes, as imported and told not to spin, on an idle "
        "machine and beside a process that uses a core.",
    ),
]

PairsOption = Annotated[int, typer.Option(min=1, max=LARGEST, help="Pairs of processes with [bold]--waiting[/bold].")]


def _declare_sweep(text: str) -> typer.models.OptionInfo:
    return typer.Option(help=f"{text}; a comma list is a sweep.", metavar="A,B,...")


@app.command()
def bench(
    layer: Annotated[
        str, typer.Option(help="Layers of the papers, or all.", metavar="A,B,...")
    ] = "sabour-digitcaps,hinton-convcaps1-small",
    batch: Annotated[str | None, _declare_sweep("Images a batch, [dim]by default the layer's own[/dim]")] = None,
    children: Annotated[
        str | None, _declare_sweep("Child capsules a problem, [dim]by default the layer's own[/dim]")
    ] = None,
    parents: Annotated[
        str | None, _declare_sweep("Parent capsules a problem, [dim]by default the layer's own[/dim]")
    ] = None,
    iters: Annotated[str, _declare_sweep("Routing iterations")] = "3",
    dtype: Annotated[str, _declare_sweep("Type of poses and weights: float32, bfloat16 or float16")] = "float32",
    contenders: Annotated[str, typer.Option(help="Implementations to time, or all.", metavar="A,B,...")] = "all",
    threads: Annotated[
        int | None, typer.Option(min=1, max=LARGEST, help="Threads of torch. [dim]Default: torch's own[/dim]")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.0, help="Seconds of timing for each contender and pass; at least three runs.")
    ] = 1.0,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    waiting: WaitingOption = False,
    pairs: PairsOption = 10,
    out: Annotated[Path, typer.Option(help="Output folder for the table and figures.")] = Path("results/kernels"),
    as_json: JsonOption = False,
) -> None:
    """Time the routings at layers of papers: the usual implementation, torch.compile, and each backend of this package.

    Each contender is first checked against float64. A wrong one is not timed, and the exit code is 3.

    capsbench kernels bench

    capsbench kernels bench --layer hinton-convcaps1 --batch 16,32,64 --dtype float32,bfloat16 --device cuda

    capsbench kernels bench --waiting
    """
    # Else torch's profiler, which measures memory, writes lines to stderr. It reads this when torch is first imported.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    from capsbench.benching import kernels_report
    from capsbench_kernels import bench as kernels

    target = _choose_device(device)
    asked = kernels.build_cases(
        _parse_names("layer", layer, list(kernels.LAYERS)),
        _parse_counts("batch", batch),
        _parse_counts("children", children),
        _parse_counts("parents", parents),
        _parse_counts("iters", iters) or (),
        _parse_names("dtype", dtype, list(kernels.DTYPES)),
        device=target,
    )
    who = _parse_names("contenders", contenders, list(kernels.CONTENDERS))
    _check_run(threads, seconds, kernels.count_cores())
    if waiting:
        from capsbench_kernels.bench.waiting import describe_case

        _compare_waiting(
            {case.title: describe_case(case, seconds, threads) for case in asked}, pairs, threads, out, as_json
        )
        return
    kernels_report.write_partial([], out)  # fails before anything is measured, if the folder cannot be written

    facts, rows, interrupted = kernels_report.read_facts(target.type), [], False
    try:
        for row in kernels.bench(asked, who, device=target, seconds=seconds, threads=threads, say=_print_progress):
            rows.append(row | facts)
            if row["contender"] == who[-1]:
                kernels_report.write_partial(rows, out)
    except KeyboardInterrupt:
        interrupted = True
    files = kernels_report.write_report(rows, out, [f"command: `{shlex.join(['capsbench', *sys.argv[1:]])}`"])
    if not rows:
        raise KeyboardInterrupt
    _print_rows(kernels_report, rows, files, as_json)
    if interrupted:
        _end_interrupted(rows, out)
    if kernels_report.list_defects(rows):
        for line in kernels_report.list_defects(rows):
            print(f"capsbench: {line}", file=sys.stderr)
        raise typer.Exit(EXIT_FAILED)
    if not any(row["status"] == "ok" for row in rows):
        raise NothingMeasured(
            Kind.MISSING,
            f"none could be timed: {rows[0]['status']}",
            flag="contenders",
            value=contenders,
        )


@app.command()
def steps(
    case: Annotated[
        str, typer.Option(help="Cases as ROUTING:SIZE; each routing in its default network.", metavar="A,B,...")
    ] = "dynamic:paper,em:small",
    batch: Annotated[int, typer.Option(min=1, max=LARGEST, help="Images a batch.")] = 32,
    iters: Annotated[int, typer.Option(min=1, max=LARGEST, help="Routing iterations.")] = 3,
    dataset: Annotated[str, typer.Option(help="Data set that sets the image size; the images are random.")] = "mnist",
    threads: Annotated[
        int | None, typer.Option(min=1, max=LARGEST, help="Threads of torch. [dim]Default: one a core[/dim]")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.0, help="Seconds of timing for each network, over all rounds.")] = 5.0,
    rounds: Annotated[
        int,
        typer.Option(min=1, max=LARGEST, help="Processes of each network, which takes at least three steps in each."),
    ] = 3,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    busy: Annotated[bool, typer.Option("--busy", help="Time beside a process that uses a core.")] = False,
    waiting: WaitingOption = False,
    pairs: PairsOption = 10,
    out: Annotated[Path, typer.Option(help="Output folder for the table.")] = Path("results/steps"),
    as_json: JsonOption = False,
) -> None:
    """Time whole training steps (forward, loss, backward, Adam) against the usual implementation of the same network.

    The usual implementations hold all votes in memory: `broadcast` multiplies tiny matrices, a vote at a time, and `einsum`, of
    dynamic routing, is the layout of readable_capsnet. `none` has no routing and bounds what a faster one can reach. All get the
    same weights and batch, and take turns, each in processes of its own. One whose gradients differ from those of `broadcast`
    is not timed, and the exit code is 3.

    capsbench kernels steps

    capsbench kernels steps --case em:paper --batch 8
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # as in `bench`
    from capsbench.benching import kernels_report
    from capsbench.benching import training_step as training
    from capsbench.benching import training_step_report as tables
    from capsbench_kernels.bench import count_cores

    _check_run(threads, seconds, count_cores())
    target = _choose_device(device)
    cells = training.cells_to_bench(
        [name.strip() for name in case.split(",")],
        batch=batch,
        iterations=iters,
        dataset=dataset,
        threads=threads or count_cores(),
        device=target.type,
    )
    if waiting:
        if busy:
            raise UsageError(Kind.CONFLICT, "compares both loads", flag="waiting", expected="leave out {flag:busy}")
        programs = {training.describe_cell(cell): training.describe_program(cell, seconds) for cell in cells}
        _compare_waiting(programs, pairs, threads or count_cores(), out, as_json)
        return
    facts = kernels_report.read_facts(target.type)
    timed = training.bench_steps(cells, seconds=seconds, rounds=rounds, busy=busy, say=_print_progress)
    rows, interrupted = list[dict[str, Any]](), False
    try:
        rows.extend(row | facts for row in timed)
    except KeyboardInterrupt:
        interrupted = True
    if not rows:
        raise KeyboardInterrupt
    files = tables.write_report(rows, out, [f"command: `{shlex.join(['capsbench', *sys.argv[1:]])}`"])
    _print_rows(tables, rows, files, as_json)
    if interrupted:
        _end_interrupted(rows, out)
    defects = [f"{row['network']}: {row['contender']}: {row['status']}" for row in rows if row["status"] != "ok"]
    for line in defects:
        print(f"capsbench: {line}", file=sys.stderr)
    if defects:
        raise typer.Exit(EXIT_FAILED)


@app.command("compile")
def compile_(
    target: Annotated[str, typer.Option(help="Compute capabilities of GPUs.", metavar="A,B,...")] = "80,90",
    as_json: JsonOption = False,
) -> None:
    """Compile every Triton kernel without a GPU, and list its registers, stack, shared memory and spills.

    The exit code is 3 if a default configuration spills registers.
    """
    targets = _parse_counts("target", target) or ()
    try:
        from capsbench_kernels.passes.triton.compile import TARGETS, compile_kernels
    except ImportError as error:
        problem = f"needs the package {error.name}, which is not installed"
        raise UsageError(Kind.MISSING, problem, value="kernels compile") from error
    for capability in targets:
        if capability not in TARGETS:
            expected = f"a compute capability of {', '.join(map(str, TARGETS))}"
            raise UsageError(Kind.INVALID, flag="target", expected=expected, value=capability)
    try:
        compiled = compile_kernels(targets)
    except RuntimeError as error:  # a part of the compiler is missing or disabled
        raise UsageError(Kind.MISSING, str(error), value="kernels compile") from error
    resources = [asdict(kernel) for kernel in compiled]
    if as_json:
        print(json.dumps(resources))
    elif resources:
        _print_table(list(resources[0]), [[str(value) for value in row.values()] for row in resources])
    spilling = [kernel for kernel in compiled if kernel.spilled]
    for kernel in spilling:
        name = f"{kernel.kernel} ({kernel.configuration}) on sm_{kernel.target}"
        print(f"capsbench: {name} spills registers, with {kernel.stack} bytes of stack", file=sys.stderr)
    if spilling:
        raise typer.Exit(EXIT_FAILED)


def _print_rows(tables: ModuleType, rows: list[dict[str, Any]], files: list[Path], as_json: bool) -> None:
    """Prints rows as JSON, or as the table of a module of `capsbench.benching` with its origin and the files written."""
    if as_json:
        print(json.dumps(rows))
        return
    table = tables.build_table(rows)
    readable = tables.to_readable(table)
    _print_table(list(readable.columns), readable.to_numpy().tolist())
    for line in tables.describe_origin(table):
        print(line)
    print(f"written: {', '.join(map(str, files))}")


def _end_interrupted(rows: list[dict[str, Any]], out: Path) -> NoReturn:
    """Says where the rows until an interruption are, and ends the command."""
    print(f"interrupted; the {len(rows)} rows measured so far are in {out}", file=sys.stderr)
    raise typer.Exit(EXIT_INTERRUPTED)


def _compare_waiting(programs: dict[str, str], pairs: int, threads: int | None, out: Path, as_json: bool) -> None:
    """Runs pairs of processes for `--waiting`, and writes and prints their comparison."""
    from capsbench.benching import kernels_report, waiting_report
    from capsbench_kernels.bench.waiting import compare_waiting

    facts, rows = kernels_report.read_facts("cpu"), list[dict[str, Any]]()
    notes = [f"command: `{shlex.join(['capsbench', *sys.argv[1:]])}`"]
    waiting_report.write_pairs(rows, out)  # fails before anything is measured, if the folder cannot be written
    try:
        for row in compare_waiting(programs, pairs=pairs, threads=threads, say=_print_progress):
            rows.append(row | facts)
            files = waiting_report.write_report(rows, out, notes)
    except RuntimeError as error:
        print(f"capsbench: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_FAILED) from None
    except KeyboardInterrupt:
        print(f"interrupted; the pairs measured so far ({len(rows)}) are in {out}", file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        print(json.dumps(rows))
        return
    readable = waiting_report.to_readable(rows)
    _print_table(list(readable.columns), readable.to_numpy().tolist())
    print(f"written: {', '.join(map(str, files))}")


def _check_run(threads: int | None, seconds: float, cores: int) -> None:
    """Raises UsageError for more threads than cores, or for a duration that is none."""
    if threads is not None and threads > cores:
        raise UsageError(
            Kind.INVALID, flag="threads", expected=f"1 to {cores}, the cores of this machine", value=threads
        )
    if not 0 < seconds < math.inf:
        raise UsageError(Kind.INVALID, flag="seconds", expected="a number above 0", value=seconds)


def _parse_names(flag: str, text: str, known: list[str]) -> list[str]:
    """Parses a comma list of known names; ``all`` means all of them."""
    if text.strip() == "all":
        return known
    names = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in known:
            raise UsageError(Kind.UNKNOWN, flag=flag, value=name, expected=[*known, "all"])
    return names


def _parse_counts(flag: str, text: str | None) -> list[int] | None:
    """Parses a comma list of numbers; None if the flag was not given."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 0 < int(part) <= LARGEST for part in parts):
        raise UsageError(
            Kind.INVALID, flag=flag, expected=f"whole numbers from 1 to {LARGEST:,}, separated by commas", value=text
        )
    return list(dict.fromkeys(int(part) for part in parts))


def _choose_device(name: str) -> torch.device:
    import torch

    known = ["auto", "cpu", "cuda"]
    if name not in known:
        raise UsageError(Kind.UNKNOWN, flag="device", value=name, expected=known)
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(Kind.MISSING, "torch finds no CUDA device", flag="device", value=name, expected="use cpu")
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def _print_progress(line: str) -> None:
    # Plain lines even on a terminal, since a moving bar would disturb the timing.
    print(line, file=sys.stderr, flush=True)


def _print_table(headings: list[str], lines: list[list[str]]) -> None:
    table = Table(*headings, box=None, pad_edge=False)
    for line in lines:
        table.add_row(*line)
    make_console().print(table)
