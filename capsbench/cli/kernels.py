"""`capsbench kernels`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from capsbench.cli.app import App
from capsbench.cli.options import JsonOption
from capsbench.errors import EXIT_FAILED, EXIT_INTERRUPTED, Kind, NothingMeasured, UsageError
from capsbench.presenting.terminal import make_console

if TYPE_CHECKING:
    import torch

MOST = 1_000_000
"""The largest number that a flag takes; the votes' size then still is a number that torch can hold."""


app = App(
    name="kernels",
    help="The fused routing kernels: how fast they are, and what they compile to.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


def _sweep(what: str) -> typer.models.OptionInfo:
    return typer.Option(help=f"{what}; a comma list is swept.", metavar="A,B,...")


@app.command()
def bench(
    layer: Annotated[
        str, typer.Option(help="Layers of the papers, or all.", metavar="A,B,...")
    ] = "sabour-digitcaps,hinton-convcaps1-small",
    batch: Annotated[str | None, _sweep("Images a batch. [dim]Default: each layer's own[/dim]")] = None,
    children: Annotated[str | None, _sweep("Children a problem. [dim]Default: each layer's own[/dim]")] = None,
    parents: Annotated[str | None, _sweep("Parents a problem. [dim]Default: each layer's own[/dim]")] = None,
    iters: Annotated[str, _sweep("Routing iterations")] = "3",
    dtype: Annotated[str, _sweep("Of poses and weights: float32, bfloat16, float16")] = "float32",
    contenders: Annotated[str, typer.Option(help="Who is timed, or all.", metavar="A,B,...")] = "all",
    threads: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="Torch's threads. [dim]Default: as torch has it[/dim]")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.0, help="How long each contender is timed in each pass, three times at least.")
    ] = 1.0,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    out: Annotated[Path, typer.Option(help="Where the table and the pictures are written.")] = Path("results/kernels"),
    as_json: JsonOption = False,
) -> None:
    """Time the routings at the papers' layers: the usual implementation, torch.compile, each backend of this package.

    Each contender is checked against float64 first; one that routes wrong gets no time, and the exit code is 3.

    capsbench kernels bench

    capsbench kernels bench --layer hinton-convcaps1 --batch 16,32,64 --dtype float32,bfloat16 --device cuda
    """
    # Torch's profiler, which measures memory, would write lines of its own. It reads this when torch is first imported.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    from capsbench.benching import kernels_report
    from capsbench_kernels import bench as kernels

    where = _device(device)
    asked = kernels.cases(
        _names("layer", layer, list(kernels.LAYERS)),
        _counts("batch", batch),
        _counts("children", children),
        _counts("parents", parents),
        _counts("iters", iters) or (),
        _names("dtype", dtype, list(kernels.DTYPES)),
        device=where,
    )
    who = _names("contenders", contenders, list(kernels.CONTENDERS))
    _check_run(threads, seconds, kernels.cores())
    kernels_report.write_partial([], out)  # what cannot be written is said before anything is measured

    facts, rows, interrupted = kernels_report.facts(where.type), [], False
    try:
        for row in kernels.bench(asked, who, device=where, seconds=seconds, threads=threads, say=_progress):
            rows.append(row | facts)
            if row["contender"] == who[-1]:
                kernels_report.write_partial(rows, out)
    except KeyboardInterrupt:
        interrupted = True
    files = kernels_report.write(rows, out, [f"command: `{shlex.join(['capsbench', *sys.argv[1:]])}`"])
    if not rows:
        raise KeyboardInterrupt
    if as_json:
        print(json.dumps(rows))
    else:
        shown = kernels_report.readable(kernels_report.table_of(rows))
        _print_table(list(shown.columns), shown.to_numpy().tolist())
        for line in kernels_report.origin(kernels_report.table_of(rows)):
            print(line)
        print(f"written: {', '.join(map(str, files))}")
    if interrupted:
        print(f"interrupted; the {len(rows)} rows measured until then are in {out}", file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED)
    if kernels_report.defects(rows):
        for line in kernels_report.defects(rows):
            print(f"capsbench: {line}", file=sys.stderr)
        raise typer.Exit(EXIT_FAILED)
    if not any(row["status"] == "ok" for row in rows):
        raise NothingMeasured(
            Kind.MISSING,
            f"none of them could be timed: {rows[0]['status']}",
            flag="contenders",
            value=contenders,
        )


@app.command()
def steps(
    case: Annotated[
        str, typer.Option(help="Networks as ROUTING:SIZE, each in its own network.", metavar="A,B,...")
    ] = "dynamic:paper,em:small",
    batch: Annotated[int, typer.Option(min=1, max=MOST, help="Images a batch.")] = 32,
    iters: Annotated[int, typer.Option(min=1, max=MOST, help="Routing iterations.")] = 3,
    dataset: Annotated[str, typer.Option(help="Whose size of images; the images are random.")] = "mnist",
    threads: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="Torch's threads. [dim]Default: one a core[/dim]")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.0, help="How long each is timed, three steps at least.")] = 5.0,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    out: Annotated[Path, typer.Option(help="Where the table is written.")] = Path("results/steps"),
    as_json: JsonOption = False,
) -> None:
    """Time whole training steps (forward, loss, backward, Adam) beside the same network as it is usually written.

    The usual implementation holds all votes in memory. It gets the same weights and batch, and gradients are compared first:
    where they differ there is no time, and the exit code is 3.

    capsbench kernels steps

    capsbench kernels steps --case em:paper --batch 8
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # as above
    from capsbench.benching import kernels_report
    from capsbench.benching import training_step as training
    from capsbench.benching import training_step_report as tables
    from capsbench_kernels.bench import cores

    _check_run(threads, seconds, cores())
    where = _device(device)
    cells = training.cells_to_bench(
        [each.strip() for each in case.split(",")],
        batch=batch,
        iterations=iters,
        dataset=dataset,
        threads=threads or cores(),
        device=where.type,
    )
    facts = kernels_report.facts(where.type)
    rows = [row | facts for row in training.bench_steps(cells, seconds=seconds, say=_progress)]
    files = tables.write(rows, out, [f"command: `{shlex.join(['capsbench', *sys.argv[1:]])}`"])
    if as_json:
        print(json.dumps(rows))
    else:
        shown = tables.readable(tables.table_of(rows))
        _print_table(list(shown.columns), shown.to_numpy().tolist())
        for line in tables.origin(tables.table_of(rows)):
            print(line)
        print(f"written: {', '.join(map(str, files))}")
    defects = [f"{row['network']}: {row['contender']}: {row['status']}" for row in rows if row["status"] != "ok"]
    for line in defects:
        print(f"capsbench: {line}", file=sys.stderr)
    if defects:
        raise typer.Exit(EXIT_FAILED)


@app.command("compile")
def compile_(
    target: Annotated[str, typer.Option(help="Compute capabilities.", metavar="A,B,...")] = "80,90",
    as_json: JsonOption = False,
) -> None:
    """Compile every Triton kernel ahead of time, without a GPU: registers, stack, shared memory and spills of each.

    The exit code is 3 where a default configuration spills registers.
    """
    targets = _counts("target", target) or ()
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
    except RuntimeError as error:  # what the compiler needs is missing or set against it
        raise UsageError(Kind.MISSING, str(error), value="kernels compile") from error
    resources = [asdict(each) for each in compiled]
    if as_json:
        print(json.dumps(resources))
    elif resources:
        _print_table(list(resources[0]), [[str(value) for value in each.values()] for each in resources])
    spilling = [each for each in compiled if each.spilled]
    for each in spilling:
        named = f"{each.kernel} ({each.configuration}) on sm_{each.target}"
        print(f"capsbench: {named} spills registers, with {each.stack} bytes of stack", file=sys.stderr)
    if spilling:
        raise typer.Exit(EXIT_FAILED)


def _check_run(threads: int | None, seconds: float, cores: int) -> None:
    """Raises UsageError for more threads than cores, or for a duration that is none."""
    if threads is not None and threads > cores:
        raise UsageError(
            Kind.INVALID, flag="threads", expected=f"1 to {cores}, the cores of this machine", value=threads
        )
    if not 0 < seconds < math.inf:
        raise UsageError(Kind.INVALID, flag="seconds", expected="a number above 0", value=seconds)


def _names(flag: str, text: str, known: list[str]) -> list[str]:
    """The names of a comma list, each of ``known``; ``all`` stands for all of them."""
    if text.strip() == "all":
        return known
    names = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in known:
            raise UsageError(Kind.UNKNOWN, flag=flag, value=name, expected=[*known, "all"])
    return names


def _counts(flag: str, text: str | None) -> list[int] | None:
    """The numbers of a comma list; None where the flag was not given."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 0 < int(part) <= MOST for part in parts):
        raise UsageError(
            Kind.INVALID, flag=flag, expected=f"whole numbers from 1 to {MOST:,}, separated by commas", value=text
        )
    return list(dict.fromkeys(int(part) for part in parts))


def _device(name: str) -> torch.device:
    import torch

    known = ["auto", "cpu", "cuda"]
    if name not in known:
        raise UsageError(Kind.UNKNOWN, flag="device", value=name, expected=known)
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            Kind.MISSING, "torch finds no CUDA device here", flag="device", value=name, expected="cpu would do"
        )
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def _progress(line: str) -> None:
    # Plain lines, on a terminal too: a moving bar would take time from what is timed.
    print(line, file=sys.stderr, flush=True)


def _print_table(headings: list[str], lines: list[list[str]]) -> None:
    table = Table(*headings, box=None, pad_edge=False)
    for line in lines:
        table.add_row(*line)
    make_console().print(table)
