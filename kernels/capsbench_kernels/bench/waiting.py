"""Compares how torch's idle threads wait: as a program finds them, and told not to spin before torch is imported.

After a parallel loop, OpenMP's threads spin for a while before they sleep. `passes/cpu/waiting.py` releases them before a pass.
Pairs of processes, one as imported and one with the setting of the environment that a library cannot make, show whether that is
as good: alone on the machine, and beside a process that uses a core.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from capsbench_kernels.bench.check import draw_upstream, training_step
from capsbench_kernels.bench.contenders import make_route
from capsbench_kernels.bench.layers import LAYERS, Case, random_inputs
from capsbench_kernels.bench.processes import print_times, read_plain_environment, run_program, use_core

PASSIVE = {"GOMP_SPINCOUNT": "1000"}
"""The setting compared with: some microseconds of spinning."""

LOADS = ("idle", "busy")
"""A machine that does nothing else, and one on which another process uses a core, at the same priority."""

RESAMPLES = 10_000
"""Number of resamples of a bootstrap interval."""

COLUMNS = ("program", "load", "pair", "threads", "imported_s", "passive_s", "ratio")
"""The columns of a row: medians of both processes of a pair, and the first over the second."""

Row = dict[str, Any]


def compare_waiting(
    programs: Mapping[str, str], *, pairs: int, threads: int | None, say: Callable[[str], None] = lambda _: None
) -> Iterator[Row]:
    """Runs pairs of processes; which of a pair is first alternates.

    Args:
        programs: name -> Python source that prints durations in seconds, such as `describe_case` returns.
        pairs: number of pairs for each program and load.
        threads: torch's threads of the programs, for the rows; None for torch's own.
        say: called with a line about the next step.

    Yields:
        A row, a dict of `COLUMNS`, for each pair.

    Raises:
        RuntimeError: a program failed; with the last line of its errors.
    """
    plain = read_plain_environment()
    environments = {"imported_s": plain, "passive_s": plain | PASSIVE}
    for name, source in programs.items():
        for load in LOADS:
            for pair in range(pairs):
                say(f"{name}, {load}: pair {pair + 1} of {pairs}")
                with use_core() if load == "busy" else nullcontext():
                    order = list(environments) if pair % 2 == 0 else list(reversed(environments))
                    durations = {
                        column: statistics.median(run_program(source, environments[column])) for column in order
                    }
                ratio = durations["imported_s"] / durations["passive_s"]
                row = {"program": name, "load": load, "pair": pair, "threads": threads or torch.get_num_threads()}
                yield row | durations | {"ratio": ratio}


def describe_case(case: Case, seconds: float, threads: int | None) -> str:
    """Returns the source of a program that times forward and backward of a case on the CPU, for `compare_waiting`."""
    layer = case.layer
    sizes = dict(children=layer.children, parents=layer.parents, batch=case.batch, iterations=case.iterations)
    arguments = dict(layer=layer.name, dtype=case.dtype, seconds=seconds, threads=threads) | sizes
    return f"from capsbench_kernels.bench.waiting import time_case; time_case(**{arguments!r})"


def time_case(
    layer: str,
    children: int,
    parents: int,
    batch: int,
    iterations: int,
    dtype: str,
    seconds: float,
    threads: int | None,
) -> None:
    """Prints the times of forward and backward of a case, as the program of `describe_case`."""
    device = torch.device("cpu")
    case = Case(replace(LAYERS[layer], children=children, parents=parents), batch, iterations, dtype)
    inputs = random_inputs(case, device)
    route, upstream, leaves = partial(make_route("cpu"), case), draw_upstream(case, inputs), inputs.requiring_grad()
    print_times(partial(training_step, route, leaves, upstream), seconds, threads, device)


def summarise_pairs(rows: Sequence[Row]) -> list[Row]:
    """Returns a row for each program and load: medians of the times and of the ratio, the latter with a 95 % interval.

    The interval is that of the median of the pairs' ratios over resamples of the pairs.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["program"], row["load"]), []).append(row)
    summaries = []
    for (program, load), members in groups.items():
        ratios = np.array([row["ratio"] for row in members])
        draws = np.random.default_rng(0).choice(ratios, (RESAMPLES, len(ratios)))
        low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
        medians = {column: statistics.median(row[column] for row in members) for column in ("imported_s", "passive_s")}
        summaries.append(
            {"program": program, "load": load, "pairs": len(members), "threads": members[0]["threads"]}
            | medians
            | {"ratio": float(np.median(ratios)), "low": float(low), "high": float(high)}
        )
    return summaries
