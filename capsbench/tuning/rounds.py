"""A round of a search: cells that are run together, before anything is decided by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from capsbench.data.base import data_folder
from capsbench.planning.defaults import SECONDS_BETWEEN_CHECKPOINTS
from capsbench.planning.matrix import PlannedCell
from capsbench.presenting.notebook import Output
from capsbench.presenting.terminal import make_console
from capsbench.records.store import Store
from capsbench.running.machines import Machines
from capsbench.running.outcome import Outcome
from capsbench.running.progress import make_progress

RunCells = Callable[[Sequence[PlannedCell], Store, Sequence[str]], Outcome]
"""(cells, results folder, remarks) -> the outcome of their run."""


def make_run_cells(
    machines: Machines,
    data_dir: str | Path | None,
    *,
    command: str,
    console: Console | None = None,
    checkpoint_seconds: float = SECONDS_BETWEEN_CHECKPOINTS,
    suite: str | Path | None = None,
) -> RunCells:
    """Returns the function that runs the cells of a search on some machines.

    Args:
        machines: where the cells run.
        data_dir, command, console, checkpoint_seconds, suite: as in `capsbench.run`.
    """

    def run_cells(planned: Sequence[PlannedCell], store: Store, remarks: Sequence[str]) -> Outcome:
        with make_progress(console or make_console(stderr=True)) as progress:
            return machines.make_runner(
                planned,
                store,
                data_folder(data_dir),
                progress,
                checkpoint_seconds=checkpoint_seconds,
                command=command,
                suite=None if suite is None else str(suite),
                remarks=remarks,
            ).run()

    return run_cells


def describe_search(trials: Outcome, results: Outcome | None, items: Sequence[str]) -> Output:
    """Returns what a notebook shows of a search: the outcome of its results, or of its trials if these are not finished."""
    output = (trials if results is None else results).describe_output()
    lead = f"trials: {output.lead}" if results is None else output.lead
    return replace(output, lead=lead, items=[*items, *output.items])


def remove_weights(store: Store) -> None:
    """Removes the weights of trials: these are judged by their records, and the networks of all would fill a disk."""
    for path in store.folder.glob("weights/*.safetensors"):
        path.unlink(missing_ok=True)
