import pytest

from capsbench.errors import ArgumentError
from capsbench.networks.base import CapsuleNetwork, shrink_side


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "expected"), [(28, 9, 1, 20), (20, 9, 2, 6), (12, 3, 2, 5), (3, 3, 1, 1)]
)
def test_the_side_of_a_grid_after_a_convolution(side, kernel, stride, expected):
    assert shrink_side(side, kernel, stride) == expected


def test_a_kernel_larger_than_its_grid_is_refused():
    with pytest.raises(ArgumentError) as caught:
        shrink_side(8, 9, 1)
    assert (caught.value.argument, caught.value.value) == ("side", 8)
    assert "9x9" in caught.value.expected


def test_a_network_without_capsules_is_refused():
    class Unfinished(CapsuleNetwork):
        pass

    with pytest.raises(TypeError, match="capsules"):
        Unfinished()
