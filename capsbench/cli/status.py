"""`capsbench status`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.table import Table
from rich.text import Text

from capsbench.cli.console import print_warning
from capsbench.cli.flags.options import JsonOption, OutOption
from capsbench.planning.request import spell_flag
from capsbench.presenting.terminal import PlainConsole, make_console, to_one_line

if TYPE_CHECKING:
    from capsbench.pruning import Size
    from capsbench.watching import RunningCell, Status, Watch

SECONDS_BETWEEN_LOOKS = 5.0
"""Half of the time between two heartbeats of a running cell."""

MOST_RUNNING, MOST_FAILED = 30, 10
"""The most cells that are listed on the terminal; ``--json`` has all."""

STATES = {
    "finished": "finished",
    "trained": "trained and to be measured",
    "running": "running",
    "waiting": "waiting",
    "failed": "failed",
}
"""State of a cell -> its name in the line of counts."""


def status(
    out: OutOption = Path("results"),
    last: Annotated[
        bool, typer.Option("--last", help="Only the cells of the latest run, not those of all runs.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every few seconds, until nothing is left to do.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show which cells are finished, running, waiting or failed, and the size of the folder; from any shell or machine.

    capsbench status --out results --watch

    capsbench status --last --json
    """
    from capsbench.watching import Watch

    folder = Watch(out, last=last)
    if not watch:
        _print_status(folder.look(), as_json)
    elif as_json:
        for state in _look_until_end(folder):
            _print_status(state, as_json)
    elif (console := make_console()).is_terminal:
        _watch_live(folder, console)
    else:
        _watch_plainly(folder)


def _look_until_end(folder: Watch) -> Iterator[Status]:
    while not (state := folder.look()).has_ended:
        yield state
        time.sleep(SECONDS_BETWEEN_LOOKS)
    yield state


def _watch_live(folder: Watch, console: PlainConsole) -> None:
    """Redraws the state in place."""
    with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        for state in _look_until_end(folder):
            live.update(Group(*_draw_status(state)), refresh=True)


def _watch_plainly(folder: Watch) -> None:
    """Prints the line of counts when it changes, and the whole state at the end."""
    before = None
    for state in _look_until_end(folder):
        if state.has_ended:
            _print_status(state, as_json=False)
        elif state.counts != before:
            print(_describe_counts(state), flush=True)
            before = state.counts


def _print_status(state: Status, as_json: bool) -> None:
    if as_json:
        facts = {**asdict(state), "counts": state.counts, "total": sum(state.counts.values())}
        print(json.dumps(facts), flush=True)
        return
    for fault in state.faults:
        print_warning(fault)
    console = make_console()
    for part in _draw_status(state):
        console.print(part, soft_wrap=isinstance(part, Text))


def _draw_status(state: Status) -> Iterator[RenderableType]:
    """Yields the lines and the table of a state."""
    yield Text(_describe_counts(state))
    if state.running:
        yield _draw_running(state.running[:MOST_RUNNING])
        yield from _describe_rest(len(state.running) - MOST_RUNNING, "running")
    for cell in state.lost[:MOST_FAILED]:
        title = to_one_line(cell.title or cell.cell)
        yield Text(f"lost: {title}: process {cell.process} of {to_one_line(cell.host)} has ended; the next run goes on")
    yield from _describe_rest(len(state.lost) - MOST_FAILED, "lost")
    for failed in state.failed[:MOST_FAILED]:
        yield Text(f"failed: {to_one_line(failed.title)}: {to_one_line(failed.reason)}")
    yield from _describe_rest(len(state.failed) - MOST_FAILED, "failed")
    yield Text(f"size: {_describe_sizes(state.sizes)}")
    if state.prunable:
        yield Text(f"`capsbench prune` may free {_describe_sizes(state.prunable)}")


def _describe_counts(state: Status) -> str:
    counts = ", ".join(f"{count} {STATES[name]}" for name, count in state.counts.items() if count)
    runs = "1 run" if state.runs == 1 else f"{state.runs} runs"
    left = "" if state.seconds_left is None else f"; about {_spell_seconds(state.seconds_left)} left"
    return to_one_line(f"{state.folder}, {runs}, {sum(state.counts.values())} cells: {counts}{left}")


def _draw_running(cells: Sequence[RunningCell]) -> Table:
    table = Table("running", "where", "doing", "epoch", "loss", "validation", "left", box=None, pad_edge=False)
    for cell in cells:
        share = "" if cell.done is None else f" {cell.done:.0%}"
        table.add_row(
            to_one_line(cell.title or cell.cell),
            f"{to_one_line(cell.host)} {cell.process}",
            f"{to_one_line(cell.doing)}{share}",
            "" if cell.epoch is None else f"{cell.epoch} of {cell.epochs}",
            "" if cell.loss is None else f"{cell.loss:.3g}",
            to_one_line(cell.validation),
            "" if cell.seconds_left is None else f"about {_spell_seconds(cell.seconds_left)}",
        )
    return table


def _describe_rest(count: int, state: str) -> Iterable[Text]:
    return [Text(f"... and {count} more {state}; {spell_flag('json')} has all")] if count > 0 else []


def _describe_sizes(sizes: dict[str, Size]) -> str:
    parts = [f"{name} {decimal(size.bytes)}" for name, size in sizes.items() if size.files]
    return ", ".join([*parts, f"together {decimal(sum(size.bytes for size in sizes.values()))}"])


def _spell_seconds(seconds: float) -> str:
    """Returns ``40 s``, ``12 min``, ``5.2 h`` or ``3.1 days``."""
    for limit, unit, length, digits in ((90, "s", 1, 0), (90 * 60, "min", 60, 0), (36 * 3600, "h", 3600, 1)):
        if seconds < limit:
            return f"{seconds / length:.{digits}f} {unit}"
    return f"{seconds / 86400:.1f} days"
