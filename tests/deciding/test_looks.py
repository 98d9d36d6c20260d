"""Runs that add seeds until one comparison is decided."""

from __future__ import annotations

import json

import numpy as np
import pytest

from capsbench.deciding.looks import FLAG, Decision, choose_pair, judge_pair, plan_looks
from capsbench.errors import Kind, UsageError
from capsbench.planning.matrix import plan_cells
from capsbench.records.record import Row
from capsbench.records.store import Store
from capsbench.running.outcome import Outcome
from capsbench.stats.sequential import LOOKS, Progress
from tests.making import make_record

REQUEST = {"routing": ["dynamic", "em"], "device": "cpu", "measure": "accuracy", "train_size": 40, "epochs": 1}


@pytest.fixture(scope="module")
def planned():
    return plan_cells({**REQUEST, "seeds": list(range(20))})


def write_results(store, planned, seeds, **accuracies):
    """Writes accuracies about a mean for each routing, or ``matched``, that differ a little from seed to seed."""
    for job in planned:
        name = job.cell.routing or "matched"
        if job.cell.seed < seeds and name in accuracies:
            noise = np.random.default_rng([job.cell.seed, len(name)]).normal(scale=0.004)
            rows = [Row("accuracy", "accuracy", "test", round(accuracies[name] + noise, 4), "fraction")]
            store.write(make_record(job.cell, rows))


def test_all_contenders_get_all_looks(planned):
    cells, _ = plan_looks("em,dynamic", **REQUEST)
    assert {job.cell.id for job in cells} == {job.cell.id for job in planned}
    assert max(job.cell.seed for job in cells) == LOOKS[-1] - 1


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["em", "dynamic"], ("em", "dynamic")),
        (["matrix-capsules", "capsnet"], ("em", "dynamic")),
    ],
)
def test_a_contender_goes_by_its_routing_or_its_network(planned, names, found):
    cells = [job.cell for job in planned]
    pair = choose_pair(names, cells)
    assert tuple(next(cell.routing for cell in cells if cell.contender == identity) for identity in pair) == found


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["em"], Kind.INVALID),
        (["em", "em"], Kind.INVALID),
        (["em", "matrix-capsules"], Kind.INVALID),  # two names of one
        (["em", "dynamic", "matched"], Kind.INVALID),
        (["em", "uniform"], Kind.UNKNOWN),
        (["em", "matched"], Kind.AMBIGUOUS),  # one for each network
    ],
)
def test_any_other_pair_is_refused(planned, names, kind):
    with pytest.raises(UsageError) as caught:
        choose_pair(names, [job.cell for job in planned])
    assert (caught.value.kind, caught.value.flag) == (kind, FLAG)


@pytest.mark.parametrize(
    ("request_", "flag"),
    [({"seeds": "0,1"}, "seeds"), ({"shard": "1/2"}, "shard"), ({"measure": "cost"}, FLAG)],
)
def test_what_leaves_no_test_is_refused(request_, flag):
    with pytest.raises(UsageError) as caught:
        plan_looks("em,dynamic", **{**REQUEST, **request_})
    assert caught.value.flag == flag


def test_a_large_difference_is_decided_early_and_stays_decided(planned, tmp_path):
    one, other = choose_pair(["em", "dynamic"], [job.cell for job in planned])
    store = Store(tmp_path)
    assert judge_pair(store, planned, one, other).seeds == 0
    write_results(store, planned, 5, em=0.95, dynamic=0.6)
    verdict = judge_pair(store, planned, one, other)
    assert (verdict.progress, verdict.seeds) == (Progress.BETTER, 5)
    assert judge_pair(store, planned, other, one).progress is Progress.WORSE
    write_results(store, planned, 12, em=0.95, dynamic=0.6)
    assert judge_pair(store, planned, one, other) == verdict


def test_a_program_is_told_the_test_and_its_numbers(planned, tmp_path):
    one, other = choose_pair(["em", "dynamic"], [job.cell for job in planned])
    store = Store(tmp_path)
    untested = Decision(Outcome(), "em", "dynamic", judge_pair(store, planned, one, other)).facts["decision"]
    assert (untested["result"], untested["seeds"], untested["next_seeds"]) == ("continue", 0, LOOKS[0])
    assert [untested[name] for name in ("difference", "half", "p", "level")] == [None] * 4
    write_results(store, planned, 5, em=0.95, dynamic=0.6)
    verdict = judge_pair(store, planned, one, other)
    told = json.loads(json.dumps(Decision(Outcome(), "em", "dynamic", verdict).facts, allow_nan=False))["decision"]
    assert (told["one"], told["other"], told["result"], told["seeds"]) == ("em", "dynamic", "better", 5)
    assert told["difference"] == pytest.approx(0.35, abs=0.01)
    assert 0 < told["half"] < told["difference"]
    assert told["p"] < told["level"]


def test_no_difference_goes_on_to_the_ceiling(planned, tmp_path):
    one, other = choose_pair(["em", "dynamic"], [job.cell for job in planned])
    store = Store(tmp_path)
    for seeds, progress in ((8, Progress.CONTINUE), (20, Progress.UNDECIDED)):
        write_results(store, planned, seeds, em=0.9, dynamic=0.9)
        verdict = judge_pair(store, planned, one, other)
        assert (verdict.progress, verdict.seeds) == (progress, seeds)


def test_a_notebook_shows_the_decision_and_then_the_outcome(planned, tmp_path):
    store = Store(tmp_path)
    write_results(store, planned, 5, dynamic=0.9, em=0.8)
    one, other = choose_pair(["em", "dynamic"], [job.cell for job in planned])
    decision = Decision(Outcome(["a"]), "em", "dynamic", judge_pair(store, planned, one, other))
    output = decision.describe_output()
    assert output.lead == decision.describe()
    assert output.items == [decision.outcome.describe()]
