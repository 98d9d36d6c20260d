"""Cells in, commands out; and from the commands, as the command line reads them, the same cells again."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from capsbench.api import cells
from capsbench.cli.run import _flags, _options
from capsbench.networks.build import parameter_count
from capsbench.planning.suites import suite_names
from capsbench.records.cell import Cell
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from capsbench.reporting.again import Again, grouped
from capsbench.reporting.rerun import commands

REFERENCE = Path(__file__).parents[2] / "results" / "reference"

OWN = """
from capsbench.routing.uniform import UniformRouting

class Mine(UniformRouting):
    iterative = True

    def __init__(self, children, parents, *, iterations=2, backend="auto", sharpness=1.0, mode="soft"):
        super().__init__(children, parents, iterations=iterations, backend=backend)
"""


def records_of(cells: Iterable[Cell]) -> list[Record]:
    """Records as training leaves them: with the number of parameters, by which a baseline finds its network."""
    counts: dict[str, int] = {}
    made = []
    for cell in cells:
        kind = cell.contender
        if kind not in counts:
            counts[kind] = parameter_count(cell)
        rows = [Row("training", "parameters", "network", counts[kind], "parameters")]
        made.append(Record(cell, "finished", rows=rows))
    return made


def made_by(again: Again) -> set[str]:
    """The identities of the cells that a command makes, read as the command line does."""
    program, run, *arguments = shlex.split(again.command)
    assert (program, run) == ("capsbench", "run")
    return {cell.id for cell in cells(**_options(_flags(arguments), {}))}


def check(groups: dict[str, list[Record]]) -> int:
    """That the commands make the cells that they are of; how many were made before an option was there, which cannot be had."""
    older = 0
    for name, again in commands(groups).items():
        if "came or went" in again.note:
            older += 1
            continue
        wanted = {record.cell.id for record in groups[name]}
        if "sized after" in again.note:
            made = made_by(again)
            assert wanted < made, again
            assert len(made) == 2 * len(wanted), again  # each with its capsule network
        else:
            assert made_by(again) == wanted, again
    return older


@pytest.mark.parametrize("suite", suite_names())
def test_the_commands_of_a_suite_make_its_cells_and_no_others(suite: str) -> None:
    assert check(grouped(records_of(cells(suite)))) == 0


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in REFERENCE.glob("*/records")))
def test_the_commands_of_the_reference_results_make_their_cells(folder: str) -> None:
    records, _ = Store(REFERENCE / folder).records()
    assert check(grouped(records)) == (6 if folder == "mnist-12000" else 0)


@pytest.mark.parametrize(
    ("request_", "command"),
    [
        ({"routing": "em"}, "--routing em"),
        ({"routing": "dynamic", "iters": 1, "seeds": [3, 1]}, "--routing dynamic --iters 1 --seeds 1,3"),
        ({"network": "efficient-capsnet"}, "--routing self-attention"),
        ({"network": "capsnet-hahn2019", "routing": "dynamic"}, "--routing dynamic --network capsnet-hahn2019"),
        ({"network": "matrix-capsules", "routing": "dynamic"}, "--routing dynamic --network matrix-capsules"),
        ({"network": "all-conv", "lr": 0.5}, "--network all-conv --lr 0.5"),
        ({"network": "resnet", "dataset": "mnist", "train_size": 100}, "--network resnet --dataset mnist --train-size 100"),
        ({"routing": "em", "loss": "margin"}, "--routing em --loss margin"),
        ({"routing": "em", "measure": "speed,accuracy"}, "--routing em --measure accuracy,speed"),
        ({"routing": "em", "measure": "all"}, "--routing em --measure all"),
        ({"routing": "dynamic", "reconstruction": "no"}, "--routing dynamic --reconstruction no"),
        ({"routing": "dynamic", "squash": "unit"}, "--routing dynamic --squash unit"),
        ({"routing": "dynamic", "network.squash": "unit"}, "--routing dynamic --network.squash unit"),
        ({"routing": "dynamic", "leaky": True, "weight_decay": 1e-6}, "--routing dynamic --weight-decay 1e-06 --leaky yes"),
        (
            {"routing": "dynamic", "size": "paper", "dataset": "mnist", "threads": 7},
            "--routing dynamic --dataset mnist --size paper --threads 7",
        ),
    ],
)  # fmt: skip
def test_only_what_differs_is_said(request_: dict[str, Any], command: str) -> None:
    """With the device, which the machine would choose, and without the baseline that would come beside."""
    found = cells(**{"baseline": "none", "device": "cpu", **request_})
    (again,) = commands(grouped(records_of(found))).values()
    beside = " --baseline none" if found[0].routing is not None else ""
    # The order of the flags at the end is measure, device, baseline.
    said, measure, value = command.partition(" --measure ")
    said, seeds, numbers = said.partition(" --seeds ")
    assert again.command == f"capsbench run {said}{seeds}{numbers}{measure}{value} --device cpu{beside}"
    assert made_by(again) == {cell.id for cell in found}


def test_at_paper_size_the_threads_of_the_machine_are_said(make_cell: Callable[..., Cell]) -> None:
    for size, said in (("paper", True), ("tiny", False)):
        cell = make_cell(size=size, dataset="mnist")
        (again,) = commands(grouped([Record(cell, "finished")])).values()
        assert (f" --threads {cell.threads} " in again.command) == said


def test_a_baseline_of_equal_size_comes_with_its_network() -> None:
    groups = grouped(records_of(cells(routing="em", iters=[1, 3], lr=0.005, device="cpu")))
    found = {own[0].cell.network: again for own, again in zip(groups.values(), commands(groups).values(), strict=True)}
    assert found["matched"].command == "capsbench run --routing em --iters 1 --lr 0.005 --device cpu"
    assert found["matched"].note == "makes the capsule network as well that it is sized after (em x1)"
    alone = {name: own for name, own in groups.items() if own[0].cell.network == "matched"}
    (again,) = commands(alone).values()
    assert again.command == ""
    assert again.note.endswith(
        "parameters after a capsule network that is not among these records: run that one, and this comes with it"
    )


def test_a_users_own_routing_is_said_in_full_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_routing.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    records = records_of(cells(routing="own_routing:Mine", iters=4, mode="hard", seeds=0, device="cpu"))
    check(grouped(records))
    (tmp_path / "own_routing.py").write_text("raise SystemExit('a report runs no code of its records')")
    monkeypatch.delitem(sys.modules, "own_routing")
    capsules, _ = commands(grouped(records)).values()
    assert capsules.command.startswith("capsbench run --routing own_routing:Mine --network capsnet --iters 4 ")
    assert " --sharpness 1.0 --mode hard " in capsules.command


@pytest.mark.parametrize("measures", [("accuracy", "speed"), ("accuracy", "lost_module:Measured"), ("detection",)])
@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.parametrize("kind", ["routing", "network", "dataset", "loss"])
def test_what_cannot_be_imported_is_said_in_full(
    capsules: Callable[..., Record], matched: Callable[..., Record], kind: str, noted: bool, measures: tuple[str, ...]
) -> None:
    own = {kind: "lost_module:Lost", "measures": measures, "code": {kind: "0123abcd"} if noted else {}}
    beside = {**own, "code": own["code"] if kind == "dataset" else {}}
    beside |= (
        {} if kind == "dataset" else {kind: {"routing": None, "network": "matched", "loss": "cross-entropy"}[kind]}
    )
    capsule, baseline = commands(grouped([capsules(**own), matched(**beside)])).values()
    for each in (capsule, baseline):
        words = shlex.split(each.command)
        assert ["--measure", ",".join(measures)] == words[words.index("--measure") :][:2]
        assert "lost_module:Lost" in words
    assert baseline.note.startswith("makes the capsule network as well that it is sized after")


def test_a_command_that_cannot_be_told_is_a_line(capsules: Callable[..., Record]) -> None:
    told, untold = commands(grouped([capsules(), capsules(measures=("accuracy", "adversarial:forgotten"))])).values()
    assert told.command
    assert untold.command == ""
    assert untold.note.startswith("no command can be told: --measure")
    assert "forgotten" in untold.note


def test_a_part_that_is_not_known_any_more_is_said(capsules: Callable[..., Record]) -> None:
    (again,) = commands(grouped([capsules(network="forgotten")])).values()
    assert "--network forgotten" in again.command
    assert again.note.startswith("this capsbench cannot make it: --network")
    assert "forgotten" in again.note.partition(": --network")[2]


def test_what_the_command_line_cannot_say_is_said_to_be_so(make_cell: Callable[..., Cell]) -> None:
    cell = make_cell()
    odd = cell.model_copy(update={"options": {**cell.options, "network.squash": "a,b"}})
    (again,) = commands(grouped([Record(odd, "finished")])).values()
    assert again == Again("", "--network.squash 'a,b' cannot be said on the command line; use capsbench.run in Python")


def test_a_measure_between_networks_is_not_promised_of_one(make_cell: Callable[..., Cell]) -> None:
    (again,) = commands(grouped([Record(make_cell(measure="accuracy,transfer"), "finished")])).values()
    assert again.note == "transfer is measured between the networks of one run: for it, run them together"


def test_failed_cells_are_not_a_rows(make_cell: Callable[..., Cell]) -> None:
    record = Record(make_cell(), "finished")
    failed = replace(Record(make_cell(seeds=1), "failed"), reason="no")
    (again,) = commands(grouped([record, failed])).values()
    assert "--seeds 0" in again.command
