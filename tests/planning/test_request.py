"""Epochs that a search finds: the value `auto` of a request."""

from __future__ import annotations

from pathlib import Path

import pytest

from capsbench.errors import Kind, UsageError
from capsbench.planning.request import refuse_beside, split_request, start_search


@pytest.mark.parametrize(
    ("request_", "started"),
    [
        ({"routing": "em", "epochs": "auto"}, {"routing": "em"}),
        ({"epochs": ["auto"]}, {}),
        ({"epochs": "auto:5", "routing": "em"}, {"routing": "em", "epochs": "5"}),
        ({"epochs": 5}, None),
        ({"epochs": None}, None),
        ({"routing": "em"}, None),
        ({"epochs": "auto,5"}, None),
        ({"epochs": "automatic"}, None),
    ],
)
def test_a_search_starts_from_the_epochs_that_are_named_or_left_open(request_, started) -> None:
    assert start_search(request_) == started


@pytest.mark.parametrize("epochs", ["auto", "auto:5", "5,auto", ["auto", 5]])
def test_auto_is_no_value_of_an_axis(epochs) -> None:
    with pytest.raises(UsageError) as caught:
        split_request({"epochs": epochs})
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "epochs")


def test_flags_that_do_not_go_with_another_are_named() -> None:
    refuse_beside("{flag:epochs} auto", shard=None, fresh=False)
    with pytest.raises(UsageError) as caught:
        refuse_beside("{flag:epochs} auto", shard=None, fresh=True)
    assert caught.value.flag == "fresh"
    assert "epochs auto" in caught.value.describe()


@pytest.mark.parametrize("scheme", ["foldr", "FOLDER", "csvs"])
def test_a_misspelt_kind_of_a_path_that_exists_is_named(scheme: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        split_request({"dataset": f"{scheme}:{tmp_path}"})
    right = {"csvs": "csv"}.get(scheme, "folder")
    assert (caught.value.kind, caught.value.flag) == (Kind.UNKNOWN, "dataset")
    assert f"{right}:{tmp_path}" in str(caught.value.expected)


def test_a_path_with_a_comma_that_exists_is_not_taken_for_two(tmp_path: Path) -> None:
    path = tmp_path / "red, green"
    path.mkdir()
    with pytest.raises(UsageError) as caught:
        split_request({"dataset": f"folder:{path}"})
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "dataset")
    assert split_request({"dataset": [f"folder:{path}"]}).fields["dataset"] == ["folder:red, green"]
