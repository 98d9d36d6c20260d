"""The plan of a search."""

from __future__ import annotations

import pytest

from capsbench.errors import Kind, UsageError
from capsbench.tuning.search import Search, parse_spaces
from capsbench.tuning.tune import plan_search


def test_a_space_with_a_value_that_builds_no_network_is_refused_before_a_training() -> None:
    search = Search(trials=4, studies=2, spaces=parse_spaces(["squash=sabour,sharp"]))
    with pytest.raises(UsageError) as caught:
        plan_search(search, routing="dynamic", baseline="none")
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "space")
