"""The vote pass: the step that every routing repeats, as one differentiable call.

Each child ``i`` casts a vote ``V_ij = u_i @ W_ij (+ o_i)`` for each parent ``j``. Given a belief about the parents, the pass
shares each child out among them. It returns the first three moments of the votes that each parent receives:

    logits_ij = bias_j + <direction_j, V_ij> - 1/2 * sum_h precision_jh * (V_ijh - mean_jh)^2
    r_ij      = softmax over j of logits_ij
    w_ij      = a_i * r_ij
    S0_j = sum_i w_ij      S1_j = sum_i w_ij (V_ij - c_j)      S2_j = sum_i w_ij (V_ij - c_j)^2

A routing is a loop of vote passes with a small update of the parents in between (`capsbench_kernels.routings`, or a user's own).
This file checks the arguments and chooses an implementation: the readable reference in `naive.py`, or the kernels of
`cpu/launch.py` and `triton/launch.py`, which never hold the votes.
"""

from __future__ import annotations

import functools
import warnings

import torch
from torch import Tensor
from torch.autograd import forward_ad

from capsbench_kernels.errors import ArgumentError, ReferenceWarning, UnavailableBackend
from capsbench_kernels.passes.naive import vote_pass_reference
from capsbench_kernels.passes.observe import VotePass, current_count, current_observer, unnoticed
from capsbench_kernels.passes.operators import import_kernels
from capsbench_kernels.passes.ops import run_pass
from capsbench_kernels.passes.types import (
    Moments,
    Parents,
    PassInputs,
    PassSums,
    accumulation_dtype,
    at_least_float32,
)

BACKENDS: tuple[str, ...] = ("reference", "cpu", "triton")
"""The implementations of the vote pass; ``auto`` chooses one of them."""

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
"""The dtypes of poses and weights."""

_FUSED = {"cpu": "cpu", "cuda": "triton"}
"""Type of a device -> its fused backend."""


def choose_backend(backend: str = "auto", device: torch.device | str = "cpu") -> str:
    """Returns the name of the implementation that ``backend`` stands for, for tensors on ``device``.

    ``auto`` is ``cpu`` for tensors on the CPU and ``triton`` for those on a CUDA device. Where that backend cannot run, such as
    under `torch.func`, ``auto`` is ``reference``, with a `ReferenceWarning` that gives the reason, once a process.

    Raises:
        ArgumentError: an unknown name.
        UnavailableBackend: a backend that cannot run there, with the reason.
    """
    try:
        device = torch.device(device)
    except RuntimeError:
        raise ArgumentError("device", "one that torch knows, such as cpu or cuda", device) from None
    fused = _FUSED.get(device.type, "reference")
    if backend == "auto":
        if (reason := _find_obstacle(fused, device)) is None:
            return fused
        _warn_once(fused, reason)
        return "reference"
    if backend not in BACKENDS:
        raise ArgumentError("backend", f"auto, {', '.join(BACKENDS)}", backend)
    if (reason := _find_obstacle(backend, device)) is not None:
        raise UnavailableBackend(backend, reason, fused if _find_obstacle(fused, device) is None else "reference")
    return backend


# Dynamo calls the function while it traces, and writes its result into the graph.
choose_backend._dynamo_marked_constant = True  # type: ignore[attr-defined]


@functools.cache
def _warn_once(backend: str, reason: str) -> None:
    # The cache limits the warnings. Python's own filters go by the calling line, so each routing would warn anew.
    warnings.warn(ReferenceWarning(backend, reason), stacklevel=3)


def _find_obstacle(backend: str, device: torch.device) -> str | None:
    """Returns the reason why a backend cannot run on tensors of a device, or None."""
    if backend == "reference":
        return None
    if forward_ad._current_level >= 0:  # also that of torch.func.jvp
        return "forward-mode derivatives are those of torch's own operations alone"
    try:
        kernels = import_kernels(backend)
    except ModuleNotFoundError as error:
        return f"it needs the package {error.name}, which is not installed"
    except ImportError as error:  # such as a version of NumPy that Numba does not know yet
        return f"{error}"
    # A kernel's shapes are known without a device.
    return None if device.type == "meta" else kernels.find_obstacle(device)


def vote_pass(
    poses: Tensor,
    weights: Tensor,
    parents: Parents,
    activations: Tensor | None = None,
    offset: Tensor | None = None,
    backend: str = "auto",
    *,
    log_normaliser: Tensor | None = None,
    constant_shares: bool = False,
) -> Moments:
    """Shares every child out among the parents and sums the votes that each parent gets.

    ``poses``, ``weights`` and ``offset`` have one dtype. All other tensors, including the moments, have the dtype of the sums:
    float32 for bfloat16 and float16 poses, else the dtype of the poses. Those given in 16 bits are converted to float32.

    Args:
        poses: child poses ``[N, I, R, D]``; a vector capsule has R = 1, a 4x4 pose matrix R = D = 4.
        weights: transformation matrices ``[I, J, D, E]``, shared by the N problems.
        parents: the belief about the parents, see `Parents`.
        activations: child activations ``[N, I]``; all 1 if None.
        offset: added to the votes, ``[N or 1, I, R, E]`` (coordinate addition).
        backend: ``auto`` or one of `BACKENDS`, see `choose_backend`.
        log_normaliser: ``[N, I]``, replaces the log of the softmax's denominator, so that a child can be shared among more
            parents than these (see the function `log_normaliser`).
        constant_shares: whether the shares are constants in the backward pass. Gradients then flow through the summed votes and
            the activations only, not through the logits.

    Returns:
        The moments, differentiable to any order in every tensor given except ``parents.centre``. A gradient with its own graph
        (``create_graph=True``) holds the votes of the pass in memory, on every backend.

    Under autocast all tensors are converted to float32.

    Raises:
        ArgumentError: a shape, dtype or device that does not fit, with the one expected; a backend that cannot run.
    """
    sums = _run_pass(poses, weights, parents, activations, offset, log_normaliser, backend, constant_shares)
    moments = Moments(*sums[:3])
    if not torch.compiler.is_compiling() and (observer := current_observer.get()) is not None:
        observer(VotePass(poses, weights, parents, activations, offset, log_normaliser, moments))
    return moments


def log_normaliser(
    poses: Tensor, weights: Tensor, parents: Parents, offset: Tensor | None = None, backend: str = "auto"
) -> Tensor:
    """Returns the log of each child's softmax denominator over these parents, ``[N, I]``: ``log sum_j exp(logits_ij)``.

    An E-step over all parents that see a child, including those of other problems (Gritzman 2019), combines these numbers over
    the child's problems and passes the result to `vote_pass`. The arguments are those of `vote_pass`.
    """
    return _run_pass(poses, weights, parents, None, offset, None, backend).log_normaliser


def _run_pass(
    poses: Tensor,
    weights: Tensor,
    parents: Parents,
    activations: Tensor | None,
    offset: Tensor | None,
    log_normaliser: Tensor | None,
    backend: str,
    constant_shares: bool = False,
) -> PassSums:
    centre = None if parents.centre is None else parents.centre.detach()
    inputs = PassInputs(poses, weights, activations, offset, *parents[:4], centre, log_normaliser)
    summed = {name: tensor for name, tensor in inputs._asdict().items() if name not in ("poses", "weights", "offset")}
    inputs = inputs._replace(
        **{name: at_least_float32(tensor) for name, tensor in summed.items() if tensor is not None}
    )
    kind = poses.device.type
    if kind in ("cpu", "cuda") and torch.is_autocast_enabled(kind):
        # Like the operations of torch that need the range: in float32, whatever the layer before returned.
        inputs = PassInputs(*(None if tensor is None else tensor.float() for tensor in inputs))  # type: ignore[arg-type]
        with torch.autocast(kind, enabled=False):
            return _run_checked(inputs, backend, constant_shares)
    return _run_checked(inputs, backend, constant_shares)


def _run_checked(inputs: PassInputs, backend: str, constant_shares: bool) -> PassSums:
    _check_inputs(inputs)
    chosen = choose_backend(backend, inputs.poses.device)
    if torch.compiler.is_compiling() or (count := current_count.get()) is None:
        return _run_on(chosen, inputs, constant_shares)
    with unnoticed():
        sums = _run_on(chosen, inputs, constant_shares)
    count.add_pass(inputs, sums)
    return sums


def _run_on(backend: str, inputs: PassInputs, constant_shares: bool) -> PassSums:
    if backend == "reference":
        if torch.compiler.is_compiling():
            # A branch of a graph (`recentred`) wants gradients of one layout. That of a flat view is contiguous.
            inputs = PassInputs(*(None if tensor is None else tensor.flatten().view(tensor.shape) for tensor in inputs))  # type: ignore[arg-type]
        return vote_pass_reference(inputs, constant_shares)
    return run_pass(inputs, backend, constant_shares)


def _check_inputs(inputs: PassInputs) -> None:
    """Raises ArgumentError for a shape, dtype or device that does not fit the poses."""
    poses, weights, offset = inputs.poses, inputs.weights, inputs.offset
    if poses.dim() != 4:
        raise ArgumentError("poses", "[N, I, R, D]", list(poses.shape))
    if poses.dtype not in DTYPES:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
        raise ArgumentError("poses", f"one of {names}", poses.dtype)
    if 0 in poses.shape:
        raise ArgumentError("poses", "no empty dimension in [N, I, R, D]", list(poses.shape))
    problems, children, rows, depth = poses.shape
    if weights.dim() != 4 or weights.shape[0] != children or weights.shape[2] != depth or 0 in weights.shape:
        raise ArgumentError("weights", f"[{children}, J, {depth}, E] beside these poses", list(weights.shape))
    count, columns = weights.shape[1], weights.shape[3]
    if (inputs.mean is None) != (inputs.precision is None):
        alone = "precision" if inputs.mean is None else "mean"
        raise ArgumentError("parents", "mean and precision together, or neither", alone)

    sums = accumulation_dtype(poses.dtype)
    of_a_child, of_a_parent, of_a_value = [problems, children], [problems, count], [problems, count, rows * columns]
    leading = 1 if offset is not None and offset.shape[:1] == torch.Size([1]) else problems
    expected: dict[str, tuple[Tensor | None, list[int], torch.dtype]] = {
        "weights": (weights, list(weights.shape), poses.dtype),
        "offset": (offset, [leading, children, rows, columns], poses.dtype),
        "activations": (inputs.activations, of_a_child, sums),
        "parents.bias": (inputs.bias, of_a_parent, sums),
        "parents.direction": (inputs.direction, of_a_value, sums),
        "parents.mean": (inputs.mean, of_a_value, sums),
        "parents.precision": (inputs.precision, of_a_value, sums),
        "parents.centre": (inputs.centre, of_a_value, sums),
        "log_normaliser": (inputs.log_normaliser, of_a_child, sums),
    }
    for name, (tensor, shape, dtype) in expected.items():
        if tensor is None:
            continue
        if list(tensor.shape) != shape:
            raise ArgumentError(name, str(shape), list(tensor.shape))
        if tensor.dtype != dtype:
            raise ArgumentError(name, f"{dtype} beside {poses.dtype} poses", tensor.dtype)
        if tensor.device != poses.device:
            raise ArgumentError(name, f"a tensor on {poses.device} like the poses", str(tensor.device))
