"""`capsbench.decide`: runs seeds until one comparison, named beforehand, is decided."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from capsbench.api import OnCount, plan
from capsbench.errors import Kind, UsageError
from capsbench.measures.accuracy.spec import ACCURACY, TEST_ACCURACY
from capsbench.planning.contender_defaults import title_cells
from capsbench.planning.count import MAX_CELLS
from capsbench.planning.defaults import SECONDS_BETWEEN_CHECKPOINTS
from capsbench.planning.matrix import PlannedCell
from capsbench.planning.request import split_values
from capsbench.planning.weights import refuse_given
from capsbench.presenting.format import POINTS, format_interval
from capsbench.presenting.notebook import Displayed, Output
from capsbench.presenting.paired import Pairs, judge_seeds
from capsbench.presenting.words import shorten_name
from capsbench.records.cell import Cell, flag_of
from capsbench.records.store import Store
from capsbench.running.machines import Machines
from capsbench.running.on_record import find_records
from capsbench.running.outcome import Outcome
from capsbench.stats.sequential import LOOKS, Progress, SequentialVerdict

FLAG = "until_decided"


@dataclass(repr=False)
class Decision(Displayed):
    """The outcome of a run that adds seeds.

    Attributes:
        outcome: that of the cells.
        one, other: the titles of the two contenders.
        verdict: the test at the last look, of the accuracy of ``one`` minus that of ``other``.
    """

    outcome: Outcome
    one: str
    other: str
    verdict: SequentialVerdict

    @property
    def interrupted(self) -> bool:
        return self.outcome.interrupted

    @property
    def facts(self) -> dict[str, Any]:
        """What a program is told beside the outcome: the pair and its test, whose numbers are fractions; None if not known."""
        verdict, difference = self.verdict, self.verdict.difference
        numbers = {
            "difference": difference and difference.mean,
            "half": difference and difference.half_at(verdict.level),
            "p": difference and difference.p,
            "level": verdict.level,
        }
        known = {
            name: number if number is not None and math.isfinite(number) else None for name, number in numbers.items()
        }
        pair = {"one": self.one, "other": self.other, "result": str(verdict.progress), "seeds": verdict.seeds}
        return {"decision": {**pair, **known, "next_seeds": verdict.next_seeds}}

    def describe_output(self) -> Output:
        """Returns the result, and the outcome of the cells."""
        outcome = self.outcome.describe_output()
        return replace(outcome, lead=self.describe(), items=[outcome.lead, *outcome.items])

    def describe(self) -> str:
        """Returns the result as a sentence."""
        pair, verdict = f"{self.one} against {self.other}", self.verdict
        if verdict.difference is None:
            return f"{pair}: not tested, {LOOKS[0]} seeds are needed"
        mean, half = 100 * verdict.difference.mean, 100 * verdict.difference.half_at(verdict.level)
        numbers = f"accuracy {format_interval(mean, half, 2, POINTS, '+z')} points after {verdict.seeds} seeds"
        words = {
            Progress.BETTER: "better",
            Progress.WORSE: "worse",
            Progress.UNDECIDED: "undecided: no difference was shown, which does not mean that there is none",
            Progress.CONTINUE: "not decided yet",
        }
        return f"{pair}: {words[verdict.progress]}; {numbers} (an interval of the group-sequential test)"


def decide(
    pair: str | Sequence[str],
    *,
    suite: str | Path | None = None,
    out: str | Path = "results",
    data_dir: str | Path | None = None,
    workers: int | None = None,
    executor: str = "local",
    per_gpu: int = 1,
    cell_timeout: str | float | None = None,
    slurm: Mapping[str, str] | None = None,
    cells_per_job: int | None = None,
    detach: bool = False,
    ray_address: str | None = None,
    checkpoint_seconds: float = SECONDS_BETWEEN_CHECKPOINTS,
    command: str = "capsbench.decide",
    console: Console | None = None,
    max_cells: int = MAX_CELLS,
    on_count: OnCount = lambda count: None,
    **request: Any,
) -> Decision:
    """Runs the cells of a request with 3 seeds, then 5, 8, 12 and 20, until the test accuracies of two contenders differ.

    The test is the group-sequential one of `capsbench.stats.sequential`: equal contenders are called different in 5 % of runs,
    however many looks it takes. All contenders of the request get the same seeds. The same call goes on after an interruption.

    Args:
        pair: two contenders, ``"em,dynamic"`` or ``["em", "matched"]``: names of a routing or a network that one contender of the
            request has.
        request: this and all other arguments are those of `capsbench.run`, without ``seeds``.

    Raises:
        UsageError: nothing was run; the message says what to change.
        StorageFailed: a result could not be written; those written before stay.
    """
    machines = Machines(
        executor, workers, per_gpu, cell_timeout, slurm, cells_per_job, detach, ray_address, checkpoint_seconds
    )
    planned, remarks = plan_looks(
        pair, suite=suite, data_dir=data_dir, max_cells=max_cells, on_count=on_count, **request
    )
    one, other = choose_pair(split_values(pair), [job.cell for job in planned])
    titles = {identity: title.rpartition(", seed ")[0] for identity, title in _title_contenders(planned).items()}
    store = Store(out)
    for look in LOOKS:
        outcome = machines.run_cells(
            [job for job in planned if job.cell.seed < look],
            store,
            remarks if look == LOOKS[0] else (),
            data_dir=data_dir,
            console=console,
            suite=suite,
            command=command,
            note={"decides": [one, other]},
        )
        verdict = judge_pair(store, planned, one, other)
        # A seed that is missing would leave a look with fewer seeds than its level is for.
        is_whole = not (outcome.interrupted or outcome.left or outcome.failed)
        if not is_whole or verdict.progress is not Progress.CONTINUE:
            break
    return Decision(outcome, titles[one], titles[other], verdict)


def plan_looks(
    pair: str | Sequence[str],
    *,
    suite: str | Path | None = None,
    data_dir: str | Path | None = None,
    max_cells: int = MAX_CELLS,
    on_count: OnCount = lambda count: None,
    **request: Any,
) -> tuple[list[PlannedCell], list[str]]:
    """Returns the cells of all looks, and remarks on them; raises UsageError as `decide`."""
    flag = flag_of("seed")
    if any(request.get(name) is not None for name in (flag, "seed", "shard")):
        named = next(name for name in (flag, "seed", "shard") if request.get(name) is not None)
        looks = ", ".join(map(str, LOOKS))
        raise UsageError(Kind.CONFLICT, f"{{flag:{FLAG}}} runs {looks} seeds, as needed", flag=named)
    seeds = list(range(LOOKS[-1]))
    request = {name: value for name, value in request.items() if name != "shard"} | {flag: seeds}
    planned = plan(suite, data_dir, max_cells=max_cells, on_count=on_count, **request)
    refuse_given(planned.cells, f"{{flag:{FLAG}}}")
    choose_pair(split_values(pair), [job.cell for job in planned.cells])
    without = [job.cell for job in planned.cells if ACCURACY not in {spec.partition(":")[0] for spec in job.measures}]
    if without:
        problem = f"decides by the test accuracy, which is not among the measures of {without[0].title}"
        raise UsageError(Kind.CONFLICT, problem, flag=FLAG, expected="add {flag:measure} accuracy")
    left_out = [f"{name} is left out: {reason}" for name, reason in planned.left_out.items()]
    return planned.cells, [*planned.remarks, *left_out]


def choose_pair(names: Sequence[str], cells: Sequence[Cell]) -> tuple[str, str]:
    """Returns the identities of the two contenders that are named; raises UsageError unless each name is that of one of them."""
    if len(names) != 2 or names[0] == names[1]:
        raise UsageError(Kind.INVALID, flag=FLAG, expected="two contenders, A,B", value=",".join(names))
    one, other = (_choose_contender(name, cells) for name in names)
    if one == other:
        problem = "two names of one contender"
        raise UsageError(Kind.INVALID, problem, flag=FLAG, expected="two contenders, A,B", value=",".join(names))
    return one, other


def _choose_contender(name: str, cells: Sequence[Cell]) -> str:
    """Returns the contender whose routing has a name, or that has none and whose network has it."""
    called = {cell.contender: cell.routing or cell.network for cell in cells}
    networks = {cell.contender: cell.network for cell in cells}
    for names in (called, networks):
        found = [identity for identity, own in names.items() if name in (own, shorten_name(own))]
        if len(found) == 1:
            return found[0]
        if found:
            titles = {cell.contender: cell.title.rpartition(", seed ")[0] for cell in cells}
            problem = f"stands for {len(found)} contenders: {'; '.join(titles[identity] for identity in found)}"
            raise UsageError(Kind.AMBIGUOUS, problem, flag=FLAG, value=name, expected="ask for one of them")
    known = sorted({shorten_name(own) for names in (called, networks) for own in names.values()})
    raise UsageError(Kind.UNKNOWN, flag=FLAG, value=name, expected=known)


def judge_pair(store: Store, planned: Sequence[PlannedCell], one: str, other: str) -> SequentialVerdict:
    """Judges two contenders by what is on record of them."""
    records = find_records([job for job in planned if job.cell.contender in (one, other)], store)
    accuracy = {
        cell_id: row.value for cell_id, record in records.items() for row in record.rows if row[:3] == TEST_ACCURACY
    }
    pairs = Pairs(lambda measure, cell_id: store.kept(records[cell_id], measure))
    cells: dict[str, dict[int, str]] = {one: {}, other: {}}
    for job in planned:
        if job.cell.id in accuracy:
            cells[job.cell.contender][job.cell.seed] = job.cell.id
    return judge_seeds(lambda first, second: pairs.difference(first, second, accuracy), cells[one], cells[other])


def _title_contenders(planned: Sequence[PlannedCell]) -> dict[str, str]:
    """Returns contender -> the title of its first cell."""
    cells = {job.cell.contender: job.cell for job in reversed(planned)}
    titles = title_cells(cells.values())
    return {identity: titles[cell.id] for identity, cell in cells.items()}
