"""The operator of the vote pass: ``torch.ops.capsbench.vote_pass``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from capsbench_kernels.passes.naive import vote_pass_reference
from capsbench_kernels.passes.operators import Operator, import_kernels, loop_over_batch, move_batch_first
from capsbench_kernels.passes.types import PassInputs, PassSums, Wanted, accumulation_dtype

_WEIGHTS, _OFFSET = (PassInputs._fields.index(name) for name in ("weights", "offset"))


class VotePassOperator(Operator):
    """Maps `PassInputs`, a backend and whether the shares are constants to `PassSums`.

    The log-normaliser is empty if one was given: an operator must not return what it takes.
    """

    name = "vote_pass"
    tensors = {name: name not in ("poses", "weights") for name in PassInputs._fields}
    settings = "str backend, bool constant_shares"
    outputs = PassSums._fields
    constants = ("centre",)

    def run_kernel(self, tensors: Sequence[Any], settings: Sequence[Any]) -> PassSums:
        inputs, (backend, _) = PassInputs(*tensors), settings
        return _drop_given(inputs, import_kernels(backend).forward(inputs))

    def run_backward_kernel(
        self,
        tensors: Sequence[Any],
        saved: Sequence[Tensor],
        slopes: Sequence[Tensor],
        settings: Sequence[Any],
        wanted: Sequence[bool],
    ) -> PassInputs:
        inputs, (backend, constant_shares) = PassInputs(*tensors), settings
        computed: PassInputs = import_kernels(backend).backward(
            inputs, PassSums(*slopes), wanted=Wanted.from_flags(self.tensors, wanted), constant_shares=constant_shares
        )
        return computed

    def infer_shapes(self, tensors: Sequence[Any], settings: Sequence[Any]) -> PassSums:
        inputs = PassInputs(*tensors)
        problems, children, rows, _ = inputs.poses.shape
        parents, columns = inputs.weights.shape[1], inputs.weights.shape[3]
        dtype = accumulation_dtype(inputs.poses.dtype)
        shapes = [(problems, parents), *[(problems, parents, rows * columns)] * 2, (problems, children)]
        return _drop_given(inputs, PassSums(*(inputs.poses.new_empty(shape, dtype=dtype) for shape in shapes)))

    def run_reference(self, tensors: Sequence[Any], settings: Sequence[Any]) -> PassSums:
        inputs = PassInputs(*tensors)
        return _drop_given(inputs, vote_pass_reference(inputs, settings[1]))

    def count_varying(self, tensors: Sequence[Any], settings: Sequence[Any]) -> int:
        """Returns the number of sums that have a gradient; a given log-normaliser has none, nor has one of constant shares."""
        return 4 if PassInputs(*tensors).log_normaliser is None and not settings[1] else 3

    def map_forward(self, info: Any, dims: Sequence[Any], *arguments: Any) -> tuple[Any, Any]:
        """Makes the batch part of the problems; a batch of weights is a loop."""
        batched = move_batch_first(arguments, dims)
        if dims[_WEIGHTS] is not None:
            return loop_over_batch(self.forward, info.batch_size, batched, dims)
        inputs = _join_problems(info.batch_size, batched, dims)
        sums = self.forward(*inputs, *arguments[len(inputs) :])
        given = inputs.log_normaliser is not None
        split = [total.unflatten(0, (info.batch_size, -1)) for total in (sums[:3] if given else sums)]
        return (*split, *sums[len(split) :]), (0, 0, 0, None if given else 0)

    def map_backward(self, info: Any, dims: Sequence[Any], *arguments: Any) -> tuple[Any, Any]:
        """Makes the batch part of the problems; it is a loop if a gradient is a sum over the problems of each call."""
        batched = move_batch_first(arguments, dims)
        _, _, slopes, settings, wanted = self.split_backward(batched)
        if dims[_WEIGHTS] is not None or wanted[_WEIGHTS] or wanted[_OFFSET]:
            return loop_over_batch(self.backward, info.batch_size, batched, dims)
        inputs = _join_problems(info.batch_size, batched, dims)
        problems = inputs.poses.shape[0] // info.batch_size
        joined = [
            _join_batch(slope, dim, info.batch_size, problems) if slope.numel() else slope
            for slope, dim in zip(slopes, dims[len(inputs) :], strict=False)
        ]
        results = self.backward(*inputs, *joined, *settings, wanted)
        return [result.unflatten(0, (info.batch_size, -1)) for result in results], [0] * len(results)


def _drop_given(inputs: PassInputs, sums: PassSums) -> PassSums:
    """Returns the sums with an empty log-normaliser if one was given; it has two dimensions, as kernels expect."""
    if inputs.log_normaliser is None:
        return sums
    return sums._replace(log_normaliser=sums.mass.new_empty((0, 0)))


def _join_problems(size: int, arguments: Sequence[Any], dims: Sequence[Any]) -> PassInputs:
    """Makes the batch part of the problems, ``[batch * N, ...]``; the weights have no batch."""
    inputs = PassInputs(*arguments[: len(PassInputs._fields)])
    of = dict(zip(PassInputs._fields, dims, strict=False))
    problems = inputs.poses.shape[0 if of["poses"] is None else 1]
    joined = {
        name: _join_batch(tensor, of[name], size, problems)
        for name, tensor in inputs._asdict().items()
        # An offset of one problem that is in no batch is that of all.
        if name != "weights" and tensor is not None and not (of[name] is None and name == "offset" and len(tensor) == 1)
    }
    return inputs._replace(**joined)


def _join_batch(tensor: Tensor, dim: int | None, size: int, problems: int) -> Tensor:
    tensor = tensor.unsqueeze(0) if dim is None else tensor
    return tensor.expand(size, problems, *tensor.shape[2:]).flatten(0, 1)


VOTE_PASS = VotePassOperator()


def run_pass(inputs: PassInputs, backend: str, constant_shares: bool) -> PassSums:
    """Runs a pass on fused kernels; the caller has checked the arguments."""
    contiguous = (None if tensor is None else tensor.contiguous() for tensor in inputs)
    sums = PassSums(*VOTE_PASS.forward(*contiguous, backend, constant_shares))
    return sums if inputs.log_normaliser is None else sums._replace(log_normaliser=inputs.log_normaliser)
