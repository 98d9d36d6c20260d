"""The learning rate of every step."""

import pytest
from torch.optim.optimizer import register_optimizer_step_pre_hook

from capsbench.training.loop import train
from tests.training.networks import Line


@pytest.fixture
def collect_rates(blank):
    """Returns a function that trains on ten images and returns the learning rate of every step and the history."""

    def rates(cell):
        rates = []
        handle = register_optimizer_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
        try:
            history = train(cell, Line(), blank)
        finally:
            handle.remove()
        return rates, history

    return rates


def test_a_constant_learning_rate(make_cell, collect_rates):
    rates, _ = collect_rates(make_cell(network="cnn-hinton2018", schedule="constant", lr=0.1, epochs=3, batch=5))
    assert rates == [0.1] * 6


def test_an_exponential_learning_rate_decays_by_its_factor_every_epoch(make_cell, collect_rates):
    cell = make_cell(network="cnn-hinton2018", schedule="exponential", decay=0.5, lr=0.1, epochs=3, batch=5)
    rates, _ = collect_rates(cell)
    assert rates == pytest.approx([0.1 * 0.5 ** (step / 2) for step in range(6)])


@pytest.mark.parametrize("batch", [1, 5, 10])
def test_a_one_cycle_learning_rate_rises_to_its_peak_and_ends_at_nearly_nothing(make_cell, collect_rates, batch):
    cell = make_cell(network="cnn-hinton2018", schedule="one-cycle", lr=0.1, epochs=20, batch=batch)
    rates, history = collect_rates(cell)
    peak = rates.index(max(rates))
    assert len(rates) == 20 * 10 / batch
    assert rates[0] == pytest.approx(0.1 / 25)
    assert rates[peak] == pytest.approx(0.1)
    assert peak == pytest.approx(0.3 * len(rates), abs=1)
    assert rates[-1] < 1e-6
    assert history[-1]["learning_rate"] < 0.001


def test_a_decay_can_be_spread_over_any_number_of_steps(make_cell, collect_rates):
    cell = make_cell(
        network="cnn-hinton2018", schedule="exponential", decay=0.5, decay_steps=4, lr=0.1, epochs=3, batch=5
    )
    rates, _ = collect_rates(cell)
    assert rates == pytest.approx([0.1 * 0.5 ** (step / 4) for step in range(6)])
