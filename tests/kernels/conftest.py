import pytest
import torch

from capsbench_kernels import Parents


@pytest.fixture
def problem():
    """Makes a random routing problem in float64: poses, weights, activations, offset and a belief about the parents."""

    def make(problems=3, children=5, parents=4, rows=4, depth=3, columns=2, seed=0):
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.double)

        values = (problems, parents, rows * columns)
        belief = Parents(
            bias=draw(problems, parents),
            direction=draw(*values),
            mean=draw(*values),
            precision=draw(*values).square() + 0.1,
            centre=draw(*values),
        )
        return {
            "poses": draw(problems, children, rows, depth),
            "weights": draw(children, parents, depth, columns),
            "activations": draw(problems, children).sigmoid(),
            "offset": draw(1, children, rows, columns),
            "parents": belief,
        }

    return make
