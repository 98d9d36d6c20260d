"""The operators on the Triton kernels, in Triton's interpreter or on a CUDA device: torch's own checks, and no silent tangent."""

import pytest
import torch
from torch import func

from capsbench_kernels import Parents, UnavailableBackend, vote_pass
from capsbench_kernels.passes import ops
from capsbench_kernels.passes.triton.launch import INTERPRETED
from capsbench_kernels.passes.types import PassInputs
from tests.kernels.passes.cases import FIELDS, draw_problem

DEVICE = "cpu" if INTERPRETED else "cuda"
CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor")

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:Conversion of an array with ndim:DeprecationWarning"
    ),  # Triton 3.6's interpreter
    # torch's own, at its first forward mode: a DeprecationWarning in torch 2.11, a FutureWarning in 2.15
    pytest.mark.filterwarnings("ignore:.*torch.jit.script"),
]


def draw_inputs(fields):
    """Returns the tensors of a small pass, in the order of the operator."""
    tensors = draw_problem((2, 3, 2, 2, 2, 2), fields)
    placed = {name: tensor.detach().to(DEVICE).requires_grad_(name != "centre") for name, tensor in tensors.items()}
    return [placed.get(name) for name in PassInputs._fields]


@pytest.mark.parametrize("fields", [FIELDS, FIELDS[:-1], []], ids=["all", "no log-normaliser", "none"])
def test_torch_accepts_the_operators(fields):
    inputs = draw_inputs(fields)
    upstream = [torch.randn_like(total) for total in ops.VOTE_PASS.forward(*inputs, "triton", False)]
    wanted = [tensor is not None and tensor.requires_grad for tensor in inputs]
    for operator, arguments in (
        (ops.VOTE_PASS.forward, (*inputs, "triton", False)),
        (ops.VOTE_PASS.backward, (*inputs, *upstream, "triton", False, wanted)),
    ):
        assert torch.library.opcheck(operator, arguments, test_utils=CHECKS) == dict.fromkeys(CHECKS, "SUCCESS")


def test_a_tangent_is_refused():
    poses, weights, *_ = draw_inputs([])
    with pytest.raises(UnavailableBackend, match="forward-mode derivatives"):
        func.jvp(
            lambda u: vote_pass(u, weights, Parents(), backend="triton").first, (poses.detach(),), (poses.detach(),)
        )
