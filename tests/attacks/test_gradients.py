import pytest
import torch
from torch import nn

from capsbench.attacks.gradients import bypass_onednn


class NotingConvolution(nn.Conv2d):
    """Notes whether oneDNN is on when its own backward pass begins."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.noted = []

    def forward(self, images):
        outputs = super().forward(images)
        outputs.register_hook(lambda gradient: self.noted.append(torch.backends.mkldnn.enabled))
        return outputs


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(NotingConvolution(3, 8, 3), NotingConvolution(8, 4, 3, stride=2), nn.Flatten(), nn.Tanh())


def compute_gradient(network, images):
    leaf = images.clone().requires_grad_()
    network(leaf).square().sum().backward()
    return leaf.grad


def test_only_the_gradient_of_the_images_is_computed_without_onednn(network):
    images = torch.rand(4, 3, 9, 9)
    expected = compute_gradient(network, images)
    assert [layer.noted for layer in network[:2]] == [[True], [True]]
    with bypass_onednn(network):
        gradient = compute_gradient(network, images)
    assert [layer.noted for layer in network[:2]] == [[True, False], [True, True]]
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-7)


def test_all_is_as_before_afterwards(network):
    with bypass_onednn(network):
        failure = network[0].register_full_backward_pre_hook(lambda layer, gradients: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            compute_gradient(network, torch.rand(4, 3, 9, 9))
        assert not torch.backends.mkldnn.enabled  # until the attack ends
    failure.remove()
    assert torch.backends.mkldnn.enabled
    compute_gradient(network, torch.rand(4, 3, 9, 9))
    assert network[0].noted == [True]
