"""A gradient penalty of a whole network, on the fused passes and on the reference."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from capsbench.networks.base import CapsuleNetwork
from capsbench.networks.build import build_network
from capsbench.registry import BUILT_IN, get


def penalty_gradients(network, images, labels):
    """The gradients, by every parameter, of the squared length of the loss's gradient by the images."""
    images = images.clone().requires_grad_()
    loss = cross_entropy(network(images), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images, create_graph=True)
    parameters = dict(network.named_parameters())
    found = torch.autograd.grad(gradient.square().sum(), parameters.values(), allow_unused=True, materialize_grads=True)
    return dict(zip(parameters, found, strict=True))


@pytest.mark.parametrize(
    ("network", "routing"),
    [
        *(("capsnet", routing) for routing in BUILT_IN["routing"]),
        *((name, None) for name in BUILT_IN["network"] if issubclass(get("network", name), CapsuleNetwork)),
    ],
)
def test_a_gradient_penalty_is_that_of_the_reference(make_cell, network, routing):
    torch.manual_seed(0)
    images, labels = torch.rand(3, 1, 8, 8, dtype=torch.double), torch.arange(3)
    chosen = {"network": network} | ({"routing": routing} if routing else {})
    fused, reference = (
        build_network(make_cell(**chosen, backend=backend)).double() for backend in ("cpu", "reference")
    )
    with torch.no_grad():
        for parameter in fused.parameters():  # self-routing's logits start at 0, where the images have no effect
            parameter.add_(0.1 * torch.randn_like(parameter))
    reference.load_state_dict(fused.state_dict())
    expected = penalty_gradients(reference, images, labels)
    scale = torch.cat([gradient.flatten() for gradient in expected.values()]).abs().max()
    assert scale > 0
    for name, gradient in penalty_gradients(fused, images, labels).items():
        torch.testing.assert_close(
            gradient, expected[name], rtol=1e-7, atol=1e-9 * scale.item(), msg=lambda text, name=name: f"{name}: {text}"
        )
