"""What networks, routings and losses have in common."""

import copy

import pytest
import torch
from torch import nn

from capsbench.component import Component, check_initialised
from capsbench.errors import ArgumentError
from capsbench.networks.base import CapsuleNetwork, SelfSupervised
from capsbench.routing.base import Routing
from capsbench.training.losses import Loss


class Declares(Component):
    routing = "dynamic"

    def capsules(self, images):
        return images


@pytest.mark.parametrize("base", [CapsuleNetwork, SelfSupervised, Routing, Loss])
def test_all_parts_of_a_users_own_are_components(base):
    assert issubclass(base, Component)


def test_a_layer_may_have_the_name_of_what_the_class_declares():
    network = Declares()
    network.routing = layer = nn.Linear(2, 3)
    assert network.routing is layer
    assert Declares.routing == "dynamic"
    assert network.routing(torch.zeros(1, 2)).shape == (1, 3)
    assert network.state_dict().keys() == {"routing.weight", "routing.bias"}


def test_such_a_layer_is_one_layer_when_replaced_copied_or_converted():
    network = Declares()
    network.routing = nn.Linear(2, 3)
    network.routing = second = nn.Linear(2, 4)
    assert network.routing is second
    twin = copy.deepcopy(network).double()
    assert twin.routing is dict(twin.named_children())["routing"]
    assert (twin.routing.weight.dtype, network.routing.weight.dtype) == (torch.float64, torch.float32)


def test_a_layer_of_the_name_of_a_method_is_refused():
    with pytest.raises(ArgumentError) as caught:
        Declares().capsules = nn.Linear(2, 3)
    assert caught.value.argument == "capsules"


def test_a_part_whose_base_class_was_not_initialised_is_refused():
    class Bare(Loss):
        def __init__(self, capsules):
            self.weight = 2.0

    with pytest.raises(TypeError, match="Bare"):
        check_initialised(Bare(True))
    layer = nn.Linear(2, 3)
    assert check_initialised(layer) is layer
