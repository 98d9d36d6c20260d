"""A search for epochs on record."""

from __future__ import annotations

import json

import pytest

from capsbench.errors import Kind, UsageError
from capsbench.records import file
from capsbench.records.store import Store
from capsbench.records.tuning.convergence import Convergence, Rung
from capsbench.records.tuning.trials import open_trials, read_trials
from tests.making import make_capsules, make_record

SEARCH = Convergence(
    "0123456789ab", start=10, ceiling=80, seeds=[0, 1], tried=[Rung(10, 0.9, True), Rung(20, 0.95, False)]
)


def test_the_epochs_are_the_last_that_could_be_trained() -> None:
    assert (SEARCH.epochs, SEARCH.is_concluded, SEARCH.spent) == (20, True, 60)
    failed = Convergence("0123456789ab", 10, 80, [0], [Rung(10, 0.9, True), Rung(20)])
    assert (failed.epochs, failed.is_concluded, failed.spent) == (10, False, 30)
    nothing = Convergence("0123456789ab", 10, 80, [0], [Rung(10)])
    assert (nothing.last, nothing.epochs, nothing.is_concluded) == (None, 10, False)
    unknown = Convergence("0123456789ab", 10, 80, [0], [Rung(10, 0.9, None)])
    assert not unknown.is_concluded


def test_a_search_is_read_as_it_was_written(tmp_path) -> None:
    result = make_record(make_capsules(epochs=20), convergence=SEARCH)
    Store(tmp_path).write(result)
    assert Store(tmp_path).records() == ([result], [])


def test_a_record_of_fixed_epochs_names_no_search(tmp_path) -> None:
    assert b"convergence" not in file.to_bytes(make_record(make_capsules()))


def test_a_trial_of_epochs_is_no_trial_of_settings(tmp_path) -> None:
    trial = make_record(make_capsules(), role="trial", convergence=SEARCH)
    open_trials(tmp_path).write(trial)
    assert read_trials(tmp_path) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [(b'"start": 10', b'"start": -1'), (b'"contender": "0123456789ab"', b'"contender": "mine"'), (b"0.95", b'"much"')],
)
def test_a_search_of_another_form_is_refused(before, after, tmp_path) -> None:
    record = make_record(make_capsules(epochs=20), convergence=SEARCH)
    content = file.to_bytes(record)
    assert before in content
    parts = json.loads(content.replace(before, after))
    changed = file.seal_json({name: part for name, part in parts.items() if name != "digest"})
    with pytest.raises(UsageError) as caught:
        file.from_bytes(tmp_path / f"{record.cell.id}.json", changed)
    assert caught.value.kind is Kind.DAMAGED
