"""Initial weights other than torch's own."""

from __future__ import annotations

from torch import nn


def he_normal(convolution: nn.Conv2d) -> nn.Conv2d:
    """Draws the weights from N(0, 2 / fan-in) and sets the biases to 0 (He et al. 2015, equation 10)."""
    if not convolution.weight.is_meta:  # no weights to draw, and torch takes seconds to do nothing
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        if convolution.bias is not None:
            nn.init.zeros_(convolution.bias)
    return convolution
