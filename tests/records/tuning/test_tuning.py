"""The settings that a search changes in a cell."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from capsbench.records.tuning import change_settings, read_settings
from tests.making import make_capsules


def test_fields_and_options_are_changed_and_read() -> None:
    cell = make_capsules()
    changed = change_settings(cell, {"learning_rate": 0.5, "routing.epsilon": 0.25})
    assert read_settings(changed, ["routing.epsilon", "learning_rate"]) == {
        "routing.epsilon": 0.25,
        "learning_rate": 0.5,
    }
    assert changed.options["network.stem"] == 32
    assert changed.id != cell.id
    assert change_settings(changed, read_settings(cell, ["learning_rate", "routing.epsilon"])) == cell


def test_a_value_that_no_cell_has_is_refused() -> None:
    with pytest.raises(ValidationError):
        change_settings(make_capsules(), {"learning_rate": -1.0})
