import pytest

from capsbench_kernels.passes.cpu import setting, threads


@pytest.fixture
def finely_cut(monkeypatch):
    """Cuts every pass into as many items as there are tiles and units."""
    monkeypatch.setattr(threads, "VOTE_VALUES_AN_ITEM", 1)


@pytest.fixture
def items(monkeypatch):
    """Records the ranges of groups and units of the kernels' calls, by kernel."""
    seen = {"sweep_item": [], "spread_item": []}
    for name, ranges in seen.items():
        kernel = getattr(setting, name)

        def spied(layer, tensors, *arguments, kernel=kernel, ranges=ranges):
            ranges.extend(argument[:4] for argument in arguments if isinstance(argument, setting.Item))
            kernel(layer, tensors, *arguments)

        monkeypatch.setattr(setting, name, spied)
    return seen
