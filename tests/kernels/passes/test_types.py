"""The dtypes that passes are summed in, and beliefs that leave fields out."""

import pytest
import torch

from capsbench_kernels.passes.types import Parents, Wanted, accumulation_dtype, at_least_float32, without_autocast


@pytest.mark.parametrize(
    ("dtype", "summed"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_votes_of_16_bits_are_summed_in_float32(dtype, summed):
    assert accumulation_dtype(dtype) == summed
    assert at_least_float32(torch.ones(1, dtype=dtype)).dtype == summed


def test_a_belief_has_no_field_that_is_not_given():
    assert Parents() == (None,) * 5
    assert Parents._fields == ("bias", "direction", "mean", "precision", "centre")


def test_what_is_wanted_is_picked_by_name():
    assert Wanted.from_flags(["poses", "weights", "offset"], [True, False, True]) == Wanted(weights=False, offset=True)


def test_autocast_is_switched_off_where_there_is_any():
    product = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert (product @ product).dtype == torch.bfloat16
        with without_autocast(product.device):
            assert (product @ product).dtype == torch.float32
        with without_autocast(torch.device("meta")):
            assert (product @ product).dtype == torch.bfloat16
