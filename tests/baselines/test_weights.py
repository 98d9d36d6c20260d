import pytest
import torch
from torch import nn

from capsbench_baselines import AllConvolutionalCNN, ResNet
from capsbench_baselines.weights import he_normal


def test_weights_are_normal_with_variance_2_over_fan_in_and_biases_0() -> None:
    torch.manual_seed(0)
    convolution = he_normal(nn.Conv2d(32, 200, 3))
    weight = convolution.weight.detach()
    assert weight.mean().item() == pytest.approx(0, abs=0.001)
    assert weight.std().item() == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.02)
    assert (weight / weight.std()).pow(4).mean().item() == pytest.approx(3, abs=0.1)  # 1.8 for a uniform distribution
    assert convolution.bias is not None
    assert convolution.bias.count_nonzero() == 0


def test_on_the_meta_device_there_is_nothing_to_draw() -> None:
    assert he_normal(nn.Conv2d(3, 4, 3, bias=False, device="meta")).weight.is_meta


@pytest.mark.parametrize("make", [ResNet, AllConvolutionalCNN])
def test_every_convolution_of_the_networks_that_need_it_starts_so(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    convolutions = [module for module in make((3, 8, 8), 10).modules() if isinstance(module, nn.Conv2d)]
    for convolution in convolutions:
        fan_in = convolution.weight[0].numel()
        assert convolution.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)
