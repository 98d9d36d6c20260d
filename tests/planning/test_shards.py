"""The parts of a plan: each cell is in exactly one, and no part is much more expensive than another."""

import re

import pytest

from capsbench.errors import Kind, UsageError
from capsbench.planning.matrix import plan_cells
from capsbench.planning.shards import Shard, list_between, parse_shard, select_shard

REQUEST = dict(routing="em,dynamic", iters="1,3", seeds="0,1,2", measure="accuracy,transfer", baseline="matched")


@pytest.fixture(scope="module")
def planned():
    return plan_cells(REQUEST)


@pytest.mark.parametrize("value", ["2/4", (2, 4), [2, 4], " 2/4 ", "02/4"])
def test_a_shard_is_named_by_its_number_and_their_count(value):
    assert parse_shard(value) == Shard(2, 4)
    assert str(parse_shard(value)) == "2/4"


@pytest.mark.parametrize(
    "value",
    [
        "0/4",
        "5/4",
        "a/b",
        "1/0",
        "0/0",
        "1",
        "",
        "1/2/3",
        "-1/4",
        "1.0/2",
        "1/1000000",
        (0, 4),
        (1,),
        (1, 2, 3),
        "\u0661/2",
    ],
)
def test_another_value_is_refused(value):
    with pytest.raises(UsageError) as caught:
        parse_shard(value)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INVALID, "shard", value)


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 7, 18, 40])
def test_each_cell_is_in_one_part_and_the_parts_differ_by_one_cell(planned, parts):
    shards = [select_shard(planned, Shard(number, parts)) for number in range(1, parts + 1)]
    assert sorted(job.cell.id for jobs in shards for job in jobs) == sorted(job.cell.id for job in planned)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    order = [job.cell.id for job in planned]
    for jobs in shards:
        assert [job.cell.id for job in jobs] == [cell for cell in order if cell in {job.cell.id for job in jobs}]


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_the_cells_of_a_contender_are_spread(planned, parts):
    contenders = {job.cell.contender for job in planned}
    assert len(contenders) == 6  # em and dynamic at 1 and 3 iterations, and a CNN for each of the two networks
    for number in range(1, parts + 1):
        jobs = select_shard(planned, Shard(number, parts))
        for contender in contenders:
            count = sum(job.cell.contender == contender for job in jobs)
            assert 3 // parts <= count <= -(-3 // parts)


def test_expensive_data_are_spread_whatever_the_order_of_the_axes():
    planned = plan_cells({**REQUEST, "dataset": "digits,mnist", "seeds": 0, "iters": 1, "measure": "accuracy"})
    for number in (1, 2):
        jobs = select_shard(planned, Shard(number, 2))
        assert sorted(job.cell.dataset for job in jobs) == ["digits"] * 2 + ["mnist"] * 2
        assert sum(job.cell.has_routing for job in jobs) == 2


def test_measures_between_networks_are_left_to_the_whole_plan(planned):
    assert list_between(planned) == ["transfer"]
    for job in select_shard(planned, Shard(1, 2)):
        assert job.measures == ("accuracy",)
        assert re.fullmatch("accuracy,transfer", str(job.request["measure"]))  # the command of its row takes both
    assert list_between(select_shard(planned, Shard(1, 2))) == []
