"""Times the routings: this package's backends against the usual implementation, at the shapes of the papers' layers.

    rows = list(bench(build_cases(["sabour-digitcaps"], device=device), device=device))

Each contender is checked first, at the shapes that are then timed (`check.py`): a wrong one gets no time. The contenders take
turns (`measure.py`). Each time is compared with the floor of the arithmetic and of the bytes (`floor.py`), at the peaks that
this machine reached in the same run. `bench` yields tidy rows, one a contender and pass.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from capsbench_kernels.bench.check import (
    Expected,
    Verdict,
    check_both,
    check_forward,
    compute_expected,
    draw_upstream,
    training_step,
)
from capsbench_kernels.bench.contenders import BASELINE, CONTENDERS, Contender, Run
from capsbench_kernels.bench.floor import Peaks, compute_floor
from capsbench_kernels.bench.layers import DTYPES, LAYERS, Case, Inputs, Layer, build_cases, random_inputs
from capsbench_kernels.bench.measure import (
    Failure,
    count_cores,
    measure_peaks,
    name_failures,
    peak_memory,
    release_memory,
    set_threads,
    time_interleaved,
)

__all__ = [
    "BASELINE",
    "COLUMNS",
    "CONTENDERS",
    "DTYPES",
    "LAYERS",
    "PASSES",
    "Case",
    "Contender",
    "Layer",
    "bench",
    "build_cases",
    "count_cores",
]

FORWARD, BOTH = "forward", "forward+backward"
PASSES = (FORWARD, BOTH)
"""The passes timed: outputs without a graph, as in inference; outputs and the gradients of all trained tensors."""

COLUMNS = (
    *(
        "layer",
        "routing",
        "batch",
        "problems",
        "children",
        "parents",
        "rows",
        "depth",
        "columns",
        "iterations",
        "dtype",
    ),
    *("contender", "pass", "status", "error", "median_s", "p20_s", "p80_s", "n", "ratio", "peak_bytes"),
    *("peak_bytes_floor", "bytes_floor", "flops_floor", "floor_s", "floor_fraction", "compile_s"),
    *("peak_flops_per_s", "peak_bytes_per_s"),
    *("python", "torch", "triton", "numba", "device", "threads"),
)
"""The columns of a row.

``error`` is the largest error of the check, ``ratio`` the median over that of `BASELINE`. ``peak_bytes`` is beyond the inputs,
and its floor the results. ``bytes_floor`` counts the bytes that must move. ``floor_s`` is the longer time of bytes and
operations at the machine's peaks, ``floor_fraction`` its share of the median, ``compile_s`` the time of the first call.
"""

Row = dict[str, Any]


@dataclass
class _Entry:
    """A contender in one case, and its results so far, by pass."""

    contender: Contender
    run: Run
    status: dict[str, str] = field(default_factory=lambda: dict.fromkeys(PASSES, "ok"))
    error: dict[str, float | None] = field(default_factory=dict)
    compile_s: dict[str, float] = field(default_factory=dict)
    peak: dict[str, int] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)

    def disqualify(self, status: str) -> None:
        """Sets the status of both passes, which then get no time."""
        self.status = dict.fromkeys(PASSES, status)


def bench(
    cases: Sequence[Case],
    contenders: Sequence[str] = tuple(CONTENDERS),
    *,
    device: torch.device,
    seconds: float = 1.0,
    threads: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Row]:
    """Checks and times contenders; yields the rows of a pass once all contenders have run it.

    Args:
        cases: see `capsbench_kernels.bench.build_cases`.
        contenders: names of `CONTENDERS`.
        seconds: how long each contender is timed in each pass; a slow one at least three times.
        threads: torch's threads; unchanged if None.
        say: called with a line about the next step.

    Yields:
        One row, a dict of `COLUMNS`, for each case, contender and pass. Its ``status`` is ``ok``, or says why there is no time:
        ``wrong: ...`` or ``failed: ...``, which are defects; ``out of memory``; ``unavailable: ...`` on this device;
        ``skipped: ...`` where torch.compile failed.
    """
    with set_threads(threads):
        say("measuring the peaks of the machine")
        peaks = measure_peaks(device)
        facts = _list_versions() | {"device": device.type, "threads": torch.get_num_threads()}
        for case in cases:
            for row in _bench_case(case, [CONTENDERS[name] for name in contenders], device, seconds, peaks, say):
                yield row | facts


def _bench_case(
    case: Case,
    contenders: Sequence[Contender],
    device: torch.device,
    seconds: float,
    peaks: Peaks,
    say: Callable[[str], None],
) -> Iterator[Row]:
    if any(contender.compiled for contender in contenders):
        # Each case is compiled for its own shapes. Without this, torch would silently fall back to eager code after eight.
        torch.compiler.reset()
    entries = [_Entry(contender, contender.prepare_run(case)) for contender in contenders]
    try:
        with name_failures(device):
            inputs = random_inputs(case, device)
            truth = compute_expected(case, inputs)
    except Failure as failure:
        for entry in entries:
            entry.disqualify(str(failure))
        yield from (row for pass_ in PASSES for row in _make_rows(case, pass_, entries, peaks))
        return
    for entry in entries:
        if (reason := entry.contender.find_obstacle(device)) is not None:
            entry.disqualify(f"unavailable: {reason}")
            continue
        say(f"{case.title}: checking {entry.contender.name}")
        _check_entry(entry, inputs, truth, device)

    upstream, leaves = draw_upstream(case, inputs), inputs.requiring_grad()
    for pass_ in PASSES:
        say(f"{case.title}: timing {pass_}")
        runs: dict[str, Callable[[], Any]] = {}
        for entry in entries:
            if entry.status[pass_] != "ok":
                continue
            run = (
                partial(torch.no_grad()(entry.run), inputs)
                if pass_ == FORWARD
                else partial(training_step, entry.run, leaves, upstream)
            )
            try:
                with name_failures(device):
                    entry.peak[pass_] = peak_memory(run, device)
                runs[entry.contender.name] = run
            except Failure as failure:
                entry.status[pass_] = str(failure)
                release_memory(device)
        times, failed = time_interleaved(runs, seconds, device)
        for entry in entries:
            name = entry.contender.name
            if name in failed:
                entry.status[pass_] = failed[name]
            elif name in times:
                entry.times[pass_] = times[name]
        yield from _make_rows(case, pass_, entries, peaks)


def _check_entry(entry: _Entry, inputs: Inputs, truth: Expected, device: torch.device) -> None:
    """Compares a contender with the truth in both passes, which also warms it up and compiles it."""
    checks: dict[str, Callable[[Run, Inputs, Expected], Verdict]] = {FORWARD: check_forward, BOTH: check_both}
    for pass_, check in checks.items():
        begin = time.perf_counter()
        try:
            with name_failures(device), warnings.catch_warnings():
                if entry.contender.compiled:
                    warnings.simplefilter("ignore")  # advice about compiling, such as on TF32
                verdict = check(entry.run, inputs, truth)
        except Failure as failure:
            release_memory(device)
            if failure.reason is None:
                entry.status[pass_] = str(failure)
                continue
            # If the eager code runs and torch.compile fails, the fault is not the contender's.
            skipped = entry.contender.compiled
            entry.disqualify(f"skipped: torch.compile: {failure.reason}" if skipped else str(failure))
            return
        entry.error[pass_] = verdict.error
        if entry.contender.compiled:
            entry.compile_s[pass_] = time.perf_counter() - begin
        if verdict.complaint is not None:
            entry.disqualify(f"wrong: {verdict.complaint}")
            return


def _make_rows(case: Case, pass_: str, entries: Sequence[_Entry], peaks: Peaks) -> Iterator[Row]:
    least = compute_floor(case, backward=pass_ == BOTH)
    medians = {e.contender.name: statistics.median(e.times[pass_]) for e in entries if e.times.get(pass_)}
    for entry in entries:
        name = entry.contender.name
        row = dict.fromkeys(COLUMNS) | _describe_case(case)
        row |= {"contender": name, "pass": pass_, "status": entry.status[pass_], "error": entry.error.get(pass_)}
        row |= {"compile_s": entry.compile_s.get(pass_), "bytes_floor": least.bytes, "flops_floor": least.flops}
        row |= {"floor_s": least.seconds_at(peaks), "peak_bytes_floor": least.held}
        row |= {"peak_flops_per_s": peaks.flops, "peak_bytes_per_s": peaks.bandwidth}
        if name in medians:
            row |= _summarise_times(entry.times[pass_]) | {"peak_bytes": entry.peak[pass_]}
            row |= {"ratio": medians[name] / medians[BASELINE] if BASELINE in medians else None}
            row |= {"floor_fraction": least.seconds_at(peaks) / medians[name]}
        yield row


def _describe_case(case: Case) -> Row:
    layer = case.layer
    shape = {name: getattr(layer, name) for name in ("children", "parents", "rows", "depth", "columns")}
    named: Mapping[str, Any] = {"layer": layer.name, "routing": layer.routing, "batch": case.batch}
    return {**named, "problems": case.problems, **shape, "iterations": case.iterations, "dtype": case.dtype}


def _summarise_times(times: list[float]) -> Row:
    p20, *_, p80 = statistics.quantiles(times, n=5, method="inclusive")
    return {"median_s": statistics.median(times), "p20_s": p20, "p80_s": p80, "n": len(times)}


def _list_versions() -> Row:
    versions: Row = {"python": sys.version.split()[0], "torch": torch.__version__}
    for name in ("triton", "numba"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions
