from typing import Any

import pandas as pd
import pytest

from capsbench.presenting.words import spell_value


@pytest.mark.parametrize(
    ("value", "spelled"), [(True, "yes"), (False, "no"), (9.0, "9"), (0.05, "0.05"), ("unit", "unit")]
)
def test_a_value_and_that_of_a_table_are_spelled_as_the_flag_takes_them(value: Any, spelled: str) -> None:
    in_table = pd.DataFrame({"values": [value]})["values"].iloc[0]
    assert (spell_value(value), spell_value(in_table)) == (spelled, spelled)
