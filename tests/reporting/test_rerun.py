"""Records in, commands out; and from the commands, as the command line reads them, the same cells again."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from capsbench.cli.flags.request import parse_flags, parse_options
from capsbench.planning.matrix import PlannedCell, plan_cells
from capsbench.planning.suites import read_suite, suite_names
from capsbench.records.cell import Cell
from capsbench.records.record import Record, Row, Run, Training
from capsbench.records.store import Store
from capsbench.reporting.rerun import Again, Failure, find_repeats, group_records, spell_command
from tests.making import make_capsules, make_failed, make_record

REFERENCE = Path(__file__).parents[2] / "results" / "reference"

BESIDE = "also runs its capsule network"

OWN = """
from capsbench.routing.uniform import UniformRouting

class Mine(UniformRouting):
    iterative = True

    def __init__(self, children, parents, *, iterations=2, backend="auto", sharpness=1.0, mode="soft"):
        super().__init__(children, parents, iterations=iterations, backend=backend)
"""


def make_trained(planned: Iterable[PlannedCell]) -> list[Record]:
    """Records as training leaves them, with what was asked for."""
    return [Record(each.cell, Training(), wanted=[*each.measures], request=dict(each.request)) for each in planned]


def plan_again(again: Again) -> dict[str, PlannedCell]:
    """What a command would run, read as the command line does: identity -> cell."""
    program, run, *arguments = shlex.split(again.command)
    assert (program, run) == ("capsbench", "run")
    return {planned.cell.id: planned for planned in plan_cells(parse_options(parse_flags(arguments), {}))}


def check_commands(records: list[Record]) -> None:
    """That the commands make the cells that they are of, and measure of them what was wanted."""
    repeats = find_repeats(records)
    assert repeats.failures == []
    groups = group_records(records)
    assert repeats.contenders.keys() == groups.keys()
    for name, again in repeats.contenders.items():
        own = {record.cell.id: tuple(record.wanted) for record in groups[name]}
        made = plan_again(again)
        assert {identity: made[identity].measures for identity in own if identity in made} == own, again
        # A baseline comes with the capsule networks beside which it stands.
        others = len(own) if again.note == BESIDE else 0
        assert len(made) == len(own) + others, again


@pytest.mark.parametrize("suite", suite_names())
def test_the_commands_of_a_suite_make_its_cells_and_no_others(suite: str) -> None:
    check_commands(make_trained(plan_cells(*read_suite(suite).override_with({}))))


@pytest.mark.parametrize(
    ("request_", "command"),
    [
        ({"routing": "em"}, "--routing em"),
        ({"routing": "dynamic", "iters": 1, "seeds": [3, 1]}, "--routing dynamic --iters 1 --seeds 1,3"),
        ({"network": "efficient-capsnet"}, "--network efficient-capsnet"),
        ({"network": "capsnet-hahn2019", "routing": "dynamic"}, "--network capsnet-hahn2019 --routing dynamic"),
        ({"network": "all-conv", "lr": 0.5}, "--network all-conv --lr 0.5"),
        ({"network": "resnet", "dataset": "mnist", "train_size": 100}, "--network resnet --dataset mnist --train-size 100"),
        ({"routing": "em", "train_size": None}, "--routing em --train-size none"),
        ({"routing": "em", "loss": "margin"}, "--routing em --loss margin"),
        ({"routing": "em", "measure": "speed,accuracy"}, "--routing em --measure accuracy,speed"),
        ({"routing": "em", "measure": "adversarial:full"}, "--routing em --measure adversarial:full"),
        ({"routing": "em", "measure": "all"}, "--routing em --measure all"),
        ({"routing": "em", "measure": "none"}, "--routing em --measure none"),
        ({"routing": "dynamic", "reconstruction": "no"}, "--routing dynamic --reconstruction no"),
        ({"routing": "dynamic", "squash": "unit"}, "--routing dynamic --squash unit"),
        ({"routing": "dynamic", "network.squash": "unit"}, "--routing dynamic --network.squash unit"),
        ({"routing": "dynamic", "leaky": True, "weight_decay": 1e-6}, "--routing dynamic --leaky yes --weight-decay 1e-06"),
        (
            {"routing": "dynamic", "size": "paper", "dataset": "mnist", "threads": 7},
            "--routing dynamic --dataset mnist --size paper --threads 7",
        ),
    ],
)  # fmt: skip
def test_what_was_asked_for_is_said(request_: dict[str, Any], command: str) -> None:
    """With the device, which the machine would choose, and without the baseline that would come beside."""
    planned = plan_cells({"baseline": "none", "seeds": 0, "device": "cpu", **request_})
    records = make_trained(planned)
    (again,) = find_repeats(records).contenders.values()
    beside = " --baseline none" if planned[0].cell.has_routing else ""
    # The flags at the end are seeds, measure, device, threads, baseline.
    said, threads, count = command.partition(" --threads ")
    said, measure, value = said.partition(" --measure ")
    said, seeds, numbers = said.partition(" --seeds ")
    assert again == Again(
        f"capsbench run {said} --seeds {numbers if seeds else 0}{measure}{value} --device cpu{threads}{count}{beside}"
    )
    check_commands(records)


def test_an_axis_is_said_of_each_contender_by_its_own_value() -> None:
    records = make_trained(plan_cells({"routing": "em,dynamic", "iters": "1,3", "seeds": "0,1", "baseline": "none"}))
    commands = {again.command.partition(" --seeds 0,1 ")[0] for again in find_repeats(records).contenders.values()}
    assert commands == {
        f"capsbench run --routing {routing} --iters {iters}" for routing in ("em", "dynamic") for iters in (1, 3)
    }
    check_commands(records)


def test_a_cell_that_two_requests_share_is_measured_as_both_want() -> None:
    alike = {"routing": "em", "seeds": 0, "baseline": "none"}
    records = make_trained(plan_cells({**alike, "measure": "accuracy"}, {**alike, "measure": "speed"}))
    (again,) = find_repeats(records).contenders.values()
    assert " --measure accuracy,speed " in again.command
    check_commands(records)


def test_the_seeds_on_record_are_listed() -> None:
    records = make_trained(plan_cells({"routing": "em", "seeds": "0,1,2,3,4", "baseline": "none"}))
    (again,) = find_repeats([records[4], records[0], records[2]]).contenders.values()
    assert " --seeds 0,2,4 " in again.command
    assert plan_again(again).keys() == {records[seed].cell.id for seed in (0, 2, 4)}


@pytest.mark.parametrize("asked", [{}, {"device": "auto"}, {"device": "cuda:1"}])
def test_the_device_is_said_whatever_was_asked_for(asked: dict[str, str]) -> None:
    record = make_record(make_capsules(device="cuda"), request={"routing": "em", **asked})
    (again,) = find_repeats([record]).contenders.values()
    assert again.command == "capsbench run --routing em --seeds 0 --device cuda"


def test_at_paper_size_the_threads_of_the_machine_are_said() -> None:
    for size, threads in (("paper", " --threads 3"), ("tiny", "")):
        record = make_record(make_capsules(size=size, threads=3), request={"routing": "em", "size": size})
        (again,) = find_repeats([record]).contenders.values()
        assert again.command == f"capsbench run --routing em --size {size} --seeds 0 --device cpu{threads}"


def test_a_baseline_comes_with_its_network() -> None:
    request = {"routing": "em", "iters": "1,3", "lr": 0.005, "seeds": "0,1", "device": "cpu"}
    records = make_trained(plan_cells({**request, "baseline": "matched,resnet", "baseline_size": "own,matched"}))
    commands = find_repeats(records).contenders
    found = {record.cell.network: [] for record in records}
    for name, own in group_records(records).items():
        found[own[0].cell.network].append(commands[name])
    of = "capsbench run --routing em --iters {} --lr 0.005 --seeds 0,1 --device cpu --baseline {}"
    assert found["matrix-capsules"] == [Again(of.format(iters, "none")) for iters in (1, 3)]
    # One of these serves both networks, which have the same parameters.
    assert found["matched"] == [Again(of.format(1, "matched"), BESIDE)]
    assert found["resnet"] == [
        Again(of.format(1, "resnet"), BESIDE),
        Again(of.format(1, "resnet") + " --baseline-size matched", BESIDE),
    ]
    check_commands(records)


def test_a_users_own_routing_is_said_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_routing.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    request = {"routing": "own_routing:Mine", "iters": 4, "mode": "it's a=b $x", "sharpness": -1, "seeds": 0}
    records = make_trained(plan_cells({**request, "device": "cpu"}))
    check_commands(records)
    (tmp_path / "own_routing.py").write_text("raise SystemExit('a report runs no code of its records')")
    monkeypatch.delitem(sys.modules, "own_routing")
    capsules, baseline = find_repeats(records).contenders.values()
    said = shlex.join(["--mode", "it's a=b $x", "--sharpness", "-1.0"])
    assert capsules.command == (
        f"capsbench run --routing own_routing:Mine --iters 4 {said} --seeds 0 --device cpu --baseline none"
    )
    assert baseline == Again(capsules.command.replace("--baseline none", "--baseline matched"), BESIDE)


@pytest.mark.parametrize("value", ["a,b", "", "--leaky"])
def test_what_the_command_line_cannot_say_is_said_to_be_so(value: str) -> None:
    record = make_record(make_capsules(), request={"routing": "em", "network.squash": value})
    (again,) = find_repeats([record]).contenders.values()
    why = f"network.squash={value!r} cannot be typed on the command line; use capsbench.run in Python"
    assert again == Again("", why)


def test_seeds_and_measures_are_lists() -> None:
    request = {"routing": "em", "seeds": "0,1", "measure": "accuracy,speed"}
    assert spell_command(request) == "capsbench run --routing em --seeds 0,1 --measure accuracy,speed"


def test_a_measure_between_networks_is_not_promised_of_one() -> None:
    cells = [make_capsules(seed=seed) for seed in (0, 1)]
    rows = [Row("transfer", "success rate", cells[1].id, 0.5, "fraction", 0.05)]
    asked = {"routing": "em"}
    records = [make_record(cells[0], rows, request=asked), make_record(cells[1], request=asked)]
    (again,) = find_repeats(records).contenders.values()
    assert again.note == "transfer is measured between the networks of one run: run them together"
    (alone,) = find_repeats(records[1:]).contenders.values()
    assert alone == Again(again.command.replace("--seeds 0,1", "--seeds 1"))


def make_older(cell: Cell, alias: str) -> Record:
    """A record as those of schema 1 are read: without a request, with the identity that the cell had."""
    return make_record(cell, aliases=[alias])


def make_run(command: str, *cells: str, name: str = "a run") -> Run:
    return Run(name, "2026-01-01T00:00:00+00:00", command, [*cells])


def test_a_record_without_a_request_has_the_command_of_its_latest_run() -> None:
    record = make_older(make_capsules(), "0123456789ab")
    runs = [
        make_run("capsbench run --suite demo", "0123456789ab"),
        make_run("capsbench run --routing em --iters 1,3", "0123456789ab", "ba9876543210"),
        make_run("capsbench run --routing dynamic", "ba9876543210"),
    ]
    (again,) = find_repeats([record], runs).contenders.values()
    assert again == Again("capsbench run --routing em --iters 1,3", "the command of the whole run")
    runs.append(make_run("capsbench run --routing em", record.cell.id))
    assert [*find_repeats([record], runs).contenders.values()] == [
        Again("capsbench run --routing em", "the command of the whole run")
    ]


@pytest.mark.parametrize("runs", [[], [make_run("capsbench.run", "0123456789ab")], [make_run("capsbench run", "0")]])
def test_a_record_without_a_request_and_a_command_has_none(runs: list[Run]) -> None:
    (again,) = find_repeats([make_older(make_capsules(), "0123456789ab")], runs).contenders.values()
    assert again == Again("", "no command is on record")


def test_a_request_goes_before_the_command_of_the_run() -> None:
    record = replace(make_older(make_capsules(), "0123456789ab"), request={"routing": "em"})
    (again,) = find_repeats([record], [make_run("capsbench run --suite demo", record.cell.id)]).contenders.values()
    assert again == Again("capsbench run --routing em --seeds 0 --device cpu")


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in REFERENCE.glob("*/records")))
def test_the_reference_results_have_the_commands_of_their_runs(folder: str) -> None:
    store = Store(REFERENCE / folder)
    records, _ = store.records()
    runs = store.runs()
    repeats, groups = find_repeats(records, runs), group_records(records)
    assert repeats.contenders.keys() == groups.keys()
    if all(record.request for record in records):
        for name, again in repeats.contenders.items():
            assert {record.cell.id for record in groups[name]} <= plan_again(again).keys()
        return
    of_runs = {Again(re.sub(r" --out \S+", "", run.command), "the command of the whole run") for run in runs}
    assert {*repeats.contenders.values()} == (of_runs or {Again("", "no command is on record")})


def test_failed_cells_are_not_a_rows(make_cell: Callable[..., Cell]) -> None:
    asked = {"routing": "dynamic"}
    records = [make_record(make_cell(), request=asked), make_failed(make_cell(seeds=1), "no", request=asked)]
    repeats = find_repeats(records)
    (again,) = repeats.contenders.values()
    assert again == Again("capsbench run --routing dynamic --seeds 0 --device cpu")
    (failure,) = repeats.failures
    assert failure.again == Again("capsbench run --routing dynamic --seeds 1 --device cpu")


def test_cells_that_failed_alike_are_one() -> None:
    asked = {"routing": "em"}
    reasons = {4: "out of memory", 0: "the loss\nbecame  nan", 1: "the loss became nan"}
    records = [make_failed(make_capsules(seed=seed), reason, request=asked) for seed, reason in reasons.items()]
    repeats = find_repeats([*records, make_failed(make_capsules(iterations=1), "out of memory", request=asked)])
    assert repeats.contenders == {}
    command = "capsbench run --routing em --seeds {} --device cpu"
    assert repeats.failures == [
        Failure("matrix-capsules em x3 tiny, digits", [4], "out of memory", Again(command.format(4))),
        Failure("matrix-capsules em x3 tiny, digits", [0, 1], "the loss became nan", Again(command.format("0,1"))),
        Failure("matrix-capsules em x1 tiny, digits", [0], "out of memory", Again(command.format(0))),
    ]


def test_a_network_whose_measure_failed_has_a_row_and_a_failure() -> None:
    record = make_record(make_capsules(), failures={"affine": "out of memory"}, request={"routing": "em"})
    repeats = find_repeats([record])
    again = Again("capsbench run --routing em --seeds 0 --device cpu")
    assert repeats.contenders == {record.cell.contender: again}
    assert repeats.failures == [
        Failure("matrix-capsules em x3 tiny, digits", [0], "affine: out of memory", again),
    ]


def test_a_failed_cell_without_a_request_has_the_command_of_its_run() -> None:
    failed = make_failed(make_capsules(), aliases=["0123456789ab"])
    (failure,) = find_repeats([failed], [make_run("capsbench run --routing em", "0123456789ab")]).failures
    assert failure.again == Again("capsbench run --routing em", "the command of the whole run")
