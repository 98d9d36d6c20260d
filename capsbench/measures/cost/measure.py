"""The measure cost: parameters and floating-point operations."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from capsbench.measures.base import Measure, Subject
from capsbench.measures.cost.spec import SPEC
from capsbench.networks.base import CapsuleNetwork
from capsbench.networks.build import count_parameters
from capsbench.records.cell import Cell
from capsbench.records.parts import dataset_of
from capsbench.records.record import Row
from capsbench_kernels import Arithmetic, count_arithmetic


class Cost(Measure):
    """Parameters, with and without the decoder, and the floating-point operations of the inference of one image.

    ``flops`` are those of the algorithm, and ``executed flops`` those of the kernels, which recompute the votes in every vote
    pass (`capsbench_kernels.count_arithmetic` has the rule). Neither depends on the weights, the data or the machine.
    """

    spec = SPEC
    any_number = True

    needs_weights: ClassVar[bool] = False

    @classmethod
    def applies_to(cls, cell: Cell) -> bool:
        return True

    def __call__(self, subject: Subject) -> list[Row]:
        network = subject.network
        decoder = network.decoder if isinstance(network, CapsuleNetwork) else None
        trained, of_decoder = count_parameters(network), count_parameters(decoder) if decoder else 0
        inference = count_inference(network, dataset_of(subject.cell).image)
        return [
            Row("cost", "parameters", "trained", trained, "parameters"),
            Row("cost", "parameters", "inference", trained - of_decoder, "parameters"),
            Row("cost", "flops", "inference", inference.algorithm, "FLOP/image"),
            Row("cost", "executed flops", "inference", inference.executed, "FLOP/image"),
        ]


def count_inference(network: nn.Module, image: tuple[int, int, int]) -> Arithmetic:
    """Counts the arithmetic of one forward pass over one image of this shape, in evaluation mode."""
    parameter = next(network.parameters())
    # Noise: an image of one colour would make votes that are equal by value, and those count once.
    noise = torch.rand(1, *image, generator=torch.Generator().manual_seed(0)).to(parameter)
    training = network.training
    network.eval()
    try:
        with torch.no_grad(), count_arithmetic() as count:
            network(noise)
    finally:
        network.train(training)
    return count
